package relay

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what the TURN REST scheme has
	"encoding/base64"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/petrelchat/petrel/chat"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// Server is an ICE server as browsers want it (RTCIceServer).
type Server struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// errCredential says that these are no words for credentials.
var errCredential = errors.New("relay: a user is [A-Za-z0-9._-]{1,64}, a call [a-z0-9]{0,32}")

// Servers returns the ICE servers for a user in a call, with credentials that can be used to allocate for ttl. Call ""
// is for gathering before the call has an id; those can't be refreshed after ttl. The list is empty if nothing is
// configured, or this server does not listen yet. Any goroutine may call it.
func (r *Relay) Servers(user, call string) (list []Server, ttl time.Duration, err error) {
	if !chat.ValidUser(user) || !validCall(call) {
		return nil, 0, errCredential
	}
	ttl = r.o.Credentials
	name := username{expiry: r.o.Now().Add(ttl).Unix(), user: user, call: call}.String()
	if stunURLs, turnURLs := r.urls(); len(turnURLs) > 0 {
		list = append(list, Server{URLs: stunURLs}, Server{URLs: turnURLs, Username: name, Credential: password(r.o.Secret, name)})
	}
	for _, e := range r.o.External {
		s := Server{URLs: e.URLs}
		if len(e.Secret) > 0 {
			s.Username, s.Credential = name, password(e.Secret, name)
		}
		list = append(list, s)
	}
	return list, ttl, nil
}

// urls are ours (RFC 7064, 7065), in the order in which they should be tried.
func (r *Relay) urls() (forSTUN, forTURN []string) {
	r.mu.Lock()
	port, hosts := r.port, []string{r.o.Name}
	if r.o.Name == "" {
		hosts = hosts[:0]
		for _, a := range r.public {
			hosts = append(hosts, a.String())
		}
	}
	r.mu.Unlock()
	if port == 0 {
		return nil, nil
	}
	for _, h := range hosts {
		at := net.JoinHostPort(h, strconv.Itoa(int(port)))
		forSTUN = append(forSTUN, "stun:"+at)
		forTURN = append(forTURN, "turn:"+at+"?transport=udp", "turn:"+at+"?transport=tcp")
	}
	if r.o.TLS == nil {
		return forSTUN, forTURN
	}
	for _, h := range hosts {
		forTURN = append(forTURN, "turns:"+net.JoinHostPort(h, strconv.Itoa(int(port)))+"?transport=tcp")
	}
	return forSTUN, forTURN
}

// username is that of the TURN REST scheme (draft-uberti-behave-turn-rest §2.2), where what follows the time
// is for the application.
type username struct {
	expiry int64 // seconds since 1970 UTC
	user   string
	call   string
}

func (u username) String() string {
	return strconv.FormatInt(u.expiry, 10) + ":" + u.user + ":" + u.call
}

// owner is who has an allocation: the same whenever the credentials were made.
func (u username) owner() string { return u.user + ":" + u.call }

func parseUsername(s string) (u username, ok bool) {
	if len(s) > 128 {
		return username{}, false
	}
	expiry, rest, _ := strings.Cut(s, ":")
	user, call, found := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(expiry, 10, 64)
	u = username{n, user, call}
	// The spelling must be the one that String makes, or one credential would have several names.
	ok = err == nil && found && n > 0 && chat.ValidUser(user) && validCall(call) && u.String() == s
	return u, ok
}

// splitOwner is the reverse of owner.
func splitOwner(owner string) (user, call string) {
	user, call, _ = strings.Cut(owner, ":")
	return user, call
}

func validCall(s string) bool {
	if len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// password is that of the TURN REST scheme.
func password(secret []byte, username string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// authenticate is pion's AuthHandler: the key that a request of that user name must be signed with. To allocate,
// credentials must be fresh; what there is already is kept as long as the call lives, since a browser can't
// change the credentials of a connection without restarting it.
func (t *transport) authenticate(ra *turn.RequestAttributes) (owner string, key []byte, ok bool) {
	u, ok := parseUsername(ra.Username)
	if !ok || ra.Realm != t.r.o.Realm {
		t.r.failed(addrPort(ra.SrcAddr).Addr())
		return "", nil, false
	}
	late := t.r.o.Now().Unix() > u.expiry
	if late && (ra.Method == stun.MethodAllocate || u.call == "") {
		t.r.stats.refuse(Expired)
		return "", nil, false
	}
	if !t.r.live(u.user, u.call) {
		t.r.stats.refuse(Ended)
		return "", nil, false
	}
	return u.owner(), turn.GenerateAuthKey(ra.Username, ra.Realm, password(t.r.o.Secret, ra.Username)), true
}

func (r *Relay) live(user, call string) bool { return r.o.Live == nil || r.o.Live(user, call) }
