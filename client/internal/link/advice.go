package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Unreachable is an attempt that got no answer to CONNECT.
type Unreachable struct {
	Advice string // what to do, for a person; may be empty
	cause  error
}

func (u *Unreachable) Error() string {
	text := readable(u.cause).Error()
	if u.Advice != "" {
		text += " (" + u.Advice + ")"
	}
	return Printable(text) // the names in a certificate are those of whoever answers
}

// Unwrap returns the cause.
func (u *Unreachable) Unwrap() error { return u.cause }

// unreachable explains why there is no connection to a server.
func unreachable(server *url.URL, err error) *Unreachable {
	return &Unreachable{Advice: advise(server, err), cause: err}
}

func advise(server *url.URL, err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		status    *statusError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("there is no host %s: check the address", server.Hostname())
	case errors.As(err, &dns):
		return "the name could not be looked up: is there a network?"
	case errors.As(err, &authority):
		return "the server's certificate is not trusted here: give its authority, or check the address"
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is not for %s: check the address", server.Hostname())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or this machine's clock is wrong"
	case errors.As(err, &invalid):
		return "the server's certificate is not valid: tell its administrator"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS at this port: use mqtt:// or another port"
	case errors.As(err, &alert):
		return "the server ended the TLS handshake: it may want a client certificate"
	case errors.As(err, &status) && status.code == 404:
		return "no WebSocket is at this path: petrel's is /mqtt"
	case errors.As(err, &status) && status.code >= 300 && status.code < 400:
		return "the web server sends its visitors elsewhere: use that address"
	case errors.As(err, &status):
		return "something else than petrel answers at this address"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the server running, is the port right?"
	case errors.Is(err, fs.ErrNotExist) && strings.EqualFold(server.Scheme, "unix"):
		return "there is no such socket: is the server running?"
	case errors.Is(err, fs.ErrPermission):
		return "this program may not open it: check its rights"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "there is no way to the server: is there a network?"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errNoReply):
		return "it takes too long: check the network and the address"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return hungUp(server)
	}
	return ""
}

// hungUp is for a server that ends the connection before it answers.
func hungUp(server *url.URL) string {
	switch s, ok := schemeOf(server); {
	case ok && s.tls:
		return "the server hung up: it does not speak TLS at this port, or does not want this client"
	case ok && !s.web:
		return "the server hung up: it may want TLS, which is mqtts://"
	}
	return "the server hung up"
}
