package broker

import (
	"path/filepath"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/broker/search"
	"github.com/petrelchat/petrel/protocol"
)

// SearchDir is where a server keeps what it finds messages by, below its data directory. It is made from the store again
// whenever it is not there.
func SearchDir(data string) string { return filepath.Join(data, "search") }

// openSearch opens the index and starts to fill it. A server whose index cannot be opened serves without.
func (s *Server) openSearch(c *config.Config) {
	if !c.Search.Enabled {
		return
	}
	x, err := search.Open(search.Options{
		Dir: SearchDir(c.Data), Store: s.store, Commit: s.commitWait, Head: s.hub.Head, Decode: protocol.DecodeStored,
		Share: float64(c.Search.Share) / 100, Cache: int64(c.Search.Cache), Now: s.now, Log: s.log,
	})
	if err != nil {
		s.log.Error("there is no search until the next start", "error", err)
		return
	}
	s.search, s.views.search = x, x
	x.Start()
	s.later(x.Close)
}

// searcher is the index as requests see it, nil if there is none.
func (s *Server) searcher() rpc.Searcher {
	if s.search == nil {
		return nil
	}
	return s.search
}

// searchMetrics adds the figures of the index.
func (s *Server) searchMetrics(m meters) {
	if s.search == nil {
		return
	}
	m.gauge("petrel_search_documents", "Texts in the search index.", func() float64 { return float64(s.search.Stats().Docs) })
	m.gauge("petrel_search_bytes", "Size of the search index.", func() float64 { return float64(s.search.Stats().Bytes) })
	m.gauge("petrel_search_waiting_logs", "Conversations that got something which is not in the search index yet.", func() float64 { return float64(s.search.Stats().Waiting) })
	m.gauge("petrel_search_lag_seconds", "How long the oldest of them has waited.", func() float64 { return s.search.Stats().Lag.Seconds() })
	m.gauge("petrel_search_behind", "1 while the search index is being filled.", func() float64 {
		if s.search.Behind() {
			return 1
		}
		return 0
	})
	m.counter("petrel_search_queries_total", "Searches in the index.", func() float64 { return float64(s.search.Stats().Queries) })
	m.counter("petrel_search_seconds_total", "Time that they took.", func() float64 { return s.search.Stats().Time.Seconds() })
}
