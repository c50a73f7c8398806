package push_test

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/broker/notify/push"
	"github.com/petrelchat/petrel/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	must(t, err)
	return b
}

// service is a push service of a test: it keeps the calls, and answers as it was told.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []*http.Request
	bodies [][]byte
	answer func(w http.ResponseWriter, r *http.Request)
}

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewUnstartedServer(s)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.calls, s.bodies = append(s.calls, r), append(s.bodies, body)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *service) answers(fn func(w http.ResponseWriter, r *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = fn
}

func (s *service) last(t *testing.T) (*http.Request, []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		t.Fatal("nobody called")
	}
	return s.calls[len(s.calls)-1], s.bodies[len(s.bodies)-1]
}

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// loopback lets the services of the tests be called.
func loopback() push.Guard {
	return push.Guard{Plain: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

func vapid(t testing.TB) notify.Keys {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	must(t, err)
	return notify.Keys{VAPIDPublic: b64(k.PublicKey().Bytes()), VAPIDPrivate: b64(k.Bytes())}
}

func senders(t testing.TB, o push.Options) *push.Senders {
	t.Helper()
	s, err := push.New(o)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func hello() *notify.Notification {
	return &notify.Notification{
		ID: "id-1", Topic: strings.Repeat("t", 32), About: notify.AboutMessages, Conv: "climbing", Seq: 7, Count: 3,
		Title: "Climbing", Body: "Ana: 3 messages in Climbing", Text: "Ana: see you “there”", Badge: 5, At: 1767225600000, TTL: time.Hour,
	}
}

// send sends within a bound that no assertion is about.
func send(s *push.Senders, r *notify.Registration, n *notify.Notification) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.ByKind[r.Kind].Send(ctx, r, n)
}

func checkPayload(t *testing.T, body []byte) push.Payload {
	t.Helper()
	var p push.Payload
	must(t, json.Unmarshal(body, &p))
	p.Title, p.Body = cmp.Or(p.Title, "Climbing"), cmp.Or(p.Body, "Ana: 3 messages in Climbing") // which APNs has in the alert
	want := push.Payload{V: 1, ID: "id-1", Topic: strings.Repeat("t", 32), About: "messages", Conv: "climbing", Seq: 7, Count: 3, Title: "Climbing",
		Body: "Ana: 3 messages in Climbing", Text: "Ana: see you “there”", Badge: 5, At: 1767225600000, User: p.User, Device: p.Device}
	if p != want {
		t.Errorf("payload %+v", p)
	}
	return p
}

// browser is a subscription with its keys.
type browser struct {
	key  *ecdh.PrivateKey
	auth []byte
}

func newBrowser(t testing.TB) *browser {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	must(t, err)
	b := &browser{k, make([]byte, 16)}
	_, _ = rand.Read(b.auth)
	return b
}

func (b *browser) registration(kind, endpoint string) *notify.Registration {
	return &notify.Registration{User: "bo", Name: "web", Kind: kind, Endpoint: endpoint, P256dh: b64(b.key.PublicKey().Bytes()), Auth: b64(b.auth)}
}

// decrypt is the receiver's side of RFC 8291 §3 and RFC 8188 §2, for one record.
func (b *browser) decrypt(t *testing.T, body []byte) []byte {
	t.Helper()
	if len(body) < 21 || len(body) > 4096 {
		t.Fatalf("%d bytes", len(body))
	}
	salt, size, idlen := body[:16], binary.BigEndian.Uint32(body[16:20]), int(body[20])
	sender, text := body[21:21+idlen], body[21+idlen:]
	if uint32(len(text)) > size {
		t.Fatalf("a record of %d bytes, longer than %d", len(text), size)
	}
	pub, err := ecdh.P256().NewPublicKey(sender)
	must(t, err)
	shared, err := b.key.ECDH(pub)
	must(t, err)
	info := "WebPush: info\x00" + string(b.key.PublicKey().Bytes()) + string(sender)
	ikm, err := hkdf.Key(sha256.New, shared, b.auth, info, 32)
	must(t, err)
	cek, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	must(t, err)
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	must(t, err)
	block, err := aes.NewCipher(cek)
	must(t, err)
	gcm, err := cipher.NewGCM(block)
	must(t, err)
	plain, err := gcm.Open(nil, nonce, text, nil)
	must(t, err)
	plain = []byte(strings.TrimRight(string(plain), "\x00"))
	if len(plain) == 0 || plain[len(plain)-1] != 2 { // RFC 8188 §2: the last record
		t.Fatal("no delimiter of the last record")
	}
	return plain[:len(plain)-1]
}

// checkVAPID verifies the Authorization header as a push service does (RFC 8292 §2, §3).
func checkVAPID(t *testing.T, r *http.Request, keys notify.Keys, origin string) {
	t.Helper()
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "vapid ")
	if !ok {
		t.Fatalf("Authorization %q", r.Header.Get("Authorization"))
	}
	params := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		params[k] = v
	}
	if params["k"] != keys.VAPIDPublic {
		t.Errorf("k is %s", params["k"])
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), unb64(t, params["k"]))
	must(t, err)
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(params["t"], claims, func(*jwt.Token) (any, error) { return pub, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(origin), jwt.WithExpirationRequired())
	must(t, err)
	exp, err := claims.GetExpirationTime()
	must(t, err)
	if time.Until(exp.Time) > 24*time.Hour { // RFC 8292 §2
		t.Errorf("it expires in %v", time.Until(exp.Time))
	}
	if claims["sub"] != "mailto:ops@example.org" {
		t.Errorf("sub is %v", claims["sub"])
	}
}

