// Package rpc carries out what clients ask for under rpc/: groups, members, history, synchronisation,
// receipts, profiles, devices, and administration.
//
// Start with [New] and [Service.Call]. A call reads what the hub and the store have, waits until all that
// it saw is durable, and returns the whole reply. Changes of conversations go through the hub as every
// other command does, so an ok means stored.
//
// One rule runs through all methods: a conversation that does not exist, one that has ended and one that
// the caller may not see get the same refusal, to the letter. A reply never exceeds the size that the caller
// can take: lists end early, with "more".
//
// Limits, rates and topics are the affair of those who call; a device token without rpc never gets here.
package rpc
