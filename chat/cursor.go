package chat

// MoveCursor returns cur moved to what a member's device has got and read, and whether that moved
// it. Cursors only grow and never pass the head. Who has read an event has got it, so Delivered follows
// Read. Zero for delivered or read leaves that one where it is.
func MoveCursor(cur Cursor, head uint64, delivered, read uint64) (next Cursor, moved bool) {
	next.Read = max(cur.Read, min(read, head))
	next.Delivered = max(cur.Delivered, min(delivered, head), next.Read)
	return next, next != cur
}

// UnreadAfter counts the events of a log with this head that the member has not read. It starts with
// the event that made the user a member: older history is there to be read, but nobody owes it a look.
// It ends with the event that ended the membership.
func UnreadAfter(cur Cursor, m Member, head uint64) uint64 {
	if m.Joined == 0 || m.Pending() {
		return 0
	}
	read := max(cur.Read, m.Joined-1)
	if m.Accepted() {
		read = cur.Read
	}
	if m.Left != 0 {
		head = min(head, m.Left)
	}
	if head <= read {
		return 0
	}
	return head - read
}
