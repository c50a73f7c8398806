package presence

// Refresh tells each of two users anew what they see of the other: what they are to each other has changed,
// and that is stored. A presence that is not theirs to see any more is cleared. It returns at once.
func (p *Presence) Refresh(a, b string) error {
	if a == b {
		return nil
	}
	return p.submit(op{pair: [2]string{a, b}})
}

// refresh runs on the goroutine, and so after whatever was published before.
func (p *Presence) refresh(a, b string) {
	if !p.o.Wanted() {
		return
	}
	for _, x := range [...][2]string{{a, b}, {b, a}} {
		viewer, subject := x[0], x[1]
		may, err := p.MaySee(viewer, subject)
		if err != nil {
			p.o.Log.Error("looking up who may see a user failed", "user", subject, "error", err)
			continue
		}
		if !may {
			p.o.Tell([]string{viewer}, subject, nil)
			continue
		}
		is, err := p.Current(viewer, subject)
		if err != nil {
			p.o.Log.Error("reading a profile failed", "user", subject, "error", err)
			continue
		}
		p.o.Tell([]string{viewer}, subject, is.Append(nil))
	}
}
