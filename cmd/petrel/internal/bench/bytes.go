package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// Names of the metrics of bytes; some have goals.
const (
	textV4      = "text, MQTT 3.1.1"
	textV5      = "text, MQTT 5, aliases"
	cborV5      = "CBOR view, MQTT 5, aliases"
	jsonV5      = "JSON view, MQTT 5, aliases"
	reconnectV4 = "reconnect, MQTT 3.1.1"
	reconnectV5 = "reconnect, MQTT 5"
	drainV4     = "20 offline texts, MQTT 3.1.1"
	drainV5     = "20 offline texts, MQTT 5, aliases"
	resumedTLS  = "TLS reconnect, resumed"
	fullTLS     = "TLS connect, full handshake"
	recordsTLS  = "TLS records for 20 offline texts"
)

const offlineTexts = 20

// flow is one way for alice to send bobby a text.
type flow struct {
	name, reconnect, drain string // metrics; empty ones aren't reported
	topic, filter          string
	payload                string
	v5                     bool
	session                string // the last letter of client ids: with other subscriptions than the flows before; "": the same
}

func (s *server) flows() []flow {
	const text = "hello, bobby" // 12 bytes
	if !s.petrel {
		out := []flow{{name: textV4, reconnect: reconnectV4, drain: drainV4, topic: "chat/bobby", filter: "chat/bobby", payload: text}}
		if s.v5 {
			out = append(out, flow{name: textV5, reconnect: reconnectV5, drain: drainV5, topic: "chat/bobby", filter: "chat/bobby", payload: text, v5: true})
		}
		return out
	}
	return []flow{
		{name: textV4, reconnect: reconnectV4, drain: drainV4, topic: "u/bobby/text", filter: "c/+/text/+", payload: text},
		{name: textV5, reconnect: reconnectV5, drain: drainV5, topic: "u/bobby/text", filter: "c/+/text/+", payload: text, v5: true},
		// {6: text}, RFC 8949 §3.1: a map of one pair, a text string of 12 bytes.
		{name: cborV5, topic: "u/bobby/cbor", filter: "c/+/cbor", payload: "\xa1\x06\x6c" + text, v5: true, session: "c"},
		{name: jsonV5, topic: "u/bobby/json", filter: "c/+/json", payload: `{"text":"` + text + `"}`, v5: true, session: "j"},
	}
}

