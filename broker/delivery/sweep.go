package delivery

// Bounds of one call of SweepRetained: parts of so many retained messages each.
const (
	sweepParts = 8
	sweepPart  = 1024
)

// SweepRetained has the owner of the plain messages look through the next few thousand retained
// messages for those that have expired, and delete them; call it once a minute or so. Nobody gets an
// expired one before that, but it takes up room and counts for the limit. It returns at once; an owner
// that is busy is not disturbed. Not after Close.
func (r *Registry) SweepRetained() {
	for range sweepParts {
		select {
		case r.plain.in <- plainWork{sweep: true}:
		default:
			return
		}
	}
}

// sweep carries out one part. When the batch can't be stored, the next round finds what this one left.
func (p *plainOwner) sweep() {
	next, _, err := p.retained.Sweep(p.batch, p.swept, sweepPart, p.r.o.Now().UnixMilli())
	if err != nil {
		p.r.o.Log.Error("looking for expired retained messages failed", "error", err)
	}
	p.swept = next
}
