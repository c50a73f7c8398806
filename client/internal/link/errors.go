package link

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

var (
	// ErrDown: there is no connection. Nothing was sent.
	ErrDown = errors.New("not connected")
	// ErrLost: the connection ended before the answer came. Whether the server got it is not known.
	ErrLost = errors.New("the connection ended before the server answered")
	// ErrClosed: the link was closed.
	ErrClosed = errors.New("the link is closed")
	// ErrFull: more waits to be sent than the link keeps. Nothing was sent.
	ErrFull = errors.New("too much waits to be sent already")
	// ErrTooLarge: the packet exceeds what the server takes. Nothing was sent.
	ErrTooLarge = errors.New("longer than the server takes")

	errSilent  = errors.New("the server did not answer in time: the network lost the connection")
	errPoked   = errors.New("the network changed")
	errNoReply = errors.New("the server did not answer CONNECT in time")
)

// Refused is a refusal of the connection: by CONNACK, by DISCONNECT, or for lack of credentials.
type Refused struct {
	Code      byte   // of MQTT 5; 0 if the credentials could not be had
	Reason    string // what the server said, bounded and printable; may be empty
	Permanent bool   // the same will be refused again: nothing is tried before Renew
	Advice    string // what to do, for a person
	cause     error
}

func (r *Refused) Error() string {
	var b strings.Builder
	switch {
	case r.Code != 0:
		fmt.Fprintf(&b, "refused by the server: %s", cmp.Or(r.Reason, meaning(r.Code)))
	case r.cause != nil:
		fmt.Fprintf(&b, "no credentials: %v", r.cause)
	default:
		b.WriteString("no credentials")
	}
	if r.Advice != "" {
		b.WriteString(" (" + r.Advice + ")")
	}
	return b.String()
}

// Unwrap returns why there are no credentials.
func (r *Refused) Unwrap() error { return r.cause }

// Reason codes of MQTT 5, §2.4.
const (
	rcUnspecified    = 0x80
	rcMalformed      = 0x81
	rcProtocolError  = 0x82
	rcImplementation = 0x83
	rcVersion        = 0x84
	rcClientID       = 0x85
	rcBadPassword    = 0x86
	rcNotAuthorized  = 0x87
	rcUnavailable    = 0x88
	rcBusy           = 0x89
	rcBanned         = 0x8A
	rcShuttingDown   = 0x8B
	rcAuthMethod     = 0x8C
	rcKeepAlive      = 0x8D
	rcTakenOver      = 0x8E
	rcFilterInvalid  = 0x8F
	rcTopicInvalid   = 0x90
	rcIdInUse        = 0x91
	rcAliasInvalid   = 0x94
	rcTooLarge       = 0x95
	rcRateTooHigh    = 0x96
	rcQuota          = 0x97
	rcAdministrative = 0x98
	rcPayloadFormat  = 0x99
	rcOtherServer    = 0x9C
	rcServerMoved    = 0x9D
	rcConnectionRate = 0x9F
	rcConnectTime    = 0xA0
)

// refusedConnect classifies the reason code of a CONNACK. secret is the password that was refused: what it
// tells of itself makes the advice better.
func refusedConnect(code byte, reason, secret string, nowMs int64) *Refused {
	r := &Refused{Code: code, Reason: Printable(reason)}
	switch code {
	case rcBadPassword, rcNotAuthorized:
		r.Permanent = true
		r.Advice = "check the user name and the password or token; the spelling of the user name counts"
		if at, ok := expiryOf(secret); ok && at <= nowMs {
			r.Advice = "the token has expired: get a new one"
		}
	case rcBanned:
		r.Permanent, r.Advice = true, "this account or address is banned: ask an administrator of the server"
	case rcClientID:
		r.Permanent, r.Advice = true, "the server does not take this device's id: choose another one"
	case rcVersion:
		r.Permanent, r.Advice = true, "the server does not speak MQTT 5: check the address"
	case rcAuthMethod, rcMalformed, rcProtocolError, rcImplementation, rcTopicInvalid, rcPayloadFormat, rcTooLarge:
		r.Permanent, r.Advice = true, "the server does not understand this client: check the address and the versions of both"
	case rcOtherServer, rcServerMoved:
		r.Permanent, r.Advice = true, "this server sends its users elsewhere: ask its administrator for the new address"
	case rcQuota:
		// It goes away when another session ends, which may take weeks; so try, but seldom.
		r.Advice = "this account has as many devices as it may have: remove one that is no longer used"
	case rcConnectionRate:
		r.Advice = "too many attempts: it is tried again after a while"
	case rcBusy, rcUnavailable, rcShuttingDown:
		r.Advice = "the server has no room at the moment: it is tried again"
	default:
		r.Advice = "the server has a fault: it is tried again"
	}
	return r
}

// refusedSession classifies the reason code of a DISCONNECT of the server.
func refusedSession(code byte, reason string) *Refused {
	r := &Refused{Code: code, Reason: Printable(reason)}
	switch code {
	case rcTakenOver:
		r.Advice = "another program is connected as the same device: give each its own device name"
	case rcAdministrative:
		// Somebody meant it: a device that came back by itself would undo it.
		r.Permanent, r.Advice = true, "an administrator, or another device of this account, ended the session: log in again"
	case rcConnectTime:
		r.Advice = "the token has expired: a new one is needed"
	case rcShuttingDown, rcBusy:
		r.Advice = "the server is going down: it is tried again"
	}
	return r
}

// meaning is a sentence for a reason code without a reason string.
func meaning(code byte) string {
	switch code {
	case rcBadPassword:
		return "the user name or the password is wrong"
	case rcNotAuthorized:
		return "not allowed"
	case rcUnavailable, rcBusy:
		return "the server is not available"
	case rcBanned:
		return "banned"
	case rcShuttingDown:
		return "the server is shutting down"
	case rcTakenOver:
		return "another connection took over the session"
	case rcFilterInvalid:
		return "the filter is not understood"
	case rcTopicInvalid:
		return "the topic is not understood"
	case rcTooLarge:
		return "too large"
	case rcRateTooHigh, rcConnectionRate:
		return "too much at once"
	case rcQuota:
		return "a limit is reached"
	case rcAdministrative:
		return "ended by an administrator"
	case rcPayloadFormat:
		return "the payload is not understood"
	case rcConnectTime:
		return "the credentials have expired"
	case rcKeepAlive:
		return "the server heard nothing for too long"
	}
	return fmt.Sprintf("reason code 0x%02X", code)
}

// codeOf is the code for programs that fits a reason code best; the reason string says it exactly.
func codeOf(code byte) chat.Code {
	switch code {
	case rcNotAuthorized:
		return chat.NotAuthorized
	case rcQuota:
		return chat.RateLimited
	case rcTopicInvalid, rcFilterInvalid, rcPayloadFormat:
		return chat.BadRequest
	case rcTooLarge:
		return chat.TooLarge
	case rcImplementation:
		return chat.Conflict
	}
	return chat.Unavailable
}

func knownCode(c chat.Code) bool {
	switch c {
	case chat.NotAuthorized, chat.NotFound, chat.Conflict, chat.BadRequest, chat.TooLarge, chat.RateLimited, chat.Unavailable:
		return true
	}
	return false
}

// reasonMost bounds what of a reason string is kept, bytes.
const reasonMost = 512

// Printable makes a server's sentence safe to show in a terminal: one line, at most 512 bytes.
func Printable(s string) string {
	if len(s) > reasonMost {
		s = s[:reasonMost]
		for len(s) > 0 && !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}
