package presence

// Tracked is how many users are in memory.
func (p *Presence) Tracked() int {
	p.view.RLock()
	defer p.view.RUnlock()
	return len(p.users)
}

// Kill ends the goroutine without a word to the store, as a crash does.
func (p *Presence) Kill() {
	p.mu.Lock()
	p.closed = true
	p.devices, p.changed, p.ops = nil, nil, nil
	p.mu.Unlock()
	p.o.Commit = nil // Close must not reach the disk
	clear(p.users)
	close(p.stop)
	<-p.stopped
}
