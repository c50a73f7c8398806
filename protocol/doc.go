// Package protocol is petrel's wire contract in code: the grammar of topics, the encodings of events
// and requests, and the table that turns refusals into MQTT reason codes.
//
// Start with [ParsePublish] and [ParseFilter], which say what a client means by a topic. Then
// [DecodeEvent] turns a payload into what a sender may set, [AppendEvent] encodes an event for a
// view, [EncodeStored] and [DecodeStored] are the form on disk, [ParseRequest] and [AppendReply] are
// RPC, and [ReasonCode] answers a refused publish. The contract for people is docs/protocol.md; its
// examples are tests of this package.
//
// All input is hostile: every decoder bounds depth, counts and sizes before it allocates for them,
// and every error that a client caused is a *chat.Refusal. Functions are pure and may be called from
// any goroutine. No function keeps a slice that it was given; Append functions append to dst and
// return it.
package protocol
