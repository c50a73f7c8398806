package relay

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/stretchr/testify/require"
)

// stranger sends from an address of its own, which nobody knows.
func (g *rig) stranger(from string) *net.UDPConn {
	g.t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(g.at("127.0.0.1"))))
	require.NoError(g.t, err)
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

// unproved are packets as somebody sends them who forges the address of another.
func unproved(g *rig) map[string][]byte {
	secret := []byte("a secret of the tests")
	request := func(method stun.Method, with ...stun.Setter) []byte {
		return stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, with...)...).Raw
	}
	attribute := func(kind stun.AttrType, size int) stun.Setter {
		return setter(func(m *stun.Message) error { m.Add(kind, make([]byte, size)); return nil })
	}
	var many []stun.Setter
	for i := range 300 {
		many = append(many, attribute(stun.AttrType(0x7000+i), 0))
	}
	// A nonce can be had by whoever asks from an address of his own.
	asker := &caller{t: g.t, conn: g.stranger(barrierAddr.String())}
	asker.do(stun.MethodAllocate)
	name := username{g.now.Unix() + 100, "alice", "call1"}.String()
	over := username{g.now.Unix() + 100, "alice", "over"}.String()
	signed := func(method stun.Method, name, pass string, with ...stun.Setter) []byte {
		return request(method, append(with, stun.NewUsername(name), stun.NewRealm("petrel"), asker.nonce,
			stun.MessageIntegrity(turn.GenerateAuthKey(name, "petrel", pass)))...)
	}
	g.end("over")
	kinds := map[string][]byte{
		"nothing": {}, "a byte": {0}, "zeros": make([]byte, 20), "text": []byte("GET / HTTP/1.1\r\n\r\n"), "long garbage": bytes.Repeat([]byte("x"), 1500),
		"longer than a packet":  bytes.Repeat([]byte{0, 1}, 1000),
		"DTLS":                  append([]byte{22, 254, 253}, make([]byte, 200)...),
		"channel data":          binary.BigEndian.AppendUint32(nil, 0x40000000),
		"binding":               request(stun.MethodBinding),
		"binding, old":          make([]byte, 20),
		"allocate":              request(stun.MethodAllocate),
		"allocate UDP":          request(stun.MethodAllocate, setter(udpTransport)),
		"allocate with print":   request(stun.MethodAllocate, setter(udpTransport), stun.Fingerprint),
		"refresh":               request(stun.MethodRefresh),
		"permission":            request(stun.MethodCreatePermission, peerAddress("1.1.1.1:1")),
		"channel":               request(stun.MethodChannelBind, channel(0x4000), peerAddress("1.1.1.1:1")),
		"connect":               request(stun.MethodConnect),
		"connection bind":       request(stun.MethodConnectionBind),
		"no method":             request(0x7FF),
		"empty integrity":       request(stun.MethodAllocate, attribute(stun.AttrMessageIntegrity, 0)),
		"integrity alone":       request(stun.MethodAllocate, attribute(stun.AttrMessageIntegrity, 20)),
		"no nonce":              request(stun.MethodAllocate, attribute(stun.AttrMessageIntegrity, 0), attribute(stun.AttrNonce, 0)),
		"stale nonce":           request(stun.MethodRefresh, attribute(stun.AttrNonce, 4), attribute(stun.AttrMessageIntegrity, 0)),
		"nonce alone":           request(stun.MethodAllocate, asker.nonce, attribute(stun.AttrMessageIntegrity, 0)),
		"no user":               request(stun.MethodAllocate, asker.nonce, stun.NewRealm("petrel"), attribute(stun.AttrMessageIntegrity, 0)),
		"forged":                signed(stun.MethodAllocate, name, "guess", setter(udpTransport)),
		"ended":                 signed(stun.MethodAllocate, over, password(secret, over), setter(udpTransport)),
		"expired":               signed(stun.MethodAllocate, "1:alice:", password(secret, "1:alice:"), setter(udpTransport)),
		"unknown attribute":     request(stun.MethodBinding, attribute(0x7000, 0)),
		"unknown attributes":    request(stun.MethodAllocate, many...),
		"optional attributes":   request(stun.MethodBinding, attribute(0x8888, 40)),
		"answer":                stun.MustBuild(stun.TransactionID, stun.BindingSuccess).Raw,
		"indication":            stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication)).Raw,
		"send":                  stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAddress("1.1.1.1:1"), attribute(stun.AttrData, 4)).Raw,
		"data":                  stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodData, stun.ClassIndication), attribute(stun.AttrData, 4)).Raw,
		"a message and a half":  append(request(stun.MethodBinding), make([]byte, 10)...),
		"a length that is none": append([]byte{0, 1, 0xff, 0xfc}, request(stun.MethodBinding)[4:]...),
	}
	return kinds
}

// However often what is sent, never do more bytes come back to an address that has proved nothing.
func TestNoAmplification(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Limits.Failures, o.Known = 1000, func(a netip.Addr) bool { return a == barrierAddr }
	})
	kinds := unproved(g)
	var worst float64
	answered := 0
	for i, name := range slices.Sorted(maps.Keys(kinds)) {
		c := g.stranger(netip.AddrFrom4([4]byte{127, 1, 0, byte(i + 1)}).String())
		sent, got, packets := 0, 0, 0
		for round := range 20 {
			_, err := c.Write(kinds[name])
			require.NoError(t, err)
			sent += len(kinds[name])
			g.barrier()
			for _, b := range rest(c) {
				got += len(b)
				packets++
			}
			require.LessOrEqual(t, got, sent, "%s, after %d", name, round+1)
		}
		if packets > 0 {
			answered++
		}
		ratio := float64(got) / float64(max(sent, 1))
		worst = max(worst, ratio)
		t.Logf("%-22s %5d bytes × 20: %2d answers, %.2f of what was sent", name, len(kinds[name]), packets, ratio)
	}
	t.Logf("worst: %.2f", worst)
	require.Greater(t, answered, 10, "silence alone would be no server")
	require.LessOrEqual(t, worst, 1.0)
	require.Positive(t, g.Stats().Refused(Withheld))
}

// A stranger who repeats himself, as every client over UDP does, is served.
func TestStrangersAreServed(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Known = nil })
	name, secret := g.credentials("alice", "call1")
	client := pionClient(t, peerAt(t, "127.0.0.1"), g.at("127.0.0.1"), name, secret)
	relayed, err := client.Allocate()
	require.NoError(t, err)
	require.NoError(t, relayed.Close())
	require.Positive(t, g.Stats().Refused(Withheld), "at first it got nothing")
}

// Also known addresses are not answered without end.
func TestAnswersAreLimited(t *testing.T) {
	g := newRig(t, nil)
	c := g.stranger("127.0.0.1")
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	for range 3 * answersMax {
		_, err := c.Write(m.Raw)
		require.NoError(t, err)
	}
	g.barrier()
	require.Len(t, rest(c), 2*answersMax)
	require.EqualValues(t, answersMax, g.Stats().Refused(Throttled))
}
