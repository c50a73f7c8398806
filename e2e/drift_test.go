package e2e_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../" + name)
	must(t, err)
	return string(b)
}

// goFiles calls fn with every Go file of the server, the client and the commands.
func goFiles(t *testing.T, fn func(name string, f *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	for _, room := range []string{"chat", "protocol", "storage", "broker", "hooks", "signaling", "internal/egress", "internal/words", "client", "cmd/petrel"} {
		err := filepath.WalkDir("../"+room, func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"testdata", "bench", "storagetest", "storetest"}, d.Name()):
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
				return nil
			}
			f, err := parser.ParseFile(fset, p, nil, parser.SkipObjectResolution)
			if err == nil {
				fn(strings.TrimPrefix(filepath.ToSlash(p), "../"), f)
			}
			return err
		})
		must(t, err)
	}
}

// TestEveryGoroutineIsNamed: docs/architecture.md names every file that starts one, and no other.
func TestEveryGoroutineIsNamed(t *testing.T) {
	doc := document(t, "docs/architecture.md")
	_, doc, _ = strings.Cut(doc, "\n## Goroutines\n")
	doc, _, _ = strings.Cut(doc, "\n## ")
	starts := make(map[string]bool)
	goFiles(t, func(name string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				starts[name] = true
			case *ast.CallExpr: // of a sync.WaitGroup
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" {
					starts[name] = true
				}
			}
			return true
		})
	})
	if len(starts) < 10 {
		t.Fatalf("only %d files start goroutines", len(starts))
	}
	for name := range starts {
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("%s starts a goroutine that docs/architecture.md does not name", name)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z0-9_/]+\\.go)`").FindAllStringSubmatch(doc, -1) {
		if !starts[m[1]] {
			t.Errorf("docs/architecture.md says that %s starts a goroutine, and it does not", m[1])
		}
	}
}

// TestNamesExist: what docs/architecture.md calls `Type.Method` or `package.Name` is declared somewhere.
func TestNamesExist(t *testing.T) {
	declared := map[string]bool{"Server": true, "Serve": true, "Close": true, "mqtt": true} // the library's
	goFiles(t, func(_ string, f *ast.File) {
		declared[f.Name.Name] = true
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				declared[n.Name.Name] = true
			case *ast.TypeSpec:
				declared[n.Name.Name] = true
			case *ast.ValueSpec:
				for _, id := range n.Names {
					declared[id.Name] = true
				}
			case *ast.Field:
				for _, id := range n.Names {
					declared[id.Name] = true
				}
			}
			return true
		})
	})
	names := regexp.MustCompile("`([A-Za-z]+(?:\\.[A-Za-z]+)+)`").FindAllStringSubmatch(document(t, "docs/architecture.md"), -1)
	if len(names) < 40 {
		t.Fatalf("only %d names were found", len(names))
	}
	for _, m := range names {
		parts := strings.Split(m[1], ".")
		if slices.Contains([]string{"go", "md", "sock"}, parts[len(parts)-1]) {
			continue // a file
		}
		for _, part := range parts {
			if !declared[part] {
				t.Errorf("docs/architecture.md speaks of %s, but nothing is called %s", m[1], part)
			}
		}
	}
}

// TestEveryRoomIsListed: the table of rooms has every package.
func TestEveryRoomIsListed(t *testing.T) {
	doc := document(t, "docs/architecture.md")
	goFiles(t, func(name string, _ *ast.File) {
		if room := filepath.ToSlash(filepath.Dir(name)); !strings.Contains(doc, "`"+room+"`") {
			t.Errorf("docs/architecture.md has no room %s", room)
		}
	})
}

// TestEveryKeySpaceIsListed: the table of key spaces has every one of storage/keys.go.
func TestEveryKeySpaceIsListed(t *testing.T) {
	doc := document(t, "docs/architecture.md")
	spaces := regexp.MustCompile(`Space(?: Space)? += '(.)'|Space\w+ +Space = '(.)'`).FindAllStringSubmatch(document(t, "storage/keys.go"), -1)
	if len(spaces) < 20 {
		t.Fatalf("only %d key spaces were found", len(spaces))
	}
	for _, m := range spaces {
		if letter := m[1] + m[2]; !strings.Contains(doc, "\n| `"+letter+"` |") {
			t.Errorf("docs/architecture.md has no key space %s", letter)
		}
	}
}

// TestEveryMetricIsListed: docs/operations.md has every metric that a server shows, and no other.
func TestEveryMetricIsListed(t *testing.T) {
	doc := document(t, "docs/operations.md")
	s := startServer(t)
	shown := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (petrel_\w+) `).FindAllStringSubmatch(s.Get("/metrics"), -1) {
		shown[m[1]] = true
		if !strings.Contains(doc, "`"+m[1]+"`") {
			t.Errorf("docs/operations.md does not list %s", m[1])
		}
	}
	if len(shown) < 20 {
		t.Fatalf("only %d metrics were found", len(shown))
	}
	for _, m := range regexp.MustCompile(`\bpetrel_[a-z0-9_]+\b`).FindAllString(doc, -1) {
		if !shown[m] {
			t.Errorf("docs/operations.md has %s, which the server does not show", m)
		}
	}
}
