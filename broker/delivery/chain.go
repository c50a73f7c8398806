package delivery

import (
	"errors"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// chain is what a connection has posted to one conversation, from a post that stood for itself on: each of the others
// is to be stored only if the one before it was not refused for now (PROTOCOL: delivery 13). As those behind one that was
// refused for now are refused as well, the first such place says it all. A refusal for good changes nothing.
type chain struct {
	conv   string
	next   int   // place of the post that comes next
	open   int   // posts that are neither stored nor refused yet
	broken int   // first place that was refused for now; means nothing without why
	why    error // how those behind it are refused; nil: none was refused for now
}

// held returns how the post at a place is refused because of one before it; nil: it may be stored.
func (c *chain) held(place int) error {
	if c.why != nil && place > c.broken {
		return c.why
	}
	return nil
}

// chainsMax bounds how many conversations a connection has marked without having something under way there:
// about 250 bytes each.
const chainsMax = 256

// chains are those of a connection, by conversation; the zero value is ready. Only what differs from the rule
// for the others is kept: at first that nothing was refused for now. A connection with too many marks gets
// the opposite rule: from then on a post that follows another is refused where nobody knows that the other was stored.
// That is never wrong, for who is refused begins anew, but it costs a round trip.
type chains struct {
	of   map[string]*chain
	kept int   // of them, those with nothing under way
	rule error // how posts are refused that follow something which is not in of; nil: they are not
}

// join gives a post its place: in a chain of its own, or behind what its conversation had before.
func (cs *chains) join(conv string, then bool) (c *chain, place int) {
	c = cs.of[conv]
	if c != nil && c.open == 0 {
		cs.kept--
	}
	if c == nil || !then {
		c = &chain{conv: conv}
		if then && cs.rule != nil {
			c.broken, c.why = -1, cs.rule
		}
		if cs.of == nil {
			cs.of = make(map[string]*chain)
		}
		cs.of[conv] = c
	}
	place = c.next
	c.next++
	c.open++
	return c, place
}

// settle notes how a post ended; err nil: it is stored.
func (cs *chains) settle(c *chain, place int, err error) {
	c.open--
	if protocol.ForNow(err) && (c.why == nil || place < c.broken) {
		c.broken, c.why = place, behind(err)
	}
	switch {
	case c.open > 0 || cs.of[c.conv] != c:
	case (c.why != nil) == (cs.rule != nil):
		delete(cs.of, c.conv)
	default:
		if cs.kept++; cs.kept > chainsMax {
			cs.forget(c)
		}
	}
}

// forget makes room. All that have nothing under way differ from the rule in the same way.
func (cs *chains) forget(last *chain) {
	if cs.rule == nil {
		cs.rule = last.why
	}
	for conv, c := range cs.of {
		if c.open == 0 {
			delete(cs.of, conv)
		}
	}
	cs.kept = 0
}

// behind is how posts are refused that come behind one which was refused with err: with the same code.
func behind(err error) error {
	r := new(chat.Refusal)
	if !errors.As(err, &r) {
		return err
	}
	return chat.Refuse(r.Code, "a message before it in this conversation was refused for now: send it again after that one")
}

// Follow gives a post its place among what this connection posts to a conversation. then: it is to be stored only
// if the one before it was not refused for now; an error says that it was, and is how to refuse this one. It is for
// the reader, once for each post, in their order.
func (in *Inbound) Follow(conv string, then bool) error {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	in.chain, in.place = s.chains.join(conv, then)
	if !then {
		return nil
	}
	return in.chain.held(in.place)
}

// Held asks once more, where the order of the conversation's events is made: what came before it may have been refused since.
// It may be called from any goroutine that holds no lock.
func (in *Inbound) Held() error {
	in.s.mu.Lock()
	defer in.s.mu.Unlock()
	return in.chain.held(in.place)
}
