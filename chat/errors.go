package chat

import "fmt"

// Code is a refusal's stable name on the wire (PROTOCOL: RPC).
type Code string

// The codes. Clients switch on them: never rename.
const (
	NotAuthorized Code = "not-authorized"
	NotFound      Code = "not-found"
	Conflict      Code = "conflict"
	BadRequest    Code = "bad-request"
	TooLarge      Code = "too-large"
	RateLimited   Code = "rate-limited"
	Unavailable   Code = "unavailable" // try again later: disk full, shutting down
)

// Refusal is the error of everything that petrel declines to do. Reason is one sentence for a person
// that says what would be right; it never holds a message body or a secret.
type Refusal struct {
	Code   Code
	Reason string
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Reason }

// Is lets errors.Is match any refusal with the same code.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code && (t.Reason == "" || t.Reason == r.Reason)
}

// Refuse returns a refusal with a formatted reason.
func Refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// NoSuchConversation is the refusal of everything that concerns a conversation which does not exist,
// has ended, or is none of the caller's business. It is the same in all three cases, to the letter, so
// that nobody learns which it is. Use it wherever a conversation is looked up.
func NoSuchConversation() *Refusal {
	return &Refusal{Code: NotFound, Reason: "there is no such conversation for you: check its id, or ask a member to add you"}
}
