package plain

import (
	"encoding/binary"
	"fmt"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Retained keeps the retained messages: SpaceRetained topic → Message, and their number under
// SpaceMeta "retained". Nothing of them is in memory but the number.
//
// Set, Sweep, Committed and Aborted belong to one goroutine; what they change is in the caller's
// batch, which must be committed before the next one is begun. Match and Get may run anywhere. They
// show what is applied: whoever sends it to a client waits for the sync of the newest commit first.
type Retained struct {
	r     storage.Reader
	most  int64
	count int64

	before  int64           // count when the batch was begun
	changed map[string]bool // topics that the batch sets (true) or deletes
}

// LoadRetained returns the retained messages of a store. most is how many there may be; 0: no limit.
func LoadRetained(r storage.Reader, most int64) (*Retained, error) {
	t := &Retained{r: r, most: most, changed: make(map[string]bool)}
	v, ok, err := r.Get(retainedCountKey())
	if err != nil {
		return nil, err
	}
	if ok {
		n, k := binary.Uvarint(v)
		if k != len(v) {
			return nil, fmt.Errorf("%w: number of retained messages", storage.ErrRecord)
		}
		t.count = int64(n)
	}
	t.before = t.count
	return t, nil
}

// SetMost changes how many there may be; those that are there stay.
func (t *Retained) SetMost(most int64) { t.most = most }

// Len returns the number of retained messages, the batch being filled included.
func (t *Retained) Len() int64 { return t.count }

// Set makes m the retained message of its topic, in place of the one before [MQTT-3.3.1-5]. An empty
// payload removes it [MQTT-3.3.1-6], [MQTT-3.3.1-7]. The refusal of one too many is *chat.Refusal; a
// topic that has a retained message can always be changed.
func (t *Retained) Set(b *storage.Batch, m *Message) error {
	exists, err := t.exists(m.Topic)
	if err != nil {
		return err
	}
	if len(m.Payload) == 0 {
		if exists {
			t.remove(b, m.Topic)
		}
		return nil
	}
	if !exists {
		if t.most > 0 && t.count >= t.most {
			return chat.Refuse(chat.Unavailable,
				"the server keeps at most %d retained messages; clear one with an empty retained message first", t.most)
		}
		t.count++
		t.writeCount(b)
	}
	t.changed[m.Topic] = true
	b.Set(retainedKey(m.Topic), appendMessage(nil, m, "")) // the key has the topic
	return nil
}

func (t *Retained) exists(topic string) (bool, error) {
	if is, ok := t.changed[topic]; ok {
		return is, nil
	}
	_, ok, err := t.r.Get(retainedKey(topic))
	return ok, err
}

func (t *Retained) remove(b *storage.Batch, topic string) {
	b.Delete(retainedKey(topic))
	t.changed[topic] = false
	t.count--
	t.writeCount(b)
}

func (t *Retained) writeCount(b *storage.Batch) {
	b.Set(retainedCountKey(), binary.AppendUvarint(nil, uint64(max(0, t.count))))
}

// Committed tells that the batch was applied.
func (t *Retained) Committed() {
	clear(t.changed)
	t.before = t.count
}

// Aborted tells that the batch was not and will not be applied.
func (t *Retained) Aborted() {
	clear(t.changed)
	t.count = t.before
}

// Sweep deletes retained messages that have expired. It looks at up to limit of them, those after the
// topic after, and returns the topic to go on after; "" at the end. now is in ms.
func (t *Retained) Sweep(b *storage.Batch, after string, limit int, now int64) (next string, removed int, err error) {
	var expired []string
	var bad error
	looked, prefix := 0, storage.In(storage.SpaceRetained)
	var from storage.Key
	if after != "" {
		from = retainedKey(after)
	}
	err = t.r.Scan(prefix, from, func(k storage.Key, v []byte) bool {
		topic, _, ok := storage.TakeStr(k[1:])
		expire, e := messageExpire(v)
		if !ok || e != nil {
			bad = fmt.Errorf("%w: retained message", storage.ErrRecord)
			return false
		}
		// What the batch sets is newer than what the scan shows.
		if _, touched := t.changed[topic]; !touched && expire != 0 && expire <= now {
			expired = append(expired, topic)
		}
		looked++
		next = topic
		return looked < limit
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return "", 0, err
	}
	for _, topic := range expired {
		t.remove(b, topic)
	}
	if looked < limit {
		next = ""
	}
	return next, len(expired), nil
}

// Get returns the retained message of a topic; nil when there is none or it has expired.
func (t *Retained) Get(topic string, now int64) (*Message, error) {
	v, ok, err := t.r.Get(retainedKey(topic))
	if err != nil || !ok {
		return nil, err
	}
	return decodeRetained(topic, v, now)
}

// decodeRetained decodes a record, whose bytes the message takes over; nil when it has expired.
func decodeRetained(topic string, v []byte, now int64) (*Message, error) {
	m, err := DecodeMessage(v)
	if err != nil {
		return nil, err
	}
	if m.Expired(now) {
		return nil, nil
	}
	m.Topic = topic
	return m, nil
}

func retainedKey(topic string) storage.Key { return storage.In(storage.SpaceRetained).Str(topic) }

func retainedCountKey() storage.Key { return storage.In(storage.SpaceMeta).Str("retained") }
