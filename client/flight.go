package client

// flight is what the sender has under way on the connection of the moment. In each conversation it is a row: what is
// not the first of it carries the user property then, so that the server stores it only if the one before it was not refused
// for now. So when one is, all behind it come back, and the row begins anew with it once they have.
type flight struct {
	of    map[string]flying
	under map[string]int    // by conversation, how many
	stops map[string]string // by conversation, the first that the server wants again later: until the rest is answered nothing is sent
}

type flying struct {
	conv  string
	fresh bool // no server can have it from before
}

func newFlight() flight {
	return flight{of: make(map[string]flying), under: make(map[string]int), stops: make(map[string]string)}
}

// add notes that an entry goes out.
func (f *flight) add(id string, x flying) {
	f.of[id] = x
	f.under[x.conv]++
}

// drop notes that an entry is not under way (any more).
func (f *flight) drop(id string) {
	x, ok := f.of[id]
	if !ok {
		return // said before
	}
	delete(f.of, id)
	if f.under[x.conv]--; f.under[x.conv] == 0 {
		delete(f.under, x.conv)
	}
}

// land takes an answer.
func (f *flight) land(a *answer) {
	f.drop(a.id)
	if _, ok := f.stops[a.conv]; !ok && a.later() {
		f.stops[a.conv] = a.id
	}
}

// resume lets conversations go on that have come back as a whole. The answers must be on disk.
func (f *flight) resume() {
	for conv := range f.stops {
		if f.under[conv] == 0 {
			delete(f.stops, conv)
		}
	}
}

// stopped reports whether nothing may be sent to a conversation.
func (f *flight) stopped(conv string) bool { return f.stops[conv] != "" }

// begins reports whether an entry is the one from which on its conversation has to be sent again.
func (f *flight) begins(conv, id string) bool { return f.stops[conv] == id }
