package link

import "context"

// Probe has the link ask the server whether it is there, as Poke does, and waits for the answer: at most for Patience.Probe,
// longer only while bytes still arrive or much is still on its way out. ErrLost means that it was not and that the
// connection is being given up; ErrDown that there is none.
func (l *Link) Probe(ctx context.Context) error {
	c, err := l.up()
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	if err := c.ask(answer); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
