package calls

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/transport/v4/vnet"
	"github.com/pion/turn/v5"
)

// TestSilentRelay: what asks a relay that is gone for a permission waits for three seconds once, and not again; when the relay is back it is found.
func TestSilentRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		router := newRouter(t, &vnet.RouterConfig{CIDR: "10.7.0.0/16", MinDelay: 50 * time.Millisecond})
		router.AddChunkFilter(func(vnet.Chunk) bool { return !gone.Load() })
		there, here := newCard(t, "10.7.0.1"), newCard(t, "10.7.0.2")
		must(t, errors.Join(router.AddNet(there), router.AddNet(here), router.Start()))
		defer func() { must(t, router.Stop()) }()

		at, err := there.ListenPacket("udp4", "10.7.0.1:3478")
		must(t, err)
		relay, err := turn.NewServer(turn.ServerConfig{
			LoggerFactory: silence{}, Realm: "petrel",
			AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
				return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, "secret"), true
			},
			PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: at, RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{
				RelayAddress: net.IPv4(10, 7, 0, 1), Address: "10.7.0.1", Net: there,
			}}},
		})
		must(t, err)
		defer func() { must(t, relay.Close()) }()

		n, err := newNetwork(here)
		must(t, err)
		conn, err := n.ListenPacket("udp4", "10.7.0.2:0")
		must(t, err)
		defer conn.Close()
		c, err := turn.NewClient(&turn.ClientConfig{
			TURNServerAddr: "10.7.0.1:3478", Conn: conn, Username: "ann", Password: "secret", LoggerFactory: silence{}, Net: n,
		})
		must(t, err)
		defer c.Close()
		must(t, c.Listen())
		way, err := c.Allocate()
		must(t, err)
		defer way.Close()

		asks := func() (time.Duration, error) {
			began := time.Now()
			err := c.CreatePermission(&net.UDPAddr{IP: net.IPv4(10, 7, 0, 3), Port: 7})
			return time.Since(began), err
		}
		fails := func(most time.Duration) {
			t.Helper()
			if took, err := asks(); err == nil || took > most {
				t.Errorf("a relay that is gone: %v after %v", err, took)
			}
		}
		if _, err := asks(); err != nil {
			t.Fatal(err)
		}
		gone.Store(true)
		fails(3 * time.Second)
		for range 20 {
			fails(200 * time.Millisecond) // with a request a second that goes out
		}
		time.Sleep(relayProbe)
		gone.Store(false)
		if _, err := asks(); err != nil {
			t.Errorf("a relay that is back: %v", err)
		}
		if _, err := asks(); err != nil {
			t.Errorf("a relay that is back: %v", err)
		}
	})
}

// TestSlowRelay: a relay that has not answered yet is given all the time that pion gives it.
func TestSlowRelay(t *testing.T) {
	began := time.Now()
	var d doubt
	request := append([]byte{0, 8, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	for i := range 10 {
		if err := d.asks(request, began.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range [][]byte{nil, {0, 8}, {0, 0x16, 19: 0}, {0x40, 8, 19: 0}, {1, 8, 19: 0}, {0, 4, 19: 0}, {0, 9, 19: 0}} {
		d.heard()
		must(t, d.asks(request, began))
		if err := d.asks(other, began.Add(time.Hour)); err != nil {
			t.Errorf("% x: %v", other, err)
		}
	}
	if d.asks(request, began.Add(time.Hour)) == nil {
		t.Error("a request that nobody answers for an hour goes out again and again")
	}
}

// TestAddressesOfTheMoment: what the machine had when a connection was made, here nothing yet, is not what it has now.
func TestAddressesOfTheMoment(t *testing.T) {
	cards, err := machine{&stdnet.Net{}}.Interfaces()
	must(t, err)
	if len(cards) == 0 {
		t.Error("no interfaces")
	}
}
