package listen

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkEvery is how often a handshake looks whether the files have changed, and the day of the tickets.
const checkEvery = 10 * time.Second

// CertificateOptions names the files of a TLS listener.
type CertificateOptions struct {
	Cert, Key  string             // PEM
	ClientCA   string             // PEM; needed unless ClientAuth is tls.NoClientCert
	ClientAuth tls.ClientAuthType // NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert
	Tickets    *Tickets           // nil: tickets end with the process
	NextProtos []string           // ALPN
	Now        func() time.Time   // nil is time.Now
	Log        *slog.Logger       // where a faulty new certificate is reported
}

// Certificates is a TLS configuration that follows its files. All methods may be called from any goroutine.
type Certificates struct {
	o       CertificateOptions
	current atomic.Pointer[tls.Config]
	checked atomic.Int64 // unix nanoseconds of the last look

	mu      sync.Mutex // held while reloading
	stamp   [3]fileStamp
	tickets *sealer // of current; nil if crypto/tls makes the tickets
}

// fileStamp tells whether a file has changed.
type fileStamp struct {
	mtime time.Time
	size  int64
}

// NewCertificates reads the files.
func NewCertificates(o CertificateOptions) (*Certificates, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	c := &Certificates{o: o}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config is for tls.Server and tls.NewListener. It follows the files for as long as it is used.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: c.o.NextProtos,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c.follow()
			return c.current.Load(), nil
		},
	}
}

// follow reloads if it is time to look and something has changed. A handshake that comes during
// another's look does not wait for it.
func (c *Certificates) follow() {
	now, last := c.o.Now().UnixNano(), c.checked.Load()
	if age := now - last; age >= 0 && age < int64(checkEvery) || !c.checked.CompareAndSwap(last, now) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := c.stampFiles()
	if err == nil && stamp == c.stamp {
		err = c.turnTickets()
	} else if err == nil {
		c.stamp = stamp // a fault is reported once, not every ten seconds
		if err = c.load(); err == nil {
			c.o.Log.Info("certificate reloaded", "cert", c.o.Cert)
		}
	}
	if err != nil {
		c.o.Log.Warn("TLS goes on with what it has", "error", err)
	}
}

// Reload reads the files now. With an error the old certificate stays in use.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := c.stampFiles()
	if err != nil {
		return err
	}
	c.checked.Store(c.o.Now().UnixNano())
	if err := c.load(); err != nil {
		return err
	}
	c.stamp = stamp
	return nil
}

func (c *Certificates) stampFiles() (stamp [3]fileStamp, err error) {
	for i, name := range []string{c.o.Cert, c.o.Key, c.o.ClientCA} {
		if name == "" {
			continue
		}
		var st fs.FileInfo
		if st, err = os.Stat(name); err != nil {
			return stamp, fmt.Errorf("TLS: %w", err)
		}
		stamp[i] = fileStamp{st.ModTime(), st.Size()}
	}
	return stamp, nil
}

// load makes the current configuration from the files.
func (c *Certificates) load() error {
	pair, err := tls.LoadX509KeyPair(c.o.Cert, c.o.Key)
	if err != nil {
		return fmt.Errorf("TLS: certificate %s with key %s: %w", c.o.Cert, c.o.Key, err)
	}
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   c.o.NextProtos,
		ClientAuth:   c.o.ClientAuth,
		Time:         c.o.Now,
	}
	var authority []byte
	if c.o.ClientAuth != tls.NoClientCert {
		if authority, err = os.ReadFile(c.o.ClientCA); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		cfg.ClientCAs = x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(authority) {
			return fmt.Errorf("TLS: there is no PEM certificate in client_ca %s", c.o.ClientCA)
		}
	}
	tickets, err := c.newTickets(authority)
	if err != nil && c.current.Load() == nil {
		return err
	}
	if tickets != nil {
		cfg.WrapSession, cfg.UnwrapSession = tickets.wrap, tickets.unwrap
	}
	c.tickets = tickets
	c.current.Store(cfg)
	return err
}

// newTickets returns the sealer of a configuration's tickets; nil leaves them to crypto/tls. A ticket
// vouches for a client certificate that was verified then, so it must not open a listener that asks for
// another one. With an error a sealer is good all the same.
func (c *Certificates) newTickets(authority []byte) (*sealer, error) {
	if c.o.Tickets == nil {
		return nil, nil
	}
	secrets, err := c.o.Tickets.Secrets(c.o.Now())
	if len(secrets) == 0 {
		return nil, err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%d\n", c.o.ClientAuth)
	hash.Write(authority)
	s, serr := newSealer(string(hash.Sum(nil)), secrets)
	return s, errors.Join(err, serr)
}

// turnTickets takes over a new day's secret.
func (c *Certificates) turnTickets() error {
	if c.tickets == nil {
		return nil
	}
	secrets, err := c.o.Tickets.Secrets(c.o.Now())
	if len(secrets) == 0 {
		return err
	}
	return errors.Join(err, c.tickets.turn(secrets))
}

// verifiedCN is the common name of the client's certificate, if there is one and it was verified.
func verifiedCN(s tls.ConnectionState) string {
	if len(s.VerifiedChains) == 0 || len(s.VerifiedChains[0]) == 0 {
		return ""
	}
	return s.VerifiedChains[0][0].Subject.CommonName
}
