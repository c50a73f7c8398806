package broker

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

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
		Send: func(call, party, kind string, body []byte) { s.calls.FromForwarder(call, party, kind, body) },
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
func (s *Server) sfuMetrics(reg *prometheus.Registry) {
	stats := func() (st sfu.Stats) {
		if s.sfu != nil {
			st = s.sfu.Stats()
		}
		return st
	}
	for _, m := range []struct {
		name, help string
		read       func(sfu.Stats) uint64
	}{
		{"petrel_sfu_received_packets_total", "Packets of media that the SFU took.", func(st sfu.Stats) uint64 { return st.In }},
		{"petrel_sfu_sent_packets_total", "Packets of media and reports that the SFU sent.", func(st sfu.Stats) uint64 { return st.Out }},
		{"petrel_sfu_resent_packets_total", "Packets that the SFU sent again because they were missed.", func(st sfu.Stats) uint64 { return st.Resent }},
		{"petrel_sfu_bad_packets_total", "Packets from known addresses that the SFU could not decrypt.", func(st sfu.Stats) uint64 { return st.Bad }},
		{"petrel_sfu_dropped_messages_total", "Messages of data channels that were beyond a limit of the SFU.", func(st sfu.Stats) uint64 { return st.Dropped }},
	} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.name, Help: m.help}, func() float64 { return float64(m.read(stats())) }))
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "petrel_sfu_calls", Help: "Calls that go through the SFU now."}, func() float64 { return float64(stats().Calls) }))
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "petrel_sfu_parties", Help: "Connections to the SFU now."}, func() float64 { return float64(stats().Parties) }))
}
