// Package client is petrel's SDK: one device of a user. Call [Open] first, then [Client.Send] and
// [Client.Messages]; [Client.Updates] tells when to look again; [Client.Close] at the end.
//
//	c, err := client.Open(ctx, client.Options{
//		Server: "mqtts://chat.example.org", User: "ann", Credentials: client.Password("…"),
//	})
//	…
//	defer c.Close(ctx)
//	c.Send(ctx, c.Direct("bob"), "hello")
//	for u := range c.Updates(ctx) {
//		if u.Kind == client.UpdateMessages {
//			messages, err := c.Messages(ctx, u.Conv, client.Page{})
//			…
//		}
//	}
//
// All of it works without a connection. What is known is in a store on the device, which is the truth that a user interface
// shows: reading never asks the network. What is written is on the disk before Send returns, and leaves when there is a connection,
// however often the program ends in between. [Client.Status] says how things stand; [Fetch] is for programs
// that are woken for some seconds.
//
// # What can be relied on
//
//   - A message is stored by the server once, whatever is lost on the way: each has an id, and a retry has the same one.
//   - In a conversation messages arrive in the order in which they were written here. Also when the server asks for one of them to be
//     sent again later (a rate limit, its disk is full): nothing overtakes it. What it refuses for good holds up nothing.
//   - A delivery is acknowledged when the commit that holds it is on disk. So everybody's store has every event once, in order of seq,
//     however connections, programs and machines end. Gaps are noticed and filled.
//   - A server that was restored from a backup gets again what the user wrote and it lost: under the same ids, once, also from several devices.
//     It comes behind what is there by then. What others wrote and it lost is gone here too.
//   - On a full disk nothing is acknowledged and nothing can be written: the status says so, and it goes on by itself.
//   - A refusal is a *chat.Refusal with a stable code and a sentence that says what to do. A message that was refused stays
//     in the outbox as failed until [Client.Retry] or [Client.Discard].
//
// # Requests
//
// What has no store of its own is asked for: groups, members, invitations, search on the server, settings and so on. There is a typed
// method for each request of the contract, see [Caller]; [Client.Call] is what they rest on.
//
// # Calls
//
// A device that was opened with [Options.Calls] rings: package client/calls makes audio and video calls on top of it.
//
// # Encryption and media
//
// Events pass through [Options.Codec] on their way out and in, attachments through [Options.Uploader].
package client
