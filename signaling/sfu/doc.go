// Package sfu is the server's part in the media of large calls: a selective forwarding unit, the party "sfu" of a call.
// Start with [New], hand what parties signal to it to [Server.Signal], say with [Server.Gone] who left, and end with
// [Server.Close]. What it answers comes out of Options.Send.
//
// # What a client does
//
// There is one connection for each party, and the client alone makes offers; the server answers. So offers never cross, and there is
// nothing to roll back. The client
//
//   - opens two data channels before its first offer: "sfu" (ordered), on which the server says who is where, and
//     "data", whose messages are passed on to everybody else in the call;
//   - offers what it sends (sendonly or sendrecv sections, audio and video, video with RIDs for simulcast) and slots for what
//     it wants to get: recvonly sections, as many as it can show. A sendrecv section is both;
//   - is told with a signal of type negotiate, body {"want":{"audio":n,"video":n}}, when more slots would be of
//     use. It adds recvonly sections and offers again whenever it likes, or doesn't. The server never takes a slot away;
//   - may offer again at any time: other tracks, more slots, an ICE restart (new ufrag and password). An offer with another
//     fingerprint, or another session id in its o= line, is a reload: a new connection in the place of the old one.
//
// A slot is a stream of packets without an end: its SSRC, sequence numbers and timestamps go on when another party, or another
// layer of the same video, takes it over. Which party that is stands in msid of the answer ("party mid"), and from then on in
// messages on "sfu":
//
//	{"kind":"slots","slots":[{"mid":"3","media":"video","party":"…","source":"1"}]}   all slots; without party: empty
//	{"kind":"speakers","parties":["…"]}                                               who speaks, the loudest first
//
// and the client may say on it {"kind":"want","pin":["party"…],"limit":bits per second}: whom it wants to see before those who
// speak, and the most that all its video together may take. With more parties than slots, those who spoke last are shown.
// After an answer that follows the first it says {"kind":"has","version":n}, with the version in its o= line: new slots begin then, a second
// after the answer otherwise.
// A message on "data" is at most 16 KiB, and arrives as one byte with the length of the sender's party, the party, and the message.
//
// Media is opaque: end-to-end encrypted frames are passed on byte for byte. Of video the server reads where a key frame begins (VP8's
// descriptor, H.264's unit types), and writes VP8's picture ids where it changed layers; both are left in the clear by whoever
// encrypts frames and not packets. If no key frame can be seen, it changes layers at the next frame after a while.
//
// # How it works
//
// One UDP port, and the same TCP port, for all calls. Connectivity is ICE-lite (RFC 8445 §2.5): a STUN request with the right password is what makes
// an address a party's, so a client that changes networks is followed at once. DTLS and SCTP are pion's. The packets don't go
// through a PeerConnection, whose five goroutines and queues for each cost more than the packet: the goroutine that reads a batch
// from the socket decrypts, rewrites the header for each receiver in the buffer that goes out, encrypts it there, and sends what
// has gathered with one system call. A packet is not queued, and forwarding allocates nothing beyond the packet's source address.
//
// Layers follow an estimate of what the way to a party carries. That grows only with what is sent, so the smallest layers of all that is to be
// seen are tried beyond it, one a second, and then better ones, one in five seconds, until packets are lost or pile up: then the estimate holds, and
// they are tried again later.
//
// Who takes part, who is shown to whom and at which layer is owned by one goroutine (Server.run); readers see it through atomic
// pointers. Locks, in the order in which they may be taken: index.mu or party.in, then party.out, then layer.mu and route locks.
package sfu
