package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// ViewSpaces returns the spaces whose records follow from the logs of conversations.
func ViewSpaces() []storage.Space {
	return []storage.Space{storage.SpaceAct, storage.SpaceReaction, storage.SpaceThread, storage.SpaceThreadSum, storage.SpacePin}
}

// memory is records in memory.
type memory map[string][]byte

func (m memory) get(k storage.Key) ([]byte, bool, error) { v, ok := m[string(k)]; return v, ok, nil }
func (m memory) set(k storage.Key, v []byte)             { m[string(k)] = v }
func (m memory) del(k storage.Key)                       { delete(m, string(k)) }

// Rebuild makes the views of a conversation from nothing but its log: records by their keys. They are those
// that the store has, with one exception: how deep in its thread a post stands whose parent was cut off can't
// be told any more, so known is asked for what the store says (nil: nobody is). It keeps the views of that
// conversation in memory.
func Rebuild(r storage.Reader, codec Codec, conv string, known func(k storage.Key) (storage.ThreadPost, bool)) (map[string][]byte, error) {
	views := make(memory)
	var first uint64
	var bad error
	err := r.Read(conv, 0, math.MaxInt64, func(e storage.Entry) bool {
		if first == 0 {
			first = e.Seq
		}
		var ev chat.Event
		if ev, bad = codec.DecodeStored(e.Data); bad != nil {
			bad = fmt.Errorf("%s %d: %w", conv, e.Seq, bad)
			return false
		}
		if ev.Seq = e.Seq; ev.Re != 0 {
			bad = replay(views, r, codec, conv, &ev, first, known)
		}
		return bad == nil
	})
	return views, errors.Join(err, bad)
}

// replay takes one event into the views, as they are to be when all later ones have happened too.
func replay(views memory, r storage.Reader, codec Codec, conv string, ev *chat.Event, first uint64, known func(storage.Key) (storage.ThreadPost, bool)) error {
	switch ev.Kind {
	case chat.KindPost, chat.KindGone:
		if err := addToThread(views, conv, ev, ev.Kind == chat.KindGone); err != nil || ev.Re >= first || ev.Re == ev.Thread || known == nil {
			return err
		}
		k := storage.ThreadKey(conv, ev.Thread, ev.Seq)
		if p, ok := known(k); ok {
			views.set(k, storage.AppendThreadPost(nil, storage.ThreadPost{Depth: p.Depth, Gone: ev.Kind == chat.KindGone, From: ev.From}))
		}
		return nil
	}
	there, err := lives(r, codec, conv, ev.Re)
	if err != nil || !there {
		return err // what was done to it went with it
	}
	return addToViews(views, conv, ev)
}

// lives reports whether an event is there and no tombstone.
func lives(r storage.Reader, codec Codec, conv string, seq uint64) (there bool, err error) {
	var bad error
	err = r.Read(conv, seq, seq, func(e storage.Entry) bool {
		var ev chat.Event
		ev, bad = codec.DecodeStored(e.Data)
		there = bad == nil && ev.Kind != chat.KindGone
		return false
	})
	return there, errors.Join(err, bad)
}

// viewsVersion counts the forms that views had. Stores of before there were views have none.
const viewsVersion = 1

// ViewsKey is the record of the form of the views that a store has: 8 bytes big-endian.
func ViewsKey() storage.Key { return storage.In(storage.SpaceMeta).Str("views") }

// BuildViews gives a store of an older version its views. Call it before the hub has anything to do. Of a
// store that has them it reads one record.
func BuildViews(r storage.Reader, codec Codec, commit func(*storage.Batch) error, log *slog.Logger) error {
	v, ok, err := r.Get(ViewsKey())
	if err != nil {
		return err
	}
	if ok && len(v) == 8 && binary.BigEndian.Uint64(v) >= viewsVersion {
		return nil
	}
	n := 0
	var convs []string
	err = r.Scan(storage.In(storage.SpaceConv), nil, func(k storage.Key, _ []byte) bool {
		if conv, _, ok := storage.TakeStr(k[1:]); ok {
			convs = append(convs, conv)
		}
		return true
	})
	for _, conv := range convs {
		if err == nil {
			err = buildViews(r, codec, conv, commit)
			n++
		}
	}
	if err != nil {
		return fmt.Errorf("making the views of the conversations: %w", err)
	}
	b := &storage.Batch{Vital: true}
	b.Set(ViewsKey(), binary.BigEndian.AppendUint64(nil, viewsVersion))
	if err = commit(b); err == nil && n > 0 {
		log.Info("threads, reactions, edits and pins were gathered from the logs", "conversations", n)
	}
	return err
}

// buildStep bounds the changes of one batch.
const buildStep = 4096

func buildViews(r storage.Reader, codec Codec, conv string, commit func(*storage.Batch) error) error {
	views, err := Rebuild(r, codec, conv, nil)
	if err != nil || len(views) == 0 {
		return err
	}
	b := &storage.Batch{Vital: true}
	for _, space := range ViewSpaces() { // a crash may have left a part
		b.DeletePrefix(storage.In(space).Str(conv))
	}
	for k, v := range views {
		b.Set(storage.Key(k), v)
		if b.Len() >= buildStep {
			if err := commit(b); err != nil {
				return err
			}
			b = &storage.Batch{Vital: true}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return commit(b)
}
