package chat_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/petrelchat/petrel/chat"
)

func TestMoveCursor(t *testing.T) {
	for name, tc := range map[string]struct {
		cur             chat.Cursor
		head            uint64
		delivered, read uint64
		want            chat.Cursor
	}{
		"nothing":                   {chat.Cursor{Delivered: 3, Read: 2}, 9, 0, 0, chat.Cursor{Delivered: 3, Read: 2}},
		"delivered":                 {chat.Cursor{Delivered: 3, Read: 2}, 9, 5, 0, chat.Cursor{Delivered: 5, Read: 2}},
		"read within delivered":     {chat.Cursor{Delivered: 7, Read: 2}, 9, 0, 5, chat.Cursor{Delivered: 7, Read: 5}},
		"who has read has got":      {chat.Cursor{Delivered: 3, Read: 2}, 9, 0, 5, chat.Cursor{Delivered: 5, Read: 5}},
		"never back":                {chat.Cursor{Delivered: 7, Read: 6}, 9, 5, 4, chat.Cursor{Delivered: 7, Read: 6}},
		"never past the head":       {chat.Cursor{}, 9, 100, 10, chat.Cursor{Delivered: 9, Read: 9}},
		"not back to a lower head":  {chat.Cursor{Delivered: 7, Read: 7}, 5, 6, 6, chat.Cursor{Delivered: 7, Read: 7}},
		"nothing in an empty log":   {chat.Cursor{}, 0, 1, 1, chat.Cursor{}},
		"repairs a broken relation": {chat.Cursor{Delivered: 1, Read: 4}, 9, 0, 0, chat.Cursor{Delivered: 4, Read: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			next, moved := chat.MoveCursor(tc.cur, tc.head, tc.delivered, tc.read)
			if next != tc.want || moved != (tc.want != tc.cur) {
				t.Fatalf("%+v, %v; want %+v", next, moved, tc.want)
			}
		})
	}
}

func TestCursorsOnlyGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq := rapid.Uint64Range(0, 20)
		var cur chat.Cursor
		var head uint64
		for range 20 {
			head += rapid.Uint64Range(0, 3).Draw(t, "new")
			next, moved := chat.MoveCursor(cur, head, seq.Draw(t, "delivered"), seq.Draw(t, "read"))
			if next.Delivered < cur.Delivered || next.Read < cur.Read || next.Read > next.Delivered || next.Delivered > head {
				t.Fatalf("%+v became %+v at head %d", cur, next, head)
			}
			if again, twice := chat.MoveCursor(next, head, next.Delivered, next.Read); twice || again != next || moved != (next != cur) {
				t.Fatalf("%+v moved again to %+v", next, again)
			}
			cur = next
		}
	})
}

func TestUnread(t *testing.T) {
	for name, tc := range map[string]struct {
		cur  chat.Cursor
		m    chat.Member
		head uint64
		want uint64
	}{
		"direct, nothing read":         {chat.Cursor{}, chat.Member{Role: member, Since: 1, Joined: 1}, 3, 3},
		"some read":                    {chat.Cursor{Delivered: 3, Read: 2}, chat.Member{Role: member, Since: 1, Joined: 1}, 3, 1},
		"all read":                     {chat.Cursor{Delivered: 3, Read: 3}, chat.Member{Role: member, Since: 1, Joined: 1}, 3, 0},
		"history is no debt":           {chat.Cursor{}, chat.Member{Role: member, Since: 1, Joined: 90}, 100, 11},
		"rejoined, old cursor":         {chat.Cursor{Read: 20}, chat.Member{Role: member, Since: 90, Joined: 90}, 100, 11},
		"left: up to the end of it":    {chat.Cursor{Read: 90}, chat.Member{Since: 1, Joined: 1, Left: 95}, 100, 5},
		"left and read all":            {chat.Cursor{Read: 95}, chat.Member{Since: 1, Joined: 1, Left: 95}, 100, 0},
		"never a member":               {chat.Cursor{}, chat.Member{}, 100, 0},
		"cursor ahead of durable head": {chat.Cursor{Read: 9}, chat.Member{Role: member, Since: 1, Joined: 1}, 8, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := chat.UnreadAfter(tc.cur, tc.m, tc.head); got != tc.want {
				t.Fatalf("%d unread, want %d", got, tc.want)
			}
		})
	}
}
