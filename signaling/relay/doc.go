// Package relay is the TURN and STUN server of calls, and the list of ICE servers that a device is told of.
//
// Start with [New] and [Relay.Start]; [Relay.Servers] gives a user the servers of a call with fresh credentials: this
// one, and external ones such as coturn that share a secret. [Relay.Close] ends everything.
//
// The protocol is pion's (RFC 8489, 8656). What a server in the open internet needs beside it is here: credentials
// that end with their call, peers that may not be reached, bounds on everything, and that nobody gets more bytes back
// than were sent from the address, unless the address has proved to be its own. So each socket that pion reads is one of
// ours, which looks at each packet before pion does, and at each answer before it leaves.
//
// One port serves UDP, TCP and TLS: the first byte of a connection tells which. A relayed address is UDP always.
//
// Goroutines: for each address that is listened on, pion's reader of the UDP socket and our acceptor of connections with
// pion's reader of what it hands over; one for each TCP connection; one for each allocation, which reads the relayed
// socket; and one that sweeps allocations whose call has ended. All have ended, or have nothing left to do, when Close returns.
package relay
