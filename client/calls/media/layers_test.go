package media

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// TestOpenLayers: files become layers in the order of their sizes.
func TestOpenLayers(t *testing.T) {
	dir := t.TempDir()
	film := func(name string, w, h uint16) string {
		b := bytes.NewBufferString("DKIF\x00\x00\x20\x00VP80")
		for _, v := range []any{w, h, uint32(25), uint32(1), uint32(1), uint32(0), uint32(2), uint64(0), []byte{0, 1}} {
			if err := binary.Write(b, binary.LittleEndian, v); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	all, err := OpenLayers(film("large", 1280, 720), film("small", 320, 180), film("middle", 640, 360))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		if want := []int{320 * 180, 640 * 360, 1280 * 720}[i]; s.pixels != want || s.Track().RID() != rids[i] || s.Track().ID() != all[0].Track().ID() {
			t.Errorf("layer %d: %d pixels, %s", i, s.pixels, s.Track().RID())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	one, err := OpenLayers(filepath.Join(dir, "small"))
	if err != nil || len(one) != 1 || one[0].Track().RID() != "" {
		t.Fatalf("%v %v", one, err)
	}
	if err := one[0].Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenLayers(filepath.Join(dir, "small"), filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a file that is not there is a layer")
	}
}
