package broker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// rpcTimes is how long requests take in the server, by method.
type rpcTimes struct {
	seconds *prometheus.HistogramVec
	methods map[string]prometheus.Observer
	other   prometheus.Observer // a method that there is not: its name is the client's to choose
}

func newRPCTimes(methods []string) *rpcTimes {
	t := &rpcTimes{methods: make(map[string]prometheus.Observer, len(methods)), seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "petrel_rpc_seconds", Help: "How long the server took for requests on rpc/.",
		Buckets: []float64{.00025, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 5},
	}, []string{"method"})}
	for _, m := range methods {
		t.methods[m] = t.seconds.WithLabelValues(m)
	}
	t.other = t.seconds.WithLabelValues("other")
	return t
}

// since notes a request that began at a time.
func (t *rpcTimes) since(method string, began time.Time) {
	o, ok := t.methods[method]
	if !ok {
		o = t.other
	}
	o.Observe(time.Since(began).Seconds())
}
