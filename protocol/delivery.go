package protocol

// AppendEventTopic appends the topic on which a view of a conversation delivers an event of from.
func AppendEventTopic(dst []byte, conv string, view View, from string) []byte {
	dst = append(dst, "c/"...)
	dst = append(dst, conv...)
	switch view {
	case ViewText:
		dst = append(dst, "/text/"...)
		dst = append(dst, from...)
	case ViewJSON:
		dst = append(dst, "/json"...)
	case ViewCBOR:
		dst = append(dst, "/cbor"...)
	}
	return dst
}

// EventTopic is AppendEventTopic as a string.
func EventTopic(conv string, view View, from string) string {
	return string(AppendEventTopic(make([]byte, 0, len(conv)+len(from)+len("c//text/")), conv, view, from))
}

// TypingTopic is where it is delivered that from is typing in conv.
func TypingTopic(conv, from string) string { return "c/" + conv + "/typing/" + from }

// ReceiptsTopic is where a [Receipt] of conv is delivered.
func ReceiptsTopic(conv string) string { return "c/" + conv + "/receipts" }

// InfoTopic is where the [InfoView] of conv is delivered.
func InfoTopic(conv string) string { return "c/" + conv + "/info" }

// PresenceTopic is where the [Presence] of user is delivered.
func PresenceTopic(user string) string { return "u/" + user + "/presence" }

// OwnEventsTopic is where the user's own log is delivered.
func OwnEventsTopic(me string) string { return "u/" + me + "/events" }

// ErrorsTopic is where refusals are delivered that the protocol version can't carry.
func ErrorsTopic(me string) string { return "u/" + me + "/errors" }

// RPCTopic is where replies go when a request names no Response Topic.
func RPCTopic(me string) string { return "u/" + me + "/rpc" }
