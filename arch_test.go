package petrel_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The walls of the house (docs/architecture.md). Imports run only downward: a room may import rooms of
// lower layers, and of its own layer only what is allowed below.

const module = "github.com/petrelchat/petrel"

// layers gives each room its floor. The longest prefix counts.
var layers = map[string]int{
	"chat":                0,
	"protocol":            1,
	"storage":             1,
	"internal/mqttc":      1,
	"internal/faultproxy": 1,
	"internal/egress":     1,
	"internal/roam":       1,
	"internal/rtpvideo":   1,
	"internal/words":      1,
	"internal/petreltest": 1,
	"broker/hub":          2,
	"broker/delivery":     2,
	"broker/plain":        2,
	"broker/presence":     2,
	"broker/auth":         2,
	"broker/webhook":      2,
	"broker/rpc":          2,
	"broker/search":       2,
	"broker/control":      2,
	"broker/notify":       2,
	"broker/upkeep":       2,
	"broker/verify":       2,
	"signaling/call":      1,
	"signaling/sdp":       1,
	"signaling":           2,
	"signaling/relay":     2,
	"hooks":               3,
	"client":              3,
	"client/calls":        4, // above the client, beside it: who makes no calls links no WebRTC
	"broker":              4,
	"cmd":                 5,
	"internal/servertest": 5,
	"web":                 5,
	"crash":               6, // drive the built program from outside
	"conformance":         6,
	"e2e":                 6,
	"bench":               6,
	"examples":            6,
}

// wall forbids imports that match to in packages that match from. Tests count only where it says so.
type wall struct {
	why     string
	from    func(room string) bool
	to      func(imp string) bool
	inTests bool
}

func under(dirs ...string) func(string) bool {
	return func(p string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return p == d || strings.HasPrefix(p, d+"/") })
	}
}

func not(f func(string) bool) func(string) bool { return func(s string) bool { return !f(s) } }

func external(prefix string) func(string) bool {
	return func(imp string) bool { return imp == prefix || strings.HasPrefix(imp, prefix+"/") }
}

func ours(dirs ...string) func(string) bool {
	in := under(dirs...)
	return func(imp string) bool {
		room, ok := strings.CutPrefix(imp, module+"/")
		return ok && in(room)
	}
}

var walls = []wall{
	{
		why:  "the rules are pure: a conversation replays exactly from its log, and tests of it are instant",
		from: under("chat"),
		to: func(imp string) bool {
			if strings.Contains(strings.Split(imp, "/")[0], ".") {
				return true // not the standard library
			}
			return under("net", "os", "sync", "syscall", "io/ioutil", "context", "log", "math/rand", "crypto/rand", "unsafe")(imp) && imp != "net/url"
		},
	},
	{
		why:  "server and clients must take the same for words, on any device and for years: no state, nothing of either side",
		from: under("internal/words"),
		to: func(imp string) bool {
			outside := strings.Contains(strings.Split(imp, "/")[0], ".")
			return outside && !external("golang.org/x/text")(imp) || under("net", "os", "sync", "syscall", "context", "time", "log", "math/rand", "unsafe")(imp)
		},
	},
	{
		why:  "who passes pictures on reads packets of strangers: any bytes are tested in an instant, and browsers' programmers may read it alone",
		from: under("internal/rtpvideo"),
		to:   func(imp string) bool { return imp != "encoding/binary" },
	},
	{
		why:     "another engine must be able to take Pebble's place: no type, key or iterator of it leaks",
		from:    not(under("storage/pebblestore")),
		to:      external("github.com/cockroachdb/pebble"),
		inTests: true,
	},
	{
		why:     "mochi's storage hooks write without sync, swallow errors and lose the order",
		from:    func(string) bool { return true },
		to:      external("github.com/mochi-mqtt/server/v2/hooks/storage"),
		inTests: true,
	},
	{
		why:  "mochi's faults are met in one place; everything below works without it",
		from: not(func(p string) bool { return under("hooks", "cmd")(p) || p == "broker" || under("broker/listen")(p) }),
		to:   external("github.com/mochi-mqtt/server"),
	},
	{
		why:  "the wire and the disk change for different reasons",
		from: under("protocol"),
		to:   ours("storage"),
	},
	{
		why:  "the wire and the disk change for different reasons",
		from: under("storage"),
		to:   ours("protocol"),
	},
	{
		why:  "the server does not need its own SDK, and the SDK must not pull the server into an application",
		from: under("chat", "protocol", "storage", "broker", "hooks", "signaling"),
		to:   ours("client"),
	},
	{
		why:  "what becomes of a call is pure: any interleaving of what may happen is tested in an instant",
		from: under("signaling/call"),
		to: func(imp string) bool {
			return imp != module+"/chat" && strings.Contains(strings.Split(imp, "/")[0], ".") ||
				under("net", "os", "sync", "syscall", "context", "time", "log", "math/rand", "crypto/rand", "unsafe")(imp)
		},
	},
	{
		why: "calls come by messages like everybody's; only broker wires them in",
		from: func(p string) bool {
			return under("chat", "protocol", "storage", "hooks")(p) || under("broker")(p) && p != "broker"
		},
		to: ours("signaling"),
	},
	{
		why:  "an application that links the SDK gets no broker, no store and no server library",
		from: under("client"),
		to: func(imp string) bool {
			return ours("storage", "broker", "hooks", "signaling")(imp) || external("github.com/mochi-mqtt/server")(imp)
		},
	},
	{
		why:  "an application that makes no calls links no WebRTC; nor does what has nothing to do with media",
		from: not(under("client/calls", "signaling", "cmd", "examples", "e2e", "bench", "crash", "internal/roam")),
		to:   external("github.com/pion"),
	},
	{
		why:  "what tests are made of is in no program",
		from: func(string) bool { return true },
		to:   ours("internal/petreltest", "internal/servertest"),
	},
	{
		why: "configuration is passed down as plain options, so that each room can be used and tested alone",
		from: not(func(p string) bool {
			return p == "broker" || under("broker/config", "broker/listen", "cmd", "examples", "internal/servertest")(p)
		}),
		to: ours("broker/config"),
	},
}

