package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/stretchr/testify/require"
)

const benchPacket = 1000 // bytes, as of video

// forward sends packets through a forwarder, never more than some on their way, so that none is lost and the rate is
// the forwarder's.
func forward(b *testing.B, send func([]byte) error, peer *net.UDPConn) {
	const window = 64
	data := make([]byte, benchPacket)
	free := make(chan struct{}, window)
	for range window {
		free <- struct{}{}
	}
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 2*mtu)
		for range b.N {
			_ = peer.SetReadDeadline(time.Now().Add(patience))
			if _, _, err := peer.ReadFromUDPAddrPort(buf); err != nil {
				done <- err
				return
			}
			free <- struct{}{}
		}
		done <- nil
	}()
	b.SetBytes(benchPacket)
	b.ResetTimer()
	for range b.N {
		<-free
		require.NoError(b, send(data))
	}
	require.NoError(b, <-done)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

// BenchmarkRelay: from a client over a channel to its peer.
func BenchmarkRelay(b *testing.B) {
	g := newRig(b, func(o *Options) { o.Now, o.Limits.Bandwidth, o.Limits.TotalBandwidth = time.Now, 1<<40, 0 })
	a := g.caller("alice", "call1")
	a.mustAllocate()
	peer := peerAt(b, "127.0.0.1")
	require.Zero(b, codeOf(a.do(stun.MethodChannelBind, channel(0x4000), peerAddress(peer.LocalAddr().String()))))
	forward(b, func(p []byte) error { a.send(0x4000, p); return nil }, peer)
}

// BenchmarkRelayBack: from a peer over a channel to the client.
func BenchmarkRelayBack(b *testing.B) {
	g := newRig(b, func(o *Options) { o.Now, o.Limits.Bandwidth, o.Limits.TotalBandwidth = time.Now, 1<<40, 0 })
	a := g.caller("alice", "call1")
	at := a.mustAllocate()
	peer := peerAt(b, "127.0.0.1")
	require.Zero(b, codeOf(a.do(stun.MethodChannelBind, channel(0x4000), peerAddress(peer.LocalAddr().String()))))
	forward(b, func(p []byte) error { _, err := peer.WriteToUDPAddrPort(p, at); return err }, a.conn.(*net.UDPConn))
}

// BenchmarkForwarder is the least that any relay does: read, look up, write.
func BenchmarkForwarder(b *testing.B) {
	in, out, peer, client := peerAt(b, "127.0.0.1"), peerAt(b, "127.0.0.1"), peerAt(b, "127.0.0.1"), peerAt(b, "127.0.0.1")
	ap := func(c *net.UDPConn) netip.AddrPort { return addrPort(c.LocalAddr()) }
	table := map[netip.AddrPort]netip.AddrPort{ap(client): ap(peer)}
	go func() {
		buf := make([]byte, mtu)
		for {
			n, from, err := in.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if to, ok := table[from]; ok {
				_, _ = out.WriteToUDPAddrPort(buf[:n], to)
			}
		}
	}()
	to := ap(in)
	forward(b, func(p []byte) error { _, err := client.WriteToUDPAddrPort(p, to); return err }, peer)
}
