// Package webhook joins conversations to programs that speak HTTP and no MQTT.
//
// Start with [New] and [Hooks.Start]; [Hooks.Create] makes a webhook. An incoming one is a secret URL:
// what is posted there ([Hooks.ServeHTTP]) becomes a post of its bot, and is answered after the sync. An
// outgoing one sends the events of a conversation to a URL, signed, in order, at least once: it is a
// position in the log and nothing else, so an endpoint that is away costs no memory and loses nothing.
//
// A webhook is its creator's: it ends when they may no longer change the settings of the conversation.
//
// One goroutine schedules the sending; a bounded number of others wait for endpoints, one for each webhook
// at most. [Hooks.Wake] may be called where nothing may block.
package webhook
