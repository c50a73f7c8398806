package client_test

import (
	"sync"
	"testing"

	"github.com/petrelchat/petrel/client"
)

// BenchmarkOutbox sends what was queued without a connection: from the moment when there is one until the server has stored all, and until
// all of it has come back into the store.
func BenchmarkOutbox(b *testing.B) {
	s := serve(b)
	s.proxy.Refuse(true)
	ann := s.device("ann", "a", inFile(b)).open()
	conv := ann.Direct("ann")
	var wg sync.WaitGroup
	gate := make(chan struct{}, 256)
	for i := range b.N {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			ann.send(conv, num(i))
		})
	}
	wg.Wait()
	s.proxy.Refuse(false)
	b.ResetTimer()
	ann.NetworkChanged()
	ann.await("all to be stored", func(s client.Status) bool { return s.Queued == 0 })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sent/s")
	ann.until("all", func() bool { return ann.waiting() == 0 })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "settled/s")
}
