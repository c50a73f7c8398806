package chat

import "strings"

// ValidUser reports whether s may be a user id: [A-Za-z0-9._-]{1,64} (PROTOCOL: Words).
func ValidUser(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLowerOrDigit(c) && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// ValidGroup reports whether s may be a group's id: [a-z0-9][a-z0-9-]{0,63} (PROTOCOL: Words).
func ValidGroup(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLowerOrDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

func isLowerOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// DirectID returns the id of the direct conversation of two users: both ids in byte order. A user's
// notes to themselves are the conversation of a with a.
func DirectID(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return a + "~" + b
}

// IsDirect reports whether an id is that of a direct conversation.
func IsDirect(id string) bool {
	_, _, ok := Parties(id)
	return ok
}

// Parties splits a direct conversation's id into its two users, a ≤ b. ok is false for everything
// that DirectID would not have made of two user ids.
func Parties(id string) (a, b string, ok bool) {
	a, b, ok = strings.Cut(id, "~")
	if !ok || a > b || !ValidUser(a) || !ValidUser(b) {
		return "", "", false
	}
	return a, b, true
}
