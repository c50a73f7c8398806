// Package notify tells those who are away that something came: what is new is gathered for a short time,
// summarised by conversation, and handed to the push services of the user's devices.
//
// Start with [New] and [Service.Start]. The hub's sink reports events to [Service.Took] and ends of
// commits to [Service.End]; users say where their notifications go with [Service.Register]. How a
// notification reaches a device is a [Sender]'s affair, see package push below.
//
// A notification is made from the log when it is sent, never before: what was read, deleted, edited or
// has disappeared meanwhile is as it is then, and nothing of a message is kept beside the log. What is
// kept is from which event on somebody has to be told.
//
// One goroutine owns what waits: for each user and conversation the first event and when to tell of it.
// Users who are due are carried out by at most Settings.Workers goroutines, one for each user at a time. What
// waits for the window alone is in memory; how far the logs were taken over is stored (Position), and
// stays before the oldest event that is only in memory, so that a server that was killed finds all of
// it again in the logs. What is held back for longer (quiet hours, the hourly bound, another try) is
// stored, and so is how far a user was told (Mark) as soon as it was sent: a crash between the two repeats that
// one notification, with the same id.
package notify
