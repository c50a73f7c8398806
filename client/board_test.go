package client

import (
	"errors"
	"testing"
	"time"
)

// TestComplaints: what is wrong is shown until the same works, and a new connection begins without complaints.
func TestComplaints(t *testing.T) {
	b := newBoard(newFanout())
	store, read, disk := errors.New("not stored"), errors.New("not let in"), errors.New("the disk is full")
	shows := func(want error) {
		t.Helper()
		if got := b.status().Err; got != want {
			t.Fatalf("%v is shown instead of %v", got, want)
		}
	}
	b.up()
	b.complain(complaintStore, store)
	b.complain(complaintSubscribe, read)
	shows(store)
	b.complain(complaintSync, nil)
	shows(store)
	b.complain(complaintStore, nil)
	shows(read)
	b.stored(disk)
	shows(disk)
	b.stored(nil)
	shows(read)
	b.complain(complaintSubscribe, nil)
	shows(nil)
	b.complain(complaintSync, store)
	b.down(read, time.Time{})
	shows(read)
	b.up()
	shows(nil)
}