// peersAllowed are imports within one floor.
var peersAllowed = map[string][]string{
	"storage/pebblestore": {"storage"},
	"storage/storagetest": {"storage", "storage/pebblestore"},
	"broker":              {"broker/config", "broker/listen"},
	// Conversations decide, sessions deliver, requests ask both; never the other way round.
	"broker/delivery": {"broker/hub", "broker/plain"},
	"broker/webhook":  {"broker/hub"},
	"broker/rpc":      {"broker/webhook", "broker/hub", "broker/delivery", "broker/auth", "broker/notify", "broker/search"},
	// The senders of notifications.
	"broker/notify/push": {"broker/notify"},
	// The engines of a client's store know its queries, never the client.
	"client/store/internal/find": {"client/store"},
	"client/store/memory":        {"client/store", "client/store/internal/find"},
	"client/store/sqlite":        {"client/store", "client/store/internal/find"},
	"client/store/storetest":     {"client/store"},
	// What the store must hold is what these write into it.
	"broker/upkeep": {"broker/hub"},
	"broker/verify": {"broker/upkeep", "broker/hub", "broker/plain"},
	"client":        {"client/store", "client/store/sqlite", "client/store/memory", "client/internal/link"},
	"cmd/petrel":    {"cmd/petrel/internal/bench", "cmd/petrel/internal/profile", "cmd/petrel/internal/tui", "cmd/petrel/internal/termtext"},
	// What others write is made fit for a terminal in one place.
	"cmd/petrel/internal/tui": {"cmd/petrel/internal/termtext"},
}

// source is one parsed file.
type source struct {
	file, room string
	test       bool
	ast        *ast.File
}

type house struct {
	fset *token.FileSet
	all  []source
}

// parsed is every file of the house, read once.
var parsed = sync.OnceValues(func() (*house, error) {
	h := &house{fset: token.NewFileSet()}
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" || isModule(p)) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(h.fset, p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		h.all = append(h.all, source{p, path.Dir(filepath.ToSlash(p)), strings.HasSuffix(name, "_test.go"), f})
		return nil
	})
	return h, err
})

func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	h, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(h.all) < 20 {
		t.Fatalf("only %d files were found", len(h.all))
	}
	return h.fset, h.all
}

// isModule says whether dir is a module of its own, with walls of its own.
func isModule(dir string) bool {
	m, err := filepath.Glob(filepath.Join(dir, "go.mod"))
	return err == nil && m != nil
}

func imports(f *ast.File) []string {
	var out []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			out = append(out, p)
		}
	}
	return out
}

