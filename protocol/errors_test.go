package protocol

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/petrelchat/petrel/chat"
)

// All codes, and what MQTT 5 allows in each packet (tables 3-4 and 3-5, 3-8, 3-1, 3-13).
var (
	allCodes = []chat.Code{
		chat.NotAuthorized, chat.NotFound, chat.Conflict, chat.BadRequest, chat.TooLarge, chat.RateLimited, chat.Unavailable, "unheard-of",
	}
	legalPuback     = []byte{0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	legalSuback     = []byte{0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}
	legalConnack    = []byte{0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}
	legalDisconnect = []byte{
		0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
	}
)

func TestCodesAreLegal(t *testing.T) {
	errs := []error{errors.New("a fault"), errTopicWild, errWildPlace}
	for _, c := range allCodes {
		errs = append(errs, chat.Refuse(c, "x"), fmt.Errorf("wrapped: %w", chat.Refuse(c, "x")))
	}
	for _, err := range errs {
		if !slices.Contains(legalPuback, ReasonCode(err)) || !slices.Contains(legalSuback, SubackCode(err, true)) ||
			!slices.Contains(legalConnack, ConnackCode(err, true)) || !slices.Contains(legalDisconnect, DisconnectCode(err)) {
			t.Errorf("%v: %#x %#x %#x %#x", err, ReasonCode(err), SubackCode(err, true), ConnackCode(err, true), DisconnectCode(err))
		}
		if c := ConnackCode(err, false); c != 3 && c != 5 || SubackCode(err, false) != 0x80 {
			t.Errorf("%v: 3.1.1: %d %#x", err, c, SubackCode(err, false))
		}
	}
	if ReasonCode(nil) != 0 || RefusalOf(nil) != nil || ReasonString(nil) != "" {
		t.Error("nil is no refusal")
	}
}

// Nobody learns from a code whether something exists, and repeating helps only where it is said to.
func TestCodesMean(t *testing.T) {
	hidden, denied := chat.NoSuchConversation(), chat.Refuse(chat.NotAuthorized, "x")
	if ReasonCode(hidden) != ReasonCode(denied) || SubackCode(hidden, true) != SubackCode(denied, true) {
		t.Error("not-found differs from not-authorized")
	}
	for _, c := range allCodes {
		again := c == chat.RateLimited || c == chat.Unavailable
		if (ReasonCode(chat.Refuse(c, "x")) == 0x97) != again {
			t.Errorf("%s: %#x", c, ReasonCode(chat.Refuse(c, "x")))
		}
	}
}

func TestAppendErrorLine(t *testing.T) {
	for want, got := range map[string][]byte{
		`x{"code":"bad-request","reason":"a \"b\"","topic":"c/g/json","pid":7,"id":"i"}`:  AppendErrorLine([]byte("x"), chat.Refuse(chat.BadRequest, "a \"b\""), "c/g/json", 7, "i"),
		`{"code":"unavailable","reason":"the server could not do this: try again later"}`: AppendErrorLine(nil, errors.New("secret"), "", 0, ""),
	} {
		if string(got) != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	if s := ReasonString(chat.Refuse(chat.Conflict, "why")); s != "conflict: why" {
		t.Error(s)
	}
}
