package broker

// TickCalls does what is due for calls by the clock of Options.Now.
func (s *Server) TickCalls() { s.calls.Tick() }
