package chat

// Acts is what has been done to an event before, as far as a command asks about it.
type Acts struct {
	Reacted uint64 // react, unreact: seq of the event by which the actor put this very emoji there; 0: not there
	Mine    int    // react: how many different emoji of the actor's are there
	Emoji   int    // react: how many different emoji there are
	Used    bool   // react: somebody has put this emoji there
	Pinned  uint64 // pin, unpin: seq of the event that pinned it; 0: not pinned
	Pins    int    // pin: how many pins the conversation has
	Edits   int    // edit: how often it was edited
}

// Bounds of what members hang on an event. They keep one message from growing without end.
const (
	MaxEmojiEach = 20   // different emoji of one user on one event
	MaxEmojiAll  = 1000 // different emoji on one event
	MaxPins      = 100  // of a conversation
	MaxEdits     = 1000 // of one post: they go with it, all at once
)

// repeated answers an act that has been carried out already (done), or refuses one too many. What has the
// result already makes no second event; the answer is the seq of the event that brought it about, or the
// head, where nothing did.
func (s *State) repeated(c *Command) (d Decision, done bool, err error) {
	a := &c.Acts
	switch kindOf(&c.Event) {
	case KindEdit:
		if a.Edits >= MaxEdits {
			return d, false, Refuse(Conflict, "this post was edited %d times, which is the most: write a new one", a.Edits)
		}
	case KindReact:
		switch {
		case a.Reacted != 0:
			return Decision{Seq: a.Reacted, Duplicate: true}, true, nil
		case a.Mine >= MaxEmojiEach:
			return d, false, Refuse(Conflict, "you have put %d emoji there, which is the most: take one away first", a.Mine)
		case !a.Used && a.Emoji >= MaxEmojiAll:
			return d, false, Refuse(Conflict, "there are %d different emoji there, which is the most: choose one of them", a.Emoji)
		}
	case KindUnreact:
		if a.Reacted == 0 {
			d, err = s.unchanged()
			return d, true, err
		}
	case KindPin:
		switch {
		case a.Pinned != 0:
			return Decision{Seq: a.Pinned, Duplicate: true}, true, nil
		case a.Pins >= MaxPins:
			return d, false, Refuse(Conflict, "%d events are pinned here, which is the most: unpin one first", a.Pins)
		}
	case KindUnpin:
		if a.Pinned == 0 {
			d, err = s.unchanged()
			return d, true, err
		}
	}
	return d, false, nil
}

// Tombstone is what stays of an event that was deleted or has disappeared: that it was there, whose it was
// and when; of a post its place in the thread too, and whether it began a conversation as a request.
// Conversation and threads can so be told from their log as before. It holds nothing that anybody wrote.
func Tombstone(e *Event) Event {
	t := Event{Seq: e.Seq, From: e.From, At: e.At, Kind: KindGone}
	if e.Kind == KindPost || e.Kind == KindGone {
		t.Re, t.Thread, t.Member = e.Re, e.Thread, e.Member
	}
	return t
}
