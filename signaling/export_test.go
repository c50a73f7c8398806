package signaling

// Remembered is how many starts are known that come late.
func (s *Service) Remembered() (n int) {
	for i := range s.index.shards {
		h := &s.index.shards[i]
		h.mu.Lock()
		for _, all := range h.spent {
			n += len(all)
		}
		h.mu.Unlock()
	}
	return n
}