// bytes counts what goes over the socket in both directions on both sides, acknowledgements
// included, for a text, a reconnect and a small drain.
func (r *runner) bytes(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	for _, f := range s.flows() {
		if err := r.count(cr, s, f, &res); err != nil {
			return res, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return res, r.countTLS(ctx, cr, s, &res)
}

// talk is alice and bobby, connected.
type talk struct {
	flow  flow
	alice *client
	bobby *client
	sent  int
}

// options are the same for every peer: a user name and a client id of five letters, a password of four.
// They are part of every reconnect, so a longer one adds its length to the numbers.
func (f flow) options(user string) mqttc.ConnectOptions {
	o := mqttc.ConnectOptions{ClientID: user, Username: user, Password: []byte("pass")}
	if f.session != "" {
		o.ClientID = user[:len(user)-1] + f.session
	}
	if f.v5 {
		o.Version, o.SessionExpiry, o.TopicAliasMaximum = 5, 86400, 10
	}
	return o
}

// open connects both, bobby subscribed.
func (r *runner) open(cr *crew, s *server, f flow) (*talk, error) {
	bobby, err := cr.dial(s, f.options("bobby"))
	if err != nil {
		return nil, err
	}
	if err := bobby.subscribe(mqttc.Filter{Topic: f.filter, QoS: 1}); err != nil {
		return nil, err
	}
	alice, err := cr.dial(s, f.options("alice"))
	if err != nil {
		return nil, err
	}
	return &talk{flow: f, alice: alice, bobby: bobby}, nil
}

// say publishes one text and waits for its PUBACK. From the second on the topic is an alias, if the
// server takes any.
func (t *talk) say() error {
	t.sent++
	p := mqttc.Publish{Topic: t.flow.topic, Payload: []byte(t.flow.payload), QoS: 1, ID: uint16(t.sent)}
	if t.flow.v5 && t.alice.ack.TopicAliasMaximum > 0 {
		if p.Alias = 1; t.sent > 1 {
			p.Topic = ""
		}
	}
	if err := t.alice.WritePublish(p); err != nil {
		return err
	}
	if err := t.alice.Flush(); err != nil {
		return err
	}
	t.alice.SetReadDeadline(time.Now().Add(settle))
	ack, err := t.alice.Await(mqttc.PUBACK, nil)
	if err == nil && (ack.Type != mqttc.PUBACK || ack.Code >= 0x80) {
		err = fmt.Errorf("alice was refused: 0x%02X", ack.Code)
	}
	return err
}

// hear lets bobby receive and acknowledge n texts.
func (t *talk) hear(n int) error {
	t.bobby.SetReadDeadline(time.Now().Add(settle))
	for i := 0; i < n; {
		p, err := t.bobby.Await(mqttc.PUBLISH, nil)
		if err != nil {
			return err
		}
		if p.Type != mqttc.PUBLISH {
			return fmt.Errorf("bobby was disconnected: 0x%02X", p.Code)
		}
		i++
		if err := t.bobby.WriteAck(mqttc.PUBACK, p.ID, 0); err != nil {
			return err
		}
		if i == n || !t.bobby.Ready() {
			if err := t.bobby.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *talk) bytes() int64 {
	aIn, aOut := t.alice.Bytes()
	bIn, bOut := t.bobby.Bytes()
	return aIn + aOut + bIn + bOut
}

// count measures one flow: texts in the middle of a conversation, then a reconnect, then the drain.
func (r *runner) count(cr *crew, s *server, f flow, res *Result) error {
	t, err := r.open(cr, s, f)
	if err != nil {
		return err
	}
	const texts = 10
	var before int64
	for i := range texts + 1 {
		if i == 1 {
			before = t.bytes() // the first one has set the aliases
		}
		if err := t.say(); err != nil {
			return err
		}
		if err := t.hear(1); err != nil {
			return err
		}
	}
	res.add(f.name, "bytes", float64(t.bytes()-before)/texts)
	if err := t.bobby.leave(); err != nil {
		return err
	}
	if f.reconnect == "" {
		return t.alice.leave()
	}
	n, err := t.reconnect(cr, s, 0)
	if err != nil {
		return err
	}
	res.add(f.reconnect, "bytes", float64(n.In+n.Out))
	for range offlineTexts {
		if err := t.say(); err != nil {
			return err
		}
	}
	if n, err = t.reconnect(cr, s, offlineTexts); err != nil {
		return err
	}
	res.add(f.drain, "bytes", float64(n.In+n.Out))
	return t.alice.leave()
}

// reconnect is bobby coming back for what waits, and leaving: CONNECT to DISCONNECT.
func (t *talk) reconnect(cr *crew, s *server, waiting int) (mqttc.Wire, error) {
	var err error
	if t.bobby, err = cr.dial(s, t.flow.options("bobby")); err != nil {
		return mqttc.Wire{}, err
	}
	if !t.bobby.ack.SessionPresent {
		return mqttc.Wire{}, errors.New("bobby's session is gone")
	}
	if err := t.hear(waiting); err != nil {
		return mqttc.Wire{}, err
	}
	if err := t.bobby.leave(); err != nil {
		return mqttc.Wire{}, err
	}
	return t.bobby.Wire(), nil
}

// countTLS repeats reconnects over TLS, counting TCP payload: handshake, tickets and close included.
func (r *runner) countTLS(ctx context.Context, cr *crew, s *server, res *Result) error {
	if s.tls == nil {
		if s.command == nil {
			res.note("TLS is counted at a TLS listener: --addr tls://…")
			return nil
		}
		cert, key, err := writeCertificate(r.dir)
		if err != nil {
			return err
		}
		if s, err = r.startIn(ctx, s.peer, place{cert: cert, key: key}); err != nil {
			return err
		}
		defer s.close()
	}
	flows := s.flows()
	f := flows[min(1, len(flows)-1)] // MQTT 5 where there is one
	t, err := r.open(cr, s, f)
	if err != nil {
		return err
	}
	if err := t.bobby.leave(); err != nil {
		return err
	}
	s.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	full, err := t.reconnect(cr, s, 0)
	if err != nil {
		return err
	}
	res.add(fullTLS, "bytes", float64(full.In+full.Out))
	resumed, err := t.reconnect(cr, s, 0)
	if err != nil {
		return err
	}
	if state, ok := t.bobby.TLS(); !ok || !state.DidResume {
		res.note("%s did not resume the TLS session", s.name)
	} else {
		res.add(resumedTLS, "bytes", float64(resumed.In+resumed.Out))
	}
	for range offlineTexts {
		if err := t.say(); err != nil {
			return err
		}
	}
	drained, err := t.reconnect(cr, s, offlineTexts)
	if err != nil {
		return err
	}
	res.add(recordsTLS, "", float64(drained.Records-resumed.Records))
	return t.alice.leave()
}

// writeCertificate makes a self-signed certificate for 127.0.0.1, valid for a day, as PEM files.
func writeCertificate(dir string) (certFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile, err
}