func TestWebPush(t *testing.T) {
	keys, svc, b := vapid(t), serve(t), newBrowser(t)
	s := senders(t, push.Options{Guard: loopback(), Keys: keys, Contact: "mailto:ops@example.org"})
	for _, kind := range []string{notify.WebPush, notify.UnifiedPush} { // UnifiedPush with keys is the same
		must(t, send(s, b.registration(kind, svc.URL+"/send/abc"), hello()))
		r, body := svc.last(t)
		checkVAPID(t, r, keys, svc.URL)
		checkPayload(t, b.decrypt(t, body))
		if h := r.Header; r.Method != "POST" || r.URL.Path != "/send/abc" || h.Get("Content-Encoding") != "aes128gcm" || h.Get("TTL") != "3600" ||
			h.Get("Urgency") != "normal" || h.Get("Topic") != strings.Repeat("t", 32) {
			t.Errorf("%s %s %v", r.Method, r.URL.Path, h)
		}
	}
	urgent := hello()
	urgent.Urgent = true
	must(t, send(s, b.registration(notify.WebPush, svc.URL), urgent))
	if r, _ := svc.last(t); r.Header.Get("Urgency") != "high" {
		t.Error("not urgent")
	}
}

// The longest notification that there can be fits into one message of Web Push (4,096 bytes with all its overhead).
func TestLongestWebPush(t *testing.T) {
	svc, b := serve(t), newBrowser(t)
	s := senders(t, push.Options{Guard: loopback(), Keys: vapid(t)})
	n := hello()
	wide := func(n int) string { return strings.Repeat("\U0001F9D7", n) }
	n.ID, n.Conv, n.Title, n.Body, n.Text = strings.Repeat("i", 22), strings.Repeat("c", 129), wide(80), wide(200), wide(100)
	must(t, send(s, b.registration(notify.WebPush, svc.URL), n))
}

