// Package calls makes audio and video calls: the client's side of them, on top of a client that was opened with Options.Calls. Call [New]
// first, then [Manager.Start] to call somebody, and [Manager.Incoming] for who calls; [Manager.Close] at the end, before the client's.
//
//	m, err := calls.New(c, calls.Options{})
//	…
//	defer m.Close(ctx)
//	call, err := m.Start(ctx, c.Direct("bob"), calls.Local{Tracks: []webrtc.TrackLocal{microphone}, OnTrack: play})
//	…
//	for s := range call.Updates(ctx) {
//		fmt.Println(s.State, s.Quality.RTT)
//	}
//
// and where it rings:
//
//	for call := range m.Incoming() {
//		call.Accept(ctx, calls.Local{Tracks: …, OnTrack: play})
//	}
//
// # What can be relied on
//
//   - Calls are not queued: without a connection Start and Accept fail at once with client.ErrOffline. What a call that
//     runs has to say is repeated until the server has answered it.
//   - A call outlives connections, on both sides and the server's restarts too. Media go on meanwhile. Only when media and signalling
//     have both been silent for 30 s it ends.
//   - After a change of networks the device connects again and ICE begins anew, which takes a few round trips. During a call it looks each second at which
//     addresses it has, so that nobody needs to tell it; [Manager.NetworkChanged] saves that second. While there is no signalling it is tried
//     more often than outside of calls: every two seconds at first.
//   - What arrives twice, late or out of order changes nothing. What cannot be repaired is built anew (epochs).
//   - Updates always show the newest state; the last one is StateEnded, after which everything of the call is closed.
//
// # How it works
//
// Each call has one goroutine that owns all of it (Call.run): deliveries, answers of the server, and what pion's callbacks tell reach it
// as functions in a queue. Signals go through the server, media directly between the parties of a mesh, or to the party "sfu"
// of a larger call. A party offers to all that were there before it; afterwards either side may offer (perfect negotiation, W3C WebRTC §10.7:
// the party with the greater id is the polite one). Towards the SFU only the client offers.
//
// What hangs is repaired alone: ICE begins anew on a connection that was up, and another connection takes the place of one that never was, which the
// other side learns from the session id of the offer. Only when all hang all of the party's media begin anew, with a new epoch. The call's
// goroutine asks pion for nothing that waits for ICE while a connection comes to be: with a relay that does not answer that would
// hold up all others too. ICE itself waits for such a relay no longer than a few seconds, once (network).
package calls
