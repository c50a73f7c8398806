package calls

import (
	"context"
	"errors"
	"time"

	"github.com/petrelchat/petrel/client"
)

// startFor is how long it is tried to learn what became of a start whose answer got lost with the connection.
const startFor = 30 * time.Second

// started is the server's answer to a start.
type started struct {
	ack client.CallAck
	err error
}

// ask publishes a start and waits for the answer. If the connection ends before it comes, nobody knows whether the call has begun: so it is
// said once more on the next one, with the same key, which begins nothing twice. flying is where an answer still comes if ctx has ended.
func (m *Manager) ask(ctx context.Context, conv string, payload []byte) (a started, flying <-chan started) {
	answers := make(chan started, 1)
	publish := func() error {
		return m.c.StartCall(conv, payload, func(a client.CallAck, err error) { answers <- started{a, err} })
	}
	if err := publish(); err != nil {
		return started{err: err}, nil
	}
	for limit := time.Now().Add(startFor); ; {
		select {
		case a = <-answers:
		case <-ctx.Done():
			return started{err: ctx.Err()}, answers
		}
		for errors.Is(a.err, client.ErrOffline) {
			wait, stop := context.WithDeadline(ctx, limit)
			err := m.c.Wait(wait, func(s client.Status) bool { return s.State > client.Connecting })
			stop()
			if err == nil {
				if err = publish(); err == nil {
					break
				}
			}
			if !errors.Is(err, client.ErrOffline) { // which says that this connection has ended too
				m.forsake(conv)
				if ctx.Err() != nil {
					a.err = ctx.Err()
				}
				return a, nil
			}
		}
		if !errors.Is(a.err, client.ErrOffline) {
			return a, nil
		}
	}
}

// forsake gives up a start of which nobody knows what became. If it began a call, that is to ring for nobody.
func (m *Manager) forsake(conv string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forsaken[conv] = true
}

// forsook reports whether a call is one that was given up before its start was answered. m.mu is held.
func (m *Manager) forsook(t *told) bool {
	if t.Kind != "state" || t.Party == "" || t.From != m.c.Me() || !m.forsaken[t.Conv] {
		return false
	}
	delete(m.forsaken, t.Conv)
	return true
}