func TestAnswers(t *testing.T) {
	svc, b := serve(t), newBrowser(t)
	s := senders(t, push.Options{Guard: loopback(), Keys: vapid(t)})
	hook := &notify.Registration{User: "bo", Name: "hook", Kind: notify.Webhook, Endpoint: svc.URL + "/secret-path", Secret: "sixteen byte key"}
	regs := []*notify.Registration{b.registration(notify.WebPush, svc.URL+"/secret-path"), hook,
		{User: "bo", Name: "up", Kind: notify.UnifiedPush, Endpoint: svc.URL + "/secret-path"}}
	for _, r := range regs {
		for _, c := range []struct {
			code  int
			after string
			want  string
			wait  time.Duration
		}{
			{200, "", "ok", 0}, {201, "", "ok", 0}, {202, "", "ok", 0},
			{404, "", "gone", 0}, {410, "", "gone", 0},
			{429, "120", "later", 2 * time.Minute}, {503, "", "later", 0}, {500, "nonsense", "later", 0},
			{503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), "later", time.Hour},
			{400, "", "refused", 0}, {401, "", "refused", 0}, {403, "", "refused", 0}, {413, "", "refused", 0},
			{307, "", "refused", 0}, {301, "", "refused", 0},
		} {
			svc.answers(status(c.code, "Retry-After", c.after, "Location", svc.URL+"/elsewhere"))
			before := svc.count()
			err := send(s, r, hello())
			var later *notify.Later
			got := "refused"
			switch {
			case err == nil:
				got = "ok"
			case errors.Is(err, notify.ErrGone):
				got = "gone"
			case errors.As(err, &later):
				got = "later"
				if d := later.After - c.wait; d > 0 || d < -5*time.Second {
					t.Errorf("%s %d: after %v, want %v", r.Kind, c.code, later.After, c.wait)
				}
			}
			if got != c.want {
				t.Errorf("%s %d: %v, want %s", r.Kind, c.code, err, c.want)
			}
			if n := svc.count() - before; n != 1 {
				t.Errorf("%s %d: %d calls: a redirect was followed", r.Kind, c.code, n)
			}
			if err != nil && (strings.Contains(err.Error(), "secret-path") || strings.Contains(err.Error(), "127.0.0.1")) {
				t.Errorf("the error tells the endpoint: %v", err)
			}
		}
		svc.answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		var later *notify.Later
		if err := send(s, r, hello()); !errors.As(err, &later) || strings.Contains(err.Error(), "secret-path") {
			t.Errorf("%s: a broken connection is %v", r.Kind, err)
		}
		svc.answers(nil)
	}
}

func TestUnifiedPushWithoutKeys(t *testing.T) {
	svc := serve(t)
	s := senders(t, push.Options{Guard: loopback(), Keys: vapid(t)})
	must(t, send(s, &notify.Registration{User: "bo", Kind: notify.UnifiedPush, Endpoint: svc.URL + "/UP?x=1"}, hello()))
	r, body := svc.last(t)
	checkPayload(t, body)
	if h := r.Header; r.URL.String() != "/UP?x=1" || h.Get("TTL") != "3600" || h.Get("Urgency") != "normal" || h.Get("Topic") == "" {
		t.Errorf("%v %v", r.URL, r.Header)
	}
}

func TestWebhookSignature(t *testing.T) {
	svc := serve(t)
	now := time.Unix(1767225600, 0)
	s := senders(t, push.Options{Guard: loopback(), Keys: vapid(t), Now: func() time.Time { return now }})
	reg := &notify.Registration{User: "bo", Name: "hook", Kind: notify.Webhook, Endpoint: svc.URL, Secret: "sixteen byte key"}
	must(t, send(s, reg, hello()))
	r, body := svc.last(t)
	at := r.Header.Get("Petrel-Timestamp")
	if at != "1767225600" || r.Header.Get("Petrel-Id") != "id-1" {
		t.Errorf("%v", r.Header)
	}
	if got := r.Header.Get("Petrel-Signature"); got != egress.Sign(reg.Secret, at, body) || got == egress.Sign("another secret key", at, body) || got == egress.Sign(reg.Secret, "1", body) {
		t.Errorf("signature %s", got)
	}
	if p := checkPayload(t, body); p.User != "bo" || p.Device != "hook" {
		t.Errorf("%+v", p)
	}
	// A vector that others can check theirs with: it stands in docs/protocol.md.
	if got := egress.Sign("secret-secret-secret", "1767225600", []byte(`{"v":1}`)); got != "v1=fbad76d480e5768a7085b69e49df165f79750c2e3877b93f6a18ce003dfa0ae7" {
		t.Errorf("vector %s", got)
	}
}

// firebase is a local FCM with its OAuth server.
type firebase struct {
	*service
	key    *rsa.PrivateKey
	tokens int
	token  string
}

func newFirebase(t *testing.T) (*firebase, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	f := &firebase{service: serve(t), key: key}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "crew-1", "private_key_id": "k1", "client_email": "push@crew-1.iam.example",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": f.URL + "/token",
	})
	must(t, err)
	name := filepath.Join(t.TempDir(), "account.json")
	must(t, os.WriteFile(name, file, 0o600))
	return f, name
}

