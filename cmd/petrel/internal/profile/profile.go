// Package profile says as whom, and to which server, a command of petrel's talks, and where it keeps what it
// knows. Call [Load] with the command's [Flags], then [Profile.Open], which returns a client.
//
// A profile is a file NAME.json, mode 0600, in the folder profiles of the user's configuration, written by
// petrel login. Flags and variables of the environment (PETREL_SERVER, PETREL_USER, PETREL_PASSWORD,
// PETREL_TOKEN, PETREL_CA) stand above it, and do without it. A secret is never a flag: every user of
// the machine can read those. The secret of a profile goes to the server and the user of that profile
// only, whatever the flags say.
package profile

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

// Flags choose the profile and stand above what is in it. Embed it in a command.
type Flags struct {
	Profile string `help:"The login to use, as petrel login --profile made it; without it the one called default." env:"PETREL_PROFILE" placeholder:"NAME"`
	Server  string `help:"Another server than the profile's: mqtts://host, mqtt://, wss://, ws:// or unix:///path." env:"PETREL_SERVER" placeholder:"URL"`
	User    string `short:"u" help:"Another user than the profile's; the password comes from PETREL_PASSWORD or PETREL_TOKEN then." env:"PETREL_USER" placeholder:"USER"`

	StoreMax string `help:"How large a store of this device may become, in bytes, for disks that others need too; 0: as large as the disk." hidden:"" env:"PETREL_STORE_MAX"`
}

// Default is the name of the profile that is used if none is named.
const Default = "default"

// Fault is an error that the user has to put right before anything can be done: a profile that is missing, or can be
// read by others.
type Fault struct{ error }

func faultf(format string, args ...any) error { return Fault{fmt.Errorf(format, args...)} }

// Unwrap returns the cause.
func (f Fault) Unwrap() error { return f.error }

