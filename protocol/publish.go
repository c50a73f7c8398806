package protocol

import (
	"strings"

	"github.com/petrelchat/petrel/chat"
)

// PublishKind says what a publish asks for.
type PublishKind uint8

// What can be published.
const (
	PubPost   PublishKind = iota + 1 // append an event to Conv: c/{conv}/text|json|cbor, u/{user}/text|json|cbor
	PubTyping                        // c/{conv}/typing
	PubRead                          // c/{conv}/read
	PubStatus                        // u/{me}/status
	PubRPC                           // rpc/{method}
	PubCall                          // c/{conv}/call, u/{user}/call: a call begins; k/{call}/{verb}: what becomes of it
	PubPlain                         // ordinary MQTT
)

// Publish is what a client means by publishing to a topic.
type Publish struct {
	Kind   PublishKind
	Conv   string // PubPost, PubTyping, PubRead, and PubCall where a call begins
	User   string // PubPost and PubCall below u/: with whom; PubStatus: the client itself
	View   View   // PubPost: how the payload is encoded
	Method string // PubRPC
	Call   string // PubCall below k/: the call
	Verb   string // and what is to become of it, one of [CallVerbs]
	Topic  string // as published
}

// ParsePublish resolves what a client means by publishing to topic; me is its user, "" for a guest.
// For u/{user}/text and its like, Conv is the direct conversation of the two. A direct conversation of
// others is refused here; whether a user may post to a group is for its owner to say. Errors are
// *chat.Refusal.
func ParsePublish(topic, me string) (Publish, error) {
	if err := ValidTopic(topic); err != nil {
		return Publish{}, err
	}
	p := Publish{Kind: PubPlain, Topic: topic}
	space := SpaceOf(topic)
	switch {
	case space == SpacePlain:
		return p, nil
	case space == SpaceSys:
		return Publish{}, errServerTopic
	case me == "":
		return Publish{}, errGuest
	}
	_, rest, _ := strings.Cut(topic, "/")
	var err error
	switch space {
	case SpaceConv:
		err = p.conv(rest, me)
	case SpaceUser:
		err = p.user(rest, me)
	case SpaceRPC:
		if p.Kind, p.Method = PubRPC, rest; !validMethod(rest) {
			err = errMethod
		}
	case SpaceCall:
		p.Kind = PubCall
		p.Call, p.Verb, err = parseCall(rest)
	}
	if err != nil {
		return Publish{}, err
	}
	return p, nil
}

// conv resolves what stands after "c/".
func (p *Publish) conv(rest, me string) error {
	conv, leaf, ok := strings.Cut(rest, "/")
	if !ok {
		return errConvTopic
	}
	if err := convFor(conv, me); err != nil {
		return err
	}
	p.Conv = conv
	if v, ok := parseView(leaf); ok {
		p.Kind, p.View = PubPost, v
		return nil
	}
	head, _, deeper := strings.Cut(leaf, "/")
	switch {
	case leaf == "typing":
		p.Kind = PubTyping
	case leaf == "read":
		p.Kind = PubRead
	case leaf == "call":
		p.Kind = PubCall
	case leaf == "receipts", leaf == "info":
		return errServerTopic
	case deeper && (head == "text" || head == "typing"):
		return errSenderPart
	default:
		return errConvTopic
	}
	return nil
}

// user resolves what stands after "u/".
func (p *Publish) user(rest, me string) error {
	user, leaf, ok := strings.Cut(rest, "/")
	switch {
	case !ok:
		return errUserTopic
	case !ValidUser(user):
		return errUserID
	}
	p.User = user
	if v, ok := parseView(leaf); ok {
		p.Kind, p.View, p.Conv = PubPost, v, DirectID(me, user)
		return nil
	}
	head, _, _ := strings.Cut(leaf, "/")
	switch {
	case leaf == "call":
		p.Kind, p.Conv = PubCall, DirectID(me, user)
	case leaf == "status" && user != me:
		return errForeign
	case leaf == "status":
		p.Kind = PubStatus
	case leaf == "presence", leaf == "events", leaf == "errors", head == "rpc", head == "calls":
		return errServerTopic
	default:
		return errUserTopic
	}
	return nil
}

// convFor refuses what is no conversation id, and direct conversations of others.
func convFor(conv, me string) error {
	if ValidGroupID(conv) {
		return nil
	}
	a, b, ok := DirectPeers(conv)
	switch {
	case !ok:
		return errConvID
	case me != a && me != b:
		return chat.NoSuchConversation()
	}
	return nil
}

// validMethod: lower-case words joined by dots, at most 64 bytes.
func validMethod(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	dot := true // the previous byte ended a word
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isLower(c):
			dot = false
		case c == '.' && !dot:
			dot = true
		default:
			return false
		}
	}
	return !dot
}
