// Package control lets programs on the same machine talk to a running server over a Unix socket.
//
// The server calls [Listen], [Server.Register] for each method, then [Server.Serve]; the command line
// calls [Dial] and [Client.Call]. A call is POST /rpc/{method} with a JSON body; the reply is {"ok":…}
// or {"error":{"code","reason"}}, as in rpc/ over MQTT. Whoever can open the socket is an administrator:
// its mode is 0600.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// Method carries out a call. decode fills a pointer from the request, strictly: unknown fields are
// errors. The reply is encoded as JSON. A *chat.Refusal goes to the caller as it is; any other error is
// logged, and the caller gets its text too, for they run the server.
type Method func(ctx context.Context, decode func(any) error) (any, error)

const (
	maxBody       = 1 << 20 // bytes of a request
	headerTimeout = 10 * time.Second
	probeTimeout  = 2 * time.Second
)

// Options is what a Server is made of.
type Options struct {
	Path string       // of the socket; its directory exists and belongs to the server
	Log  *slog.Logger // nil: silence

	// Context is put over the context of each call, to say who is calling. Nil: as it is.
	Context func(context.Context) context.Context
}

// Server answers calls on a socket. All methods may be called from any goroutine.
type Server struct {
	o    Options
	ln   net.Listener
	own  os.FileInfo // the socket file as we made it
	http http.Server

	mu      sync.RWMutex
	methods map[string]Method
}

// Listen takes the socket. A file that a dead server left is replaced; a server that answers there, or
// a file that is no socket, is an error. Nothing is answered before Serve.
func Listen(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Context == nil {
		o.Context = func(ctx context.Context) context.Context { return ctx }
	}
	if err := checkFree(o.Path); err != nil {
		return nil, err
	}
	ln, err := bind(o.Path)
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, ln: ln, methods: map[string]Method{}}
	if s.own, err = os.Lstat(o.Path); err != nil {
		return nil, errors.Join(fmt.Errorf("control: %w", err), ln.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /rpc/{method}", s.serveCall)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		s.refuse(w, chat.Refuse(chat.NotFound, "Calls are POST /rpc/{method}."))
	})
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// checkFree finds out whether the path can be taken.
func checkFree(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("control: %w", err)
	case fi.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("control: %s exists and is no socket; remove it, or choose another data directory", path)
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist):
		return nil // nobody listens: a server that was killed left it
	case err != nil: // a server of another user, or one that is too busy to answer
		return fmt.Errorf("control: somebody may still serve %s: %w", path, err)
	}
	conn.Close()
	return fmt.Errorf("control: another server answers at %s; stop it first", path)
}

// bind makes the socket in a directory that nobody else can enter, gives it its mode, and only then
// moves it to its place: at no moment can others connect. The umask is left alone, since it belongs to
// the whole process.
func bind(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s") // mode 0700; short, for a socket's path has 107 bytes at most
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	defer os.RemoveAll(dir)
	private := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: private, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control: %w (the path of a Unix socket has little more than 100 bytes: a shorter data directory may help)", err)
	}
	ln.SetUnlinkOnClose(false) // it would remove the path that it was made under
	if err = os.Chmod(private, 0o600); err == nil {
		err = os.Rename(private, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control: %w", err), ln.Close())
	}
	return ln, nil
}

// Register adds a method, or replaces it.
func (s *Server) Register(name string, m Method) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.methods[name] = m
}

// Serve answers calls until Close. It returns nil then.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// Close takes no more calls, removes the socket file, waits for the calls that run, and cuts them off
// when ctx ends.
func (s *Server) Close(ctx context.Context) error {
	// Not the file of a server that has taken our place.
	if fi, err := os.Lstat(s.o.Path); err == nil && os.SameFile(fi, s.own) {
		os.Remove(s.o.Path)
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if closeErr := s.ln.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) { // when Serve never ran
		err = errors.Join(err, closeErr)
	}
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

func (s *Server) serveCall(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	s.mu.RLock()
	method, ok := s.methods[name]
	s.mu.RUnlock()
	if !ok {
		s.refuse(w, chat.Refuse(chat.NotFound, "There is no method %.64q; the server may be of another version.", name))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.refuse(w, chat.Refuse(chat.TooLarge, "A request takes at most %d bytes.", maxBody))
		return
	}
	reply, err := method(s.o.Context(r.Context()), func(into any) error { return decodeStrict(body, into) })
	if err != nil {
		var refusal *chat.Refusal
		if !errors.As(err, &refusal) {
			s.o.Log.Error("control call failed", "method", name, "err", err)
			refusal = chat.Refuse(chat.Unavailable, "%s", err.Error())
		}
		s.refuse(w, refusal)
		return
	}
	s.write(w, http.StatusOK, map[string]any{"ok": reply})
}

// wireError is a refusal in a reply.
type wireError struct {
	Code   chat.Code `json:"code"`
	Reason string    `json:"reason"`
}

func (s *Server) refuse(w http.ResponseWriter, r *chat.Refusal) {
	status, ok := map[chat.Code]int{
		chat.NotAuthorized: http.StatusForbidden,
		chat.NotFound:      http.StatusNotFound,
		chat.Conflict:      http.StatusConflict,
		chat.BadRequest:    http.StatusBadRequest,
		chat.TooLarge:      http.StatusRequestEntityTooLarge,
		chat.RateLimited:   http.StatusTooManyRequests,
		chat.Unavailable:   http.StatusServiceUnavailable,
	}[r.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	s.write(w, status, map[string]any{"error": wireError{r.Code, r.Reason}})
}

func (s *Server) write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.o.Log.Error("control reply can't be encoded", "err", err)
		http.Error(w, "the reply can't be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // a caller that has gone gets no reply
}

// decodeStrict reads exactly one JSON value without unknown fields. An empty body is an empty object.
func decodeStrict(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
