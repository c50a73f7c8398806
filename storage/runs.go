package storage

// Run is one time that a server was started on a store. Where a commit number leaves the server, the run goes with
// it: the numbers behind a backup that was put back are given a second time, to other commits.
type Run struct {
	ID   uint64 `cbor:"1,keyasint"` // random, never 0
	From uint64 `cbor:"2,keyasint"` // the last commit before it
}

// Runs are the runs that a store knows, the last one of now. It is not changed by its methods.
type Runs []Run

// MaxRuns bounds the runs that are remembered. Whoever comes with a number of an older one begins anew.
const MaxRuns = 1024

// RunsKey is where the runs are stored, as one record.
func RunsKey() Key { return In(SpaceMeta).Str("runs") }

// Now is the run of now, 0 if there is none.
func (r Runs) Now() uint64 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].ID
}

// Has reports whether a commit that was the newest, or older, in a run is one of this store.
func (r Runs) Has(run, commit uint64) bool {
	for i := len(r) - 1; i >= 0; i-- {
		if r[i].ID == run {
			return i == len(r)-1 || commit <= r[i+1].From
		}
	}
	return false
}
