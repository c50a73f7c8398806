package hub

import (
	"slices"

	"github.com/petrelchat/petrel/chat"
)

// addressedMax bounds the bots that one command reaches.
const addressedMax = 16

// address mentions the bots that a post's slash command is for, so that they need not read every text. The
// text stays as it is; a retry is recognised by what the sender wrote.
func (w *owner) address(c *conv, cmd *chat.Command) {
	ev := &cmd.Event
	if len(ev.Text) < 2 || ev.Text[0] != '/' || ev.Kind > chat.KindPost || cmd.Op != chat.OpAppend || w.h.o.Addressed == nil {
		return
	}
	mentions := slices.Clip(ev.Mentions) // others may hold it: see Hash
	for _, bot := range w.h.o.Addressed(ev.Text) {
		if len(mentions) >= len(ev.Mentions)+addressedMax {
			break
		}
		if bot != cmd.Actor && !slices.Contains(mentions, bot) && c.st.CanRead(bot, c.st.Head+1) {
			mentions = append(mentions, bot)
		}
	}
	ev.Mentions = mentions
}

// trail has the audit trail keep what matters to security, in the batch of the events.
func (w *owner) trail(conv string, events []chat.Event, target *chat.Event) {
	if w.h.o.Audit == nil || len(events) == 0 {
		return
	}
	if k := events[0].Kind; k >= chat.KindCreate || k == chat.KindDelete {
		w.h.o.Audit(w.batch, conv, events, target)
	}
}