// layerOf finds the floor of a room by its longest known prefix.
func layerOf(room string) (floor int, ok bool) {
	for p := room; p != "."; p = path.Dir(p) {
		if l, found := layers[p]; found {
			return l, true
		}
	}
	return 0, false
}

func TestImportsRunDownward(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if s.room == "." {
			continue
		}
		from, ok := layerOf(s.room)
		if !ok {
			t.Errorf("%s: the room %s has no floor: give it one in layers, and say in docs/architecture.md what lives there (there are %v)", s.file, s.room, slices.Sorted(maps.Keys(layers)))
			continue
		}
		if s.test {
			continue // a test may stand on another floor's shoulders
		}
		for _, imp := range imports(s.ast) {
			room, ok := strings.CutPrefix(imp, module+"/")
			if !ok {
				continue
			}
			to, ok := layerOf(room)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no floor", s.file, room)
			case to > from:
				t.Errorf("%s (floor %d) imports %s (floor %d): imports run only downward", s.file, from, room, to)
			case to == from && !slices.Contains(peersAllowed[s.room], room):
				t.Errorf("%s imports %s on its own floor %d: let the floor above bring them together, through an interface where it is used", s.file, room, to)
			}
		}
	}
}

func TestWalls(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		for _, imp := range imports(s.ast) {
			for _, w := range walls {
				if (!s.test || w.inTests) && w.from(s.room) && w.to(imp) {
					t.Errorf("%s imports %s: %s", s.file, imp, w.why)
				}
			}
		}
	}
}

// TestPureCore: importing time for its types is fine, reading the clock or starting goroutines is not.
func TestPureCore(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		if s.test || !under("chat")(s.room) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in the pure core", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, n.Sel.Name) {
					t.Errorf("%s: the core reads no clock: now is a parameter", fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// TestNoInit: what a package does when it is imported nobody can order, skip or test.
func TestNoInit(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: no init functions: let the caller say when", fset.Position(f.Pos()))
			}
		}
	}
}

// TestNoDrawers: a package that is called after nothing ends up with everything.
func TestNoDrawers(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if base := path.Base(s.room); slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "shared"}, base) {
			t.Errorf("%s: name the package after what it is", s.file)
		}
	}
}

// TestWallsStand shows that each wall would be noticed.
func TestWallsStand(t *testing.T) {
	for _, c := range []struct {
		room, imp string
		forbidden bool
	}{
		{"chat", "os", true}, {"chat", "net/http", true}, {"chat", "sync/atomic", true}, {"chat", "strings", false},
		{"chat", "github.com/x/y", true}, {"chat", module + "/storage", true},
		{"broker/hub", "github.com/cockroachdb/pebble/v2", true}, {"storage/pebblestore", "github.com/cockroachdb/pebble/v2", false},
		{"broker/hub", "github.com/mochi-mqtt/server/v2", true}, {"broker", "github.com/mochi-mqtt/server/v2/packets", false},
		{"hooks", "github.com/mochi-mqtt/server/v2", false}, {"broker/listen", "github.com/mochi-mqtt/server/v2/listeners", false},
		{"broker/listener", "github.com/mochi-mqtt/server/v2/listeners", true},
		{"protocol", module + "/storage", true}, {"storage/pebblestore", module + "/protocol", true},
		{"broker", module + "/client", true}, {"cmd/petrel", module + "/client", false},
		{"hooks", module + "/signaling", true}, {"broker", module + "/signaling", false}, {"broker/hub", module + "/signaling", true},
		{"cmd/petrel", module + "/internal/petreltest", true}, {"examples/embed", module + "/internal/servertest", true},
		{"client", "github.com/pion/webrtc/v4", true}, {"client/internal/link", "github.com/pion/sdp/v3", true}, {"client/calls/media", "github.com/pion/webrtc/v4", false},
		{"client/calls", module + "/signaling/sdp", true},
		{"internal/words", module + "/chat", true}, {"internal/words", "golang.org/x/text/unicode/norm", false}, {"internal/words", "unicode/utf8", false},
		{"client", module + "/broker/auth", true}, {"broker/auth", module + "/broker/config", true},
	} {
		got := slices.ContainsFunc(walls, func(w wall) bool { return w.from(c.room) && w.to(c.imp) })
		if got != c.forbidden {
			t.Errorf("%s importing %s: forbidden %v", c.room, c.imp, got)
		}
	}
}
