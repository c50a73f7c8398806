package broker

import (
	"fmt"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/signaling"
	"github.com/petrelchat/petrel/signaling/sfu"
)

var _ signaling.Forwarder = (*sfu.Server)(nil)

// buildSFU makes the forwarder of large calls; nil: the settings want none. It is closed before the calls are, whom it tells
// of its answers (see startCalls), and once more, which does nothing, where the start failed.
func (s *Server) buildSFU(c *config.Config) (signaling.Forwarder, error) {
	o := c.SFU
	if !o.On(c.Dev) {
		return nil, nil
	}
	listen := o.Listen
	if o.Enabled == "" {
		listen = "127.0.0.1:0"
	}
	f, err := sfu.New(sfu.Options{
		Listen: listen, Public: o.Public, Log: s.log,
		Parties: c.Calls.Parties, Tracks: o.Tracks, Audio: o.Audio, Video: o.Video, Bitrate: int(o.Bitrate) * 8,
		Send: func(call, party, kind, re string, body []byte) { s.calls.FromForwarder(call, party, kind, re, body) },
	})
	if err != nil {
		return nil, fmt.Errorf("sfu: %w", err)
	}
	s.sfu = f
	s.later(s.closeSFU)
	return f, nil
}

// closeSFU ends the media of large calls.
func (s *Server) closeSFU() {
	if s.sfu == nil {
		return
	}
	if err := s.sfu.Close(); err != nil {
		s.log.Warn("the SFU did not end well", "error", err)
	}
}

// sfuMetrics are those of the forwarder: zeros, if there is none.
func (s *Server) sfuMetrics(m meters) {
	read := func(of func(*sfu.Stats) uint64) func() float64 {
		return number(func() uint64 {
			if s.sfu == nil {
				return 0
			}
			st := s.sfu.Stats()
			return of(&st)
		})
	}
	m.counter("petrel_sfu_received_packets_total", "Packets of media that the SFU took.", read(func(st *sfu.Stats) uint64 { return st.In }))
	m.counter("petrel_sfu_sent_packets_total", "Packets of media and reports that the SFU sent.", read(func(st *sfu.Stats) uint64 { return st.Out }))
	m.counter("petrel_sfu_resent_packets_total", "Packets that the SFU sent again because they were missed.", read(func(st *sfu.Stats) uint64 { return st.Resent }))
	m.counter("petrel_sfu_bad_packets_total", "Packets from known addresses that the SFU could not decrypt.", read(func(st *sfu.Stats) uint64 { return st.Bad }))
	m.counter("petrel_sfu_dropped_messages_total", "Messages of data channels that were beyond a limit of the SFU.", read(func(st *sfu.Stats) uint64 { return st.Dropped }))
	m.gauge("petrel_sfu_calls", "Calls that go through the SFU now.", read(func(st *sfu.Stats) uint64 { return uint64(st.Calls) }))
	m.gauge("petrel_sfu_parties", "Connections to the SFU now.", read(func(st *sfu.Stats) uint64 { return uint64(st.Parties) }))
}
