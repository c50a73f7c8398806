// Package presence knows who is online, away or offline, tells those who may see it, and owns the
// profiles of the users.
//
// Start with [New] and [Presence.Start]; [Presence.Recover] puts right what a crash left, and the
// registry of the sessions reports to [Presence.Came] and [Presence.Went]. [Presence.SendCurrent] is
// for whoever subscribes, and for a session that resumes with a subscription.
//
// One goroutine does all the work: it reads and writes the profiles (nobody else may write
// storage.SpaceProfile, use [Presence.UpdateProfile]), looks up who is interested, and publishes.
// Reporting a change costs its caller a map entry. A change is published at once; for the coalescing
// window after it the user's next changes are gathered, and at the window's end only the outcome is
// published, if it is another. In a storm the goroutine gathers changes into few commits, and rests
// as long as it worked, so that messages keep the larger part of the machine. A user is in memory
// while online or within a window.
//
// Locks: Presence.mu (what waits for the goroutine) is a leaf, so that the registry may call with its
// own lock held. Presence.view (what was published) is held while SendCurrent reads one record and
// sends it, which makes that state and the publications after it arrive in this order. Nothing is
// called with Presence.view held but the store and SendCurrent's send.
package presence
