// Package link keeps one MQTT 5 connection to a server alive. Call New, then Run in a goroutine of your own;
// a Handler learns what happens, and Publish, Subscribe and Call send.
//
// It is a thin, fast layer on autopaho: that library dials, decodes, and connects again; this package waits
// between attempts (interruptibly), writes what is sent in few large writes, notices a connection that is only
// half there, and counts every byte of CONNECT. It stores nothing and repeats nothing: what was not acknowledged when
// a connection ended is reported as ErrLost, and whoever called decides.
//
// Goroutines: autopaho's loop, and paho's for each connection (its reader, its router, which calls Handler.Message, and
// the one that runs pulse); of this package the writer of each connection (connection.run, started by Link.established,
// ended by connection.end), and the one that calls Run. All have ended when Run returns.
//
// All methods of Link may be called from any goroutine. Callbacks come from goroutines of the link; see
// Handler for their order.
package link
