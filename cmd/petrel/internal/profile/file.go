package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// maxFile is how long a profile may be, in bytes.
const maxFile = 64 << 10

func fileIn(home, name string) string { return filepath.Join(home, "profiles", name+".json") }

// read reads a profile. That it is missing is os.ErrNotExist, with the Profile named and placed all the same.
func read(home, name string) (Profile, error) {
	p := Profile{Name: name, home: home}
	if !ValidName(name) {
		return p, p.Validate()
	}
	path := fileIn(home, name)
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	if err := private(f); err != nil {
		return p, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return p, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil || len(text) > maxFile {
		// Nothing of the text is repeated: there is a password in it.
		return p, faultf("%s is no profile, or one of a newer version: update petrel, or remove that file and make it anew with petrel login --profile %s", path, name)
	}
	p.saved = true
	return p, nil
}

// private refuses a file that others can read, asking the open file: its name may stand for another one by now.
func private(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return faultf("%s is no ordinary file", f.Name())
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return faultf("%s can be used by others (mode %04o), and there is a password in it: chmod 600 %s, and consider another password", f.Name(), mode, f.Name())
	}
	return nil
}

// Saved is a profile as its file has it, without flags and environment; name "": the default one. One that has no file
// yet is returned empty, to be filled and saved.
func Saved(name string, env []string) (Profile, error) {
	home, err := Home(env)
	if err != nil {
		return Profile{}, err
	}
	p, err := read(home, first(name, Default))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return p, err
}

// Path is the file of the profile.
func (p *Profile) Path() string { return fileIn(p.home, p.Name) }

// Save writes the file, whole or not at all, readable for its owner only.
func (p *Profile) Save() error {
	if err := p.Validate(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(p.Path())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), p.Path())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the profile is not saved: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// Remove deletes the file. What the stores know of the user stays, see [Profile.Dir].
func (p *Profile) Remove() error {
	err := os.Remove(p.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return faultf("there is no profile %q", p.Name)
	}
	return err
}

// Names lists the profiles, in order.
func Names(env []string) ([]string, error) {
	home, err := Home(env)
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(home, "profiles"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".json"); ok && ValidName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
