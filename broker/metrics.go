package broker

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// meters is where figures are registered that are read when somebody asks for them: counting costs the hot path one atomic addition.
type meters struct{ *prometheus.Registry }

// counter registers what only grows. label is nothing, or a label's name and value.
func (m meters) counter(name, help string, read func() float64, label ...string) {
	m.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels(label)}, read))
}

// gauge registers what rises and falls.
func (m meters) gauge(name, help string, read func() float64) {
	m.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

func labels(pair []string) prometheus.Labels {
	if len(pair) == 0 {
		return nil
	}
	return prometheus.Labels{pair[0]: pair[1]}
}

// number makes a reader of meters of one that returns an integer.
func number[N int | int64 | uint64](read func() N) func() float64 {
	return func() float64 { return float64(read()) }
}

// metricsHandler serves /metrics in the Prometheus format.
func (s *Server) metricsHandler() http.Handler {
	m := meters{prometheus.NewRegistry()}
	m.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.notifyMetrics(m)
	s.callMetrics(m)
	s.sfuMetrics(m)
	s.relayMetrics(m)
	s.searchMetrics(m)
	stats := s.adapter.Stats()
	m.MustRegister(s.times.seconds)
	m.counter("petrel_connections_total", "Connections that were admitted.", number(stats.Connections.Load))
	m.counter("petrel_connections_refused_total", "Connections refused by a limit or by their credentials.", number(stats.Refused.Load))
	m.counter("petrel_malformed_total", "Connections ended because of what they sent.", number(stats.Malformed.Load))
	m.counter("petrel_published_total", "PUBLISH packets that came in.", number(stats.Published.Load))
	m.counter("petrel_denied_total", "PUBLISH packets that were refused.", number(stats.Denied.Load))
	m.counter("petrel_requests_total", "Requests on rpc/.", number(stats.Requests.Load))
	m.counter("petrel_queue_dropped_total", "Plain messages that did not fit into a session's queue.", number(s.registry.Dropped.Load))
	m.counter("petrel_delivered_total", "Messages handed to connections.", number(s.registry.Sent.Load))
	hooks := s.webhooks.Stats()
	m.counter("petrel_webhook_posts_total", "Posts to incoming webhooks that were stored.", number(hooks.Posted.Load))
	m.counter("petrel_webhook_refused_total", "Posts to incoming webhooks that were refused.", number(hooks.Refused.Load))
	m.counter("petrel_webhook_deliveries_total", "Deliveries of outgoing webhooks that endpoints took.", number(hooks.Delivered.Load))
	m.counter("petrel_webhook_failures_total", "Deliveries of outgoing webhooks that endpoints did not take.", number(hooks.Failed.Load))
	m.gauge("petrel_webhooks", "Webhooks that there are.", func() float64 { all, _ := s.webhooks.Count(); return float64(all) })
	m.gauge("petrel_webhooks_off", "Webhooks that are off.", func() float64 { _, off := s.webhooks.Count(); return float64(off) })
	m.gauge("petrel_connections", "Connections now.", func() float64 { return float64(s.adapter.Count()) })
	m.gauge("petrel_durable_commit", "Number of the newest commit on disk.", func() float64 { return float64(s.pipeline.Durable()) })
	m.gauge("petrel_commits_waiting", "Commits applied and not yet synced.", func() float64 {
		durable := s.pipeline.Durable() // first: the other is never behind it then
		return float64(s.store.LastCommit() - durable)
	})
	m.gauge("petrel_ready", "1 while the server takes connections.", func() float64 {
		if s.Ready() {
			return 1
		}
		return 0
	})
	for name := range s.store.Stats() {
		m.gauge("petrel_store_"+name, "The store's figure of that name.", func() float64 { return s.store.Stats()[name] })
	}
	return promhttp.HandlerFor(m, promhttp.HandlerOpts{})
}