// exchange is the OAuth server's part: RFC 7523 §2.1.
func (f *firebase) exchange(t *testing.T, w http.ResponseWriter, body []byte, now time.Time) {
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Errorf("token request %q", body)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(form.Get("assertion"), claims, func(*jwt.Token) (any, error) { return &f.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(f.URL+"/token"), jwt.WithIssuer("push@crew-1.iam.example"), jwt.WithIssuedAt(),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil || claims["scope"] != "https://www.googleapis.com/auth/firebase.messaging" {
		t.Errorf("assertion: %v %v", claims, err)
	}
	f.tokens++
	f.token = "token-" + string(rune('0'+f.tokens))
	_, _ = io.WriteString(w, `{"access_token":"`+f.token+`","expires_in":3600,"token_type":"Bearer"}`)
}

func TestFCM(t *testing.T) {
	f, account := newFirebase(t)
	now := time.Unix(1767225600, 0)
	var clock sync.Mutex
	s := senders(t, push.Options{Keys: vapid(t), FCM: push.FCMConfig{Credentials: account, Endpoint: f.URL + "/"}, Now: func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		return now
	}})
	advance := func(d time.Duration) {
		clock.Lock()
		defer clock.Unlock()
		now = now.Add(d)
	}
	reply, code := `{"name":"projects/crew-1/messages/1"}`, 200
	f.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			_, body := f.last(t)
			f.exchange(t, w, body, now)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+f.token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, reply)
	})
	reg := &notify.Registration{User: "bo", Name: "phone", Kind: notify.FCM, Token: "device:token"}
	must(t, send(s, reg, hello()))
	r, body := f.last(t)
	if r.URL.Path != "/v1/projects/crew-1/messages:send" {
		t.Errorf("path %s", r.URL.Path)
	}
	var got struct {
		Message struct {
			Token        string
			Notification struct{ Title, Body string }
			Data         map[string]string
			Android      map[string]string
		}
	}
	must(t, json.Unmarshal(body, &got))
	m := got.Message
	if m.Token != "device:token" || m.Notification.Title != "Climbing" || m.Notification.Body != "Ana: 3 messages in Climbing" || m.Data["badge"] != "5" ||
		m.Android["ttl"] != "3600s" || m.Android["priority"] != "NORMAL" || m.Android["collapse_key"] != strings.Repeat("t", 32) {
		t.Errorf("%s", body)
	}
	checkPayload(t, []byte(m.Data["petrel"]))

	must(t, send(s, reg, hello()))
	if f.tokens != 1 {
		t.Errorf("%d tokens: the first holds still", f.tokens)
	}
	advance(time.Hour)
	must(t, send(s, reg, hello()))
	if f.tokens != 2 {
		t.Errorf("%d tokens: the first has expired", f.tokens)
	}
	var later *notify.Later
	f.token = "withdrawn"
	if err := send(s, reg, hello()); !errors.As(err, &later) {
		t.Errorf("withdrawn token: %v", err)
	}
	must(t, send(s, reg, hello())) // with a new one
	for _, c := range []struct {
		code  int
		reply string
		want  func(error) bool
	}{
		{404, `{"error":{"code":404,"status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}`,
			func(err error) bool { return errors.Is(err, notify.ErrGone) }},
		{403, `{"error":{"status":"PERMISSION_DENIED","details":[{"errorCode":"SENDER_ID_MISMATCH"}]}}`, func(err error) bool { return errors.Is(err, notify.ErrGone) }},
		{404, `no JSON`, func(err error) bool { return err != nil && !errors.Is(err, notify.ErrGone) && !errors.As(err, &later) }},
		{400, `{"error":{"details":[{"errorCode":"INVALID_ARGUMENT"}]}}`, func(err error) bool { return err != nil && !errors.As(err, &later) }},
		{503, `{"error":{"details":[{"errorCode":"UNAVAILABLE"}]}}`, func(err error) bool { return errors.As(err, &later) && later.After == 30*time.Second }},
		{429, ``, func(err error) bool { return errors.As(err, &later) && later.After == 30*time.Second }},
	} {
		code, reply = c.code, c.reply
		if err := send(s, reg, hello()); !c.want(err) || strings.Contains(err.Error(), "device:token") {
			t.Errorf("%d %s: %v", c.code, c.reply, err)
		}
	}
}