// Profile is a login. The fields with json names are the file.
type Profile struct {
	Name     string `json:"-"`
	Server   string `json:"server"`
	User     string `json:"user"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
	CA       string `json:"ca,omitempty"`   // PEM files: the authority of the server's certificate,
	Cert     string `json:"cert,omitempty"` // the client's certificate
	Key      string `json:"key,omitempty"`  // and its key

	most  int64  // bytes of a store; 0: the disk bounds it
	home  string // the folder of all profiles and stores
	saved bool   // the secret is the file's: read it again at each attempt to connect
}

// Load puts together what flags, environment and file say. env is as os.Environ returns it. The error is a
// [Fault], or what the file system said.
func Load(f Flags, env []string) (Profile, error) {
	home, err := Home(env)
	if err != nil {
		return Profile{}, err
	}
	p, err := read(home, first(f.Profile, Default))
	alone := errors.Is(err, os.ErrNotExist)
	switch {
	case alone && f.Profile != "":
		return Profile{}, faultf("there is no profile %q: make it with petrel login --profile %s", f.Profile, f.Profile)
	case err != nil && !alone:
		return Profile{}, err
	}
	if f.StoreMax != "" {
		if p.most, err = strconv.ParseInt(f.StoreMax, 10, 64); err != nil || p.most < 0 {
			return Profile{}, faultf("--store-max: %q is no number of bytes", f.StoreMax)
		}
	}
	p.override(f, env)
	if p.Server == "" || p.User == "" {
		return Profile{}, faultf("who are you, and where? Run petrel login, or set PETREL_SERVER and PETREL_USER")
	}
	if err := p.Validate(); err != nil {
		return Profile{}, err
	}
	return p, nil
}

// override lets flags and environment take precedence over the file.
func (p *Profile) override(f Flags, env []string) {
	p.Become(first(f.Server, p.Server), first(f.User, p.User))
	if token, password := getenv(env, "PETREL_TOKEN"), getenv(env, "PETREL_PASSWORD"); token != "" || password != "" {
		p.SetSecret(first(token, password), token != "")
	}
	p.CA = first(getenv(env, "PETREL_CA"), p.CA)
}

// Become makes it the profile of a user at a server. What was for another one does not come along: neither what shows who the user is, nor whom
// to trust.
func (p *Profile) Become(server, user string) {
	if server == p.Server && user == p.User {
		return
	}
	// The password is for that server and that user, and nobody else's business.
	p.Password, p.Token, p.Cert, p.Key, p.saved = "", "", "", "", false
	if server != p.Server {
		p.CA = ""
	}
	p.Server, p.User = server, user
}

// Validate names what is wrong with the address or the user id.
func (p *Profile) Validate() error {
	if !ValidName(p.Name) {
		return faultf("%q is no name for a profile: 1 to 64 letters, digits, dots, dashes and underscores, no dot at the beginning", p.Name)
	}
	if !chat.ValidUser(p.User) {
		return faultf("%q is no user id: 1 to 64 letters, digits, dots, dashes and underscores", p.User)
	}
	o := client.Options{Server: p.Server, User: p.User}
	if err := o.Validate(); err != nil {
		return Fault{err}
	}
	return nil
}

// ValidName reports whether a profile may be called that.
func ValidName(s string) bool { return chat.ValidUser(s) && s[0] != '.' && s[0] != '-' }

// Options are what a client needs to know to connect: address, user, secret, TLS. Where it keeps what it knows
// is for the caller to add; [Profile.Open] does.
func (p *Profile) Options() (client.Options, error) {
	secure, err := p.tls()
	if err != nil {
		return client.Options{}, err
	}
	return client.Options{Server: p.Server, User: p.User, TLS: secure, Credentials: client.CredentialsFunc(p.secret)}, nil
}

// secret is the token or password. One from the file is read anew, so that petrel login renews it for what
// runs already.
func (p *Profile) secret(context.Context) (string, error) {
	if p.saved {
		if now, err := read(p.home, p.Name); err == nil && now.User == p.User && now.Server == p.Server {
			return first(now.Token, now.Password), nil
		}
	}
	return first(p.Token, p.Password), nil
}

// SetSecret replaces the password, or the token, with one that is not saved yet.
func (p *Profile) SetSecret(secret string, token bool) {
	p.Password, p.Token, p.saved = secret, "", false
	if token {
		p.Password, p.Token = "", secret
	}
}

// Remedy says what to do when the server does not take the secret.
func (p *Profile) Remedy() string {
	switch {
	case p.saved && p.Name == Default:
		return "petrel login saves another one"
	case p.saved:
		return "petrel login --profile " + p.Name + " saves another one"
	case p.Token != "":
		return "it came from PETREL_TOKEN"
	case p.Password != "":
		return "it came from PETREL_PASSWORD"
	}
	return "there is none: petrel login saves one; of another user or server than the profile's it is asked for in PETREL_PASSWORD or PETREL_TOKEN"
}

func (p *Profile) tls() (*tls.Config, error) {
	if p.CA == "" && p.Cert == "" && p.Key == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.CA != "" {
		text, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, faultf("the authority of the server's certificate: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, faultf("there is no PEM certificate in %s", p.CA)
		}
	}
	if p.Cert != "" || p.Key != "" {
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, faultf("the client's certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// Home is the folder of all profiles and of what is kept for them: PETREL_HOME, or petrel in the folder where the user's
// configuration is on this system (XDG_CONFIG_HOME or ~/.config on Unix).
func Home(env []string) (string, error) {
	if h := getenv(env, "PETREL_HOME"); h != "" {
		return h, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", faultf("there is no place for profiles: set PETREL_HOME to a directory: %w", err)
	}
	return filepath.Join(dir, "petrel"), nil
}

// host is the server as part of a file name.
func (p *Profile) host() string {
	s := p.Server
	if !strings.Contains(s, "://") {
		s = "mqtts://" + s
	}
	name := s
	if u, err := url.Parse(s); err == nil && u.Scheme == "unix" {
		name = "unix" + u.Path
	} else if err == nil {
		name = strings.ToLower(u.Host)
	}
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c) // no two servers share a name
		}
	}
	return b.String()
}

func getenv(env []string, name string) string {
	value := ""
	for _, e := range env {
		if k, v, _ := strings.Cut(e, "="); k == name {
			value = v // the last one counts
		}
	}
	return value
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
