package broker

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsHandler serves /metrics in the Prometheus format. Everything is read when it is asked for:
// counting costs the hot path one atomic addition.
func (s *Server) metricsHandler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.notifyMetrics(reg)
	s.callMetrics(reg)
	s.sfuMetrics(reg)
	stats := s.adapter.Stats()
	counter := func(name, help string, read func() int64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(read()) }))
	}
	gauge := func(name, help string, read func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	reg.MustRegister(s.times.seconds)
	counter("petrel_connections_total", "Connections that were admitted.", stats.Connections.Load)
	counter("petrel_connections_refused_total", "Connections refused by a limit or by their credentials.", stats.Refused.Load)
	counter("petrel_malformed_total", "Connections ended because of what they sent.", stats.Malformed.Load)
	counter("petrel_published_total", "PUBLISH packets that came in.", stats.Published.Load)
	counter("petrel_denied_total", "PUBLISH packets that were refused.", stats.Denied.Load)
	counter("petrel_requests_total", "Requests on rpc/.", stats.Requests.Load)
	counter("petrel_queue_dropped_total", "Plain messages that did not fit into a session's queue.", s.registry.Dropped.Load)
	counter("petrel_delivered_total", "Messages handed to connections.", s.registry.Sent.Load)
	hooks := s.webhooks.Stats()
	counter("petrel_webhook_posts_total", "Posts to incoming webhooks that were stored.", hooks.Posted.Load)
	counter("petrel_webhook_refused_total", "Posts to incoming webhooks that were refused.", hooks.Refused.Load)
	counter("petrel_webhook_deliveries_total", "Deliveries of outgoing webhooks that endpoints took.", hooks.Delivered.Load)
	counter("petrel_webhook_failures_total", "Deliveries of outgoing webhooks that endpoints did not take.", hooks.Failed.Load)
	gauge("petrel_webhooks", "Webhooks that there are.", func() float64 { all, _ := s.webhooks.Count(); return float64(all) })
	gauge("petrel_webhooks_off", "Webhooks that are off.", func() float64 { _, off := s.webhooks.Count(); return float64(off) })
	gauge("petrel_connections", "Connections now.", func() float64 { return float64(s.adapter.Count()) })
	gauge("petrel_durable_commit", "Number of the newest commit on disk.", func() float64 { return float64(s.pipeline.Durable()) })
	gauge("petrel_commits_waiting", "Commits applied and not yet synced.", func() float64 {
		durable := s.pipeline.Durable() // first: the other is never behind it then
		return float64(s.store.LastCommit() - durable)
	})
	gauge("petrel_ready", "1 while the server takes connections.", func() float64 {
		if s.Ready() {
			return 1
		}
		return 0
	})
	s.searchMetrics(func(name, help string, read func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read))
	}, gauge)
	s.relayMetrics(reg, counter, gauge)
	for name := range s.store.Stats() {
		gauge("petrel_store_"+name, "The store's figure of that name.", func() float64 { return s.store.Stats()[name] })
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}
