package bench

import (
	"context"
	"fmt"
)

// requestsTimed is how many requests of a kind are timed.
const requestsTimed = 500

// history is reading pages of 50 from a long log: its end, and anywhere in it.
func (r *runner) history(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	if !s.petrel {
		return conversationsOnly(), nil
	}
	a, err := cr.asking(s, senderName(0), "reader")
	if err != nil {
		return res, err
	}
	if _, err := a.ask("group.create", createParams("log", nil), nil); err != nil {
		return res, err
	}
	n := r.opt.Log
	if err := r.fillLog(cr, s, "c/log/text", n); err != nil {
		return res, err
	}
	var head struct{ Head uint64 }
	if _, err := a.ask("history", map[string]any{"conv": "log", "limit": 1}, &head); err != nil {
		return res, err
	}
	if head.Head < uint64(n) {
		return res, fmt.Errorf("the log ends at %d after %d posts", head.Head, n)
	}
	res.add("events", "", float64(head.Head))
	err = r.timed(ctx, s, a, &res, "history", requestsTimed, func(i int) map[string]any {
		p := map[string]any{"conv": "log", "limit": 50}
		if i%2 == 1 { // scattered over the whole log
			p["before"] = 100 + uint64(i)*2654435761%(head.Head-100)
		}
		return p
	})
	return res, err
}

// fillLog posts n messages as fast as they are acknowledged.
func (r *runner) fillLog(cr *crew, s *server, topic string, n int) error {
	c, err := r.dialSender(cr, s, 0)
	if err != nil {
		return err
	}
	defer c.drop()
	snd := newSender(c, r.clock, 0, 64, func(_, _ int64) {})
	return snd.closed(1000, func() (string, uint64) { return topic, snd.count }, func(int64) bool { return snd.count < uint64(n)-1 })
}

func createParams(id string, members []string) map[string]any {
	p := map[string]any{"id": id, "title": "Group " + id, "visibility": "private", "join": "invite", "history": "all"}
	if members != nil {
		p["members"] = members
	}
	return p
}

// syncing is a device that comes back to many conversations of which ten got something.
func (r *runner) syncing(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	if !s.petrel {
		return conversationsOnly(), nil
	}
	writer, err := cr.asking(s, senderName(0), "writer")
	if err != nil {
		return res, err
	}
	a, err := cr.asking(s, deviceName(0), "phone")
	if err != nil {
		return res, err
	}
	n := r.opt.Convs
	for i := range n {
		if _, err := writer.ask("group.create", createParams(fmt.Sprintf("conv-%04d", i), []string{deviceName(0)}), nil); err != nil {
			return res, err
		}
	}
	var token struct {
		Since string
		More  bool
	}
	for token.More = true; token.More; {
		if _, err := a.ask("sync", map[string]any{"since": token.Since, "limit": 500}, &token); err != nil {
			return res, err
		}
	}
	post, err := r.dialSender(cr, s, 0)
	if err != nil {
		return res, err
	}
	snd := newSender(post, r.clock, 0, 31, func(_, _ int64) {})
	next := func() (string, uint64) {
		return fmt.Sprintf("c/conv-%04d/text", int(snd.count)*97%n), snd.count
	}
	if err := snd.closed(10, next, func(int64) bool { return snd.count < min(10, uint64(n))-1 }); err != nil {
		return res, err
	}
	res.add("conversations", "", float64(n))
	err = r.timed(ctx, s, a, &res, "sync", requestsTimed, func(int) map[string]any { return map[string]any{"since": token.Since} })
	return res, err
}
