package protocol

import (
	"errors"
	"strconv"

	"github.com/petrelchat/petrel/chat"
)

// Reason codes of MQTT 5 (§2.4) that petrel answers refusals with.
const (
	rcUnspecified    = 0x80
	rcImplementation = 0x83
	rcNotAuthorized  = 0x87
	rcUnavailable    = 0x88
	rcBusy           = 0x89
	rcFilterInvalid  = 0x8F
	rcTopicInvalid   = 0x90
	rcPacketTooLarge = 0x95
	rcRateTooHigh    = 0x96
	rcQuota          = 0x97
	rcPayloadFormat  = 0x99
	rcConnectionRate = 0x9F
)

// reasons is one row of the error table: what each kind of packet says for a code. A client may
// repeat what was refused with 0x97, later; anything else will be refused again.
type reasons struct{ puback, suback, connack, disconnect byte }

// reasonsOf is the error table. Each code is legal in its packet: MQTT 5 tables 3-4 (PUBACK, and
// likewise 3-5 PUBREC), 3-8 (SUBACK), 3-1 (CONNACK), 3-13 (DISCONNECT). not-found answers as
// not-authorized does: what does not exist can't be told from what one may not see.
func reasonsOf(code chat.Code) reasons {
	switch code {
	case chat.NotAuthorized, chat.NotFound:
		return reasons{rcNotAuthorized, rcNotAuthorized, rcNotAuthorized, rcNotAuthorized}
	case chat.Conflict:
		return reasons{rcImplementation, rcImplementation, rcImplementation, rcImplementation}
	case chat.BadRequest:
		return reasons{rcPayloadFormat, rcFilterInvalid, rcImplementation, rcImplementation}
	case chat.TooLarge:
		return reasons{rcImplementation, rcImplementation, rcPacketTooLarge, rcPacketTooLarge}
	case chat.RateLimited:
		return reasons{rcQuota, rcQuota, rcConnectionRate, rcRateTooHigh}
	case chat.Unavailable:
		return reasons{rcQuota, rcQuota, rcUnavailable, rcBusy}
	}
	return reasons{rcUnspecified, rcUnspecified, rcUnspecified, rcUnspecified}
}

// reasonsFor: errors that are no refusals are faults of the server.
func reasonsFor(err error) reasons {
	var r *chat.Refusal
	if !errors.As(err, &r) {
		return reasonsOf("")
	}
	row := reasonsOf(r.Code)
	if isTopicRefusal(r) {
		row.puback, row.connack, row.disconnect = rcTopicInvalid, rcTopicInvalid, rcTopicInvalid
	}
	return row
}

// ReasonCode returns the reason code with which a PUBACK or PUBREC answers err; 0 for nil.
func ReasonCode(err error) byte {
	if err == nil {
		return 0
	}
	return reasonsFor(err).puback
}

// ForNow reports whether a PUBLISH that is refused with err may be sent again, later. false for nil.
func ForNow(err error) bool {
	code := ReasonCode(err)
	return code == rcQuota || code == rcUnspecified
}

// SubackCode returns the code with which a SUBACK refuses a filter. MQTT 3.1.1 has only 0x80,
// [MQTT-3.9.3-2]. err must not be nil.
func SubackCode(err error, v5 bool) byte {
	if !v5 {
		return rcUnspecified
	}
	return reasonsFor(err).suback
}

// ConnackCode returns the code with which a CONNACK refuses a connection: a reason code of MQTT 5, or
// a return code of MQTT 3.1.1 (table 3.1): 3 when it may be tried again, else 5. err must not be nil.
func ConnackCode(err error, v5 bool) byte {
	code := reasonsFor(err).connack
	switch {
	case v5:
		return code
	case code == rcUnspecified, code == rcUnavailable, code == rcConnectionRate:
		return 3
	}
	return 5
}

// DisconnectCode returns the reason code with which an MQTT 5 DISCONNECT ends a connection over err.
func DisconnectCode(err error) byte { return reasonsFor(err).disconnect }

// RefusalOf returns the refusal in err. What is none is a fault of the server: the client learns that
// it happened and nothing else. nil stays nil.
func RefusalOf(err error) *chat.Refusal {
	var r *chat.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return r
	}
	return chat.Refuse(chat.Unavailable, "the server could not do this: try again later")
}

// ReasonString is what goes into the Reason String of MQTT 5 (§3.4.2.2.2): the stable code, then the
// sentence for a person.
func ReasonString(err error) string {
	if err == nil {
		return ""
	}
	return RefusalOf(err).Error()
}

// AppendErrorLine appends what goes to u/{me}/errors when a refusal can't be told otherwise: the
// topic, packet id and event id of what was refused, as far as there are any (pid 0 and "" are none).
func AppendErrorLine(dst []byte, err error, topic string, pid uint16, id string) []byte {
	dst = appendRefusal(dst, RefusalOf(err))
	dst = dst[:len(dst)-1]
	if topic != "" {
		dst = appendJSONString(append(dst, `,"topic":`...), topic)
	}
	if pid != 0 {
		dst = strconv.AppendUint(append(dst, `,"pid":`...), uint64(pid), 10)
	}
	if id != "" {
		dst = appendJSONString(append(dst, `,"id":`...), id)
	}
	return append(dst, '}')
}

func appendRefusal(dst []byte, r *chat.Refusal) []byte {
	dst = appendJSONString(append(dst, `{"code":`...), string(r.Code))
	dst = appendJSONString(append(dst, `,"reason":`...), r.Reason)
	return append(dst, '}')
}
