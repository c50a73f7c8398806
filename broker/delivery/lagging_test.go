package delivery

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
)

func TestOwnEventsAreRemembered(t *testing.T) {
	l := &lagging{next: 3}
	for _, seq := range []uint64{3, 4, 5, 9, 11, 12} {
		l.leaveOut(seq)
	}
	if got := l.leftOut(); !slices.Equal(got, []uint64{3, 5, 9, 9, 11, 12}) {
		t.Error(got)
	}
	for seq, want := range []bool{3: true, 4: true, 5: true, 8: false, 9: true, 10: false, 11: true, 12: true, 13: false} {
		if got := l.leavesOut(uint64(seq)); got != want {
			t.Errorf("%d is left out: %v", seq, got)
		}
	}
	for seq := uint64(100); seq < 100+4*ownMax; seq += 2 {
		l.leaveOut(seq)
	}
	if len(l.own) != ownMax || !l.leavesOut(100+4*ownMax-2) {
		t.Errorf("%d runs are remembered", len(l.own))
	}
}

// TestSeekKeepsTheEndOfAMembership: a seek while a log lags must not lead beyond a removal that was offered.
func TestSeekKeepsTheEndOfAMembership(t *testing.T) {
	l := &lagging{next: 5, to: 7, then: []stay{{9, 12}, {20, 0}}}
	for _, x := range []struct {
		next uint64
		want []stay
	}{
		{2, []stay{{2, 7}, {9, 12}, {20, 0}}}, {7, []stay{{7, 7}, {9, 12}, {20, 0}}},
		{8, []stay{{9, 12}, {20, 0}}}, {10, []stay{{10, 12}, {20, 0}}}, {30, []stay{{30, 0}}},
	} {
		if got := l.staysFrom(x.next); !slices.Equal(got, x.want) {
			t.Errorf("from %d: %v, want %v", x.next, got, x.want)
		}
	}
	if got := (&lagging{next: 5, to: 7}).staysFrom(8); len(got) != 0 {
		t.Error("after the end:", got)
	}
}

func TestWaitRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		broken := make(chan error, 1)
		s := &Session{link: &link{out: newOutbox(here, 1<<40, func(err error) { broken <- err })}}
		if !s.WaitRoom() {
			t.Fatal("an idle connection has no room")
		}
		big := make([]byte, liveMax)
		wait := func() (<-chan bool, func() bool) {
			s.Write(big) // on its way
			synctest.Wait()
			s.Write(big) // waits
			got := make(chan bool, 1)
			go func() { got <- s.WaitRoom() }()
			synctest.Wait()
			return got, func() bool { return len(got) == 0 }
		}
		got, waits := wait()
		if !waits() {
			t.Fatal("WaitRoom did not wait")
		}
		buf := make([]byte, liveMax)
		for n := 0; n < liveMax; {
			m, err := there.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if !<-got {
			t.Fatal("no room though the client has read")
		}
		s.Write(big)
		got, waits = wait()
		if !waits() {
			t.Fatal("WaitRoom did not wait")
		}
		if err := there.Close(); err != nil {
			t.Fatal(err)
		}
		if <-got || s.WaitRoom() {
			t.Fatal("a broken connection has room")
		}
		<-broken
	})
	synctest.Test(t, func(t *testing.T) { // who is waited for when the server ends the connection itself
		here, there := net.Pipe()
		s := &Session{link: &link{out: newOutbox(here, 1<<40, func(error) {})}}
		big := make([]byte, liveMax)
		s.Write(big)
		synctest.Wait()
		s.Write(big)
		got := make(chan bool, 1)
		go func() { got <- s.WaitRoom() }()
		synctest.Wait()
		s.Finish()
		if <-got {
			t.Error("a connection that is about to be closed has room")
		}
		_ = there.Close()
		synctest.Wait()
	})
}