func TestAPNs(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	file := filepath.Join(t.TempDir(), "key.p8")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	svc := &service{}
	svc.Server = httptest.NewUnstartedServer(svc)
	svc.EnableHTTP2 = true
	svc.StartTLS()
	t.Cleanup(svc.Close)
	roots := x509.NewCertPool()
	roots.AddCert(svc.Certificate())
	now := time.Unix(1767225600, 0)
	s := senders(t, push.Options{Keys: vapid(t), Now: func() time.Time { return now },
		APNs: push.APNsConfig{Key: file, KeyID: "KEY1", TeamID: "TEAM1", Topic: "org.example.chat", Host: svc.URL, Roots: roots}})
	svc.answers(status(200, "apns-id", "1"))
	reg := &notify.Registration{User: "bo", Name: "phone", Kind: notify.APNs, Token: "00ff"}
	must(t, send(s, reg, hello()))
	r, body := svc.last(t)
	h := r.Header
	if r.ProtoMajor != 2 || r.URL.Path != "/3/device/00ff" || h.Get("apns-topic") != "org.example.chat" || h.Get("apns-push-type") != "alert" ||
		h.Get("apns-priority") != "5" || h.Get("apns-collapse-id") != strings.Repeat("t", 32) || h.Get("apns-expiration") != "1767229200" {
		t.Errorf("%s %s %v", r.Proto, r.URL.Path, h)
	}
	bearer, _ := strings.CutPrefix(h.Get("authorization"), "bearer ")
	tok, err := jwt.Parse(bearer, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer("TEAM1"))
	if must(t, err); tok.Header["kid"] != "KEY1" {
		t.Errorf("kid %v", tok.Header["kid"])
	}
	var got struct {
		Aps struct {
			Alert   struct{ Title, Body string }
			Badge   int
			Thread  string `json:"thread-id"`
			Mutable int    `json:"mutable-content"`
		}
		Petrel json.RawMessage
	}
	must(t, json.Unmarshal(body, &got))
	if a := got.Aps; a.Alert.Title != "Climbing" || a.Alert.Body != "Ana: 3 messages in Climbing" || a.Badge != 5 || a.Thread == "" || a.Mutable != 1 {
		t.Errorf("%s", body)
	}
	checkPayload(t, got.Petrel)
	urgent := hello()
	urgent.Urgent = true
	must(t, send(s, reg, urgent))
	if r, _ := svc.last(t); r.Header.Get("apns-priority") != "10" {
		t.Error("not urgent")
	}

	var later *notify.Later
	gone := func(err error) bool { return errors.Is(err, notify.ErrGone) }
	again := func(err error) bool { return errors.As(err, &later) && later.After == 7*time.Second }
	final := func(err error) bool {
		return err != nil && !errors.Is(err, notify.ErrGone) && !errors.As(err, &later)
	}
	for _, c := range []struct {
		code  int
		reply string
		want  func(error) bool
	}{
		{410, `{"reason":"Unregistered","timestamp":1767225600000}`, gone}, {410, `{"reason":"ExpiredToken"}`, gone},
		{400, `{"reason":"BadDeviceToken"}`, gone}, {400, `{"reason":"DeviceTokenNotForTopic"}`, gone},
		{400, `{"reason":"BadTopic"}`, final}, {403, `{"reason":"InvalidProviderToken"}`, final}, {413, `{"reason":"PayloadTooLarge"}`, final},
		{403, `{"reason":"ExpiredProviderToken"}`, again}, {429, `{"reason":"TooManyRequests"}`, again}, {503, `{"reason":"ServiceUnavailable"}`, again},
		{502, `<html>`, again},
	} {
		svc.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(c.code)
			_, _ = io.WriteString(w, c.reply)
		})
		if err := send(s, reg, hello()); !c.want(err) || strings.Contains(err.Error(), "00ff") {
			t.Errorf("%d %s: %v", c.code, c.reply, err)
		}
	}
}

func TestUnusableFiles(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	must(t, os.WriteFile(bad, []byte("{}"), 0o600))
	for _, o := range []push.Options{
		{FCM: push.FCMConfig{Credentials: bad}}, {FCM: push.FCMConfig{Credentials: bad + "-not"}},
		{APNs: push.APNsConfig{Key: bad}}, {APNs: push.APNsConfig{Key: bad + "-not"}},
	} {
		if _, err := push.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
