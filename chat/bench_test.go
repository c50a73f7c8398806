package chat_test

import (
	"fmt"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

// crowd returns a group with n members.
func crowd(tb testing.TB, n int) *chat.State {
	tb.Helper()
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf("user%04d", i)
	}
	s := chat.NewGroup("crowd")
	d, err := s.Decide(create("user0000", "title=t", members...), 1, chat.DefaultLimits())
	if err != nil {
		tb.Fatal(err)
	}
	for i := range d.Events {
		s.Apply(&d.Events[i])
	}
	return s
}

func step(tb testing.TB, s *chat.State, c chat.Command, lim chat.Limits) {
	d, err := s.Decide(c, 1, lim)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range d.Events {
		s.Apply(&d.Events[i])
	}
}

const body = "a text message of the sixty-four bytes that the benches all use.."

func TestPostAllocatesOnlyItsEvent(t *testing.T) {
	s, lim, c := crowd(t, 5000), chat.DefaultLimits(), post("user0001", body)
	c.Event.ID = "retry-key-17"
	if n := testing.AllocsPerRun(100, func() { step(t, s, c, lim); s.MemberList() }); n > 1 {
		t.Fatalf("%v allocations for a post, want 1", n)
	}
}

func BenchmarkPost(b *testing.B) {
	for _, n := range []int{2, 5000} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			s, lim, c := crowd(b, n), chat.DefaultLimits(), post("user0001", body)
			b.ReportAllocs()
			for b.Loop() {
				step(b, s, c, lim)
				s.MemberList()
			}
		})
	}
}

func BenchmarkPostDirect(b *testing.B) {
	s, lim, c := chat.NewDirect("ann", "ben"), chat.DefaultLimits(), post("ann", body)
	b.ReportAllocs()
	for b.Loop() {
		step(b, s, c, lim)
	}
}

// BenchmarkJoinAndLeave includes a new list of members each time, because each was handed out.
func BenchmarkJoinAndLeave(b *testing.B) {
	s, lim := crowd(b, 4999), chat.DefaultLimits()
	open := "open"
	step(b, s, chat.Command{Op: chat.OpUpdate, Actor: "user0000", Info: &chat.InfoChange{Join: &open}}, lim)
	b.ReportAllocs()
	for b.Loop() {
		step(b, s, op(chat.OpJoin, "ann"), lim)
		s.MemberList()
		step(b, s, op(chat.OpLeave, "ann"), lim)
		s.MemberList()
	}
}
