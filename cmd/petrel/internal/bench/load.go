package bench

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// maxInFlight bounds what one sender may have unacknowledged; a power of two.
const maxInFlight = 4096

// settle is how long after the end of a load its last messages and acknowledgements may take.
const settle = 30 * time.Second

// sender publishes one stream at QoS 1. Its methods are for one goroutine, open's two aside.
type sender struct {
	c       *client
	clock   clock
	stream  int
	payload []byte
	acked   func(sent, now int64) // called for each PUBACK, by the reading goroutine

	count    uint64 // messages sent so far
	id       uint16
	slots    [maxInFlight]atomic.Int64 // send time by packet id; 0: free
	inFlight atomic.Int64
	sentAll  atomic.Bool
}

func newSender(c *client, clk clock, stream, size int, acked func(sent, now int64)) *sender {
	return &sender{c: c, clock: clk, stream: stream, payload: newPayload(size), acked: acked}
}

// dialSender connects sender k. MQTT 3.1.1 acknowledges what it refuses, so with petrel it listens to
// its refusals.
func (r *runner) dialSender(cr *crew, s *server, k int) (*client, error) {
	o := s.options(senderName(k), senderName(k))
	o.CleanStart = true
	c, err := cr.dial(s, o)
	if err == nil && s.petrel {
		err = c.subscribe(mqttc.Filter{Topic: "u/" + senderName(k) + "/errors"})
	}
	if err != nil {
		return nil, fmt.Errorf("sender %d: %w", k, err)
	}
	return c, nil
}

// publish queues the next message of the stream, stamped with the time sent.
func (s *sender) publish(topic string, count uint64, sent int64, last bool) error {
	for {
		s.id++
		if s.id != 0 && s.slots[s.id%maxInFlight].CompareAndSwap(0, max(sent, 1)) {
			break
		}
		if s.inFlight.Load() >= maxInFlight/2 {
			return fmt.Errorf("%d messages of one sender are unacknowledged: the server can't keep up with this rate", s.inFlight.Load())
		}
	}
	s.inFlight.Add(1)
	s.count++
	if last {
		s.c.SetReadDeadline(time.Now().Add(settle))
		s.sentAll.Store(true) // after inFlight, so that openAcks waits for this one
	}
	stamp{sent: sent, stream: s.stream, count: count, last: last}.put(s.payload)
	return s.c.WritePublish(mqttc.Publish{Topic: topic, Payload: s.payload, QoS: 1, ID: s.id})
}

// acks reads until no further packet is buffered.
func (s *sender) acks() error {
	for {
		p, err := s.c.ReadPacket()
		if err != nil {
			return fmt.Errorf("sender %d, %d messages unacknowledged: %w", s.stream, s.inFlight.Load(), err)
		}
		switch {
		case p.Type == mqttc.PUBACK && p.Code < 0x80:
			sent := s.slots[p.ID%maxInFlight].Swap(0)
			if sent == 0 {
				return fmt.Errorf("sender %d: PUBACK for packet id %d, which is not in flight", s.stream, p.ID)
			}
			s.inFlight.Add(-1)
			s.acked(sent, s.clock.now())
		case p.Type == mqttc.PUBACK || p.Type == mqttc.DISCONNECT:
			return fmt.Errorf("sender %d was refused: 0x%02X", s.stream, p.Code)
		case p.Type == mqttc.PUBLISH: // the only subscription of a sender is its errors topic
			return fmt.Errorf("sender %d was refused: %s", s.stream, p.Payload)
		}
		if !s.c.Ready() {
			return nil
		}
	}
}

// closed keeps window messages in flight until more reports false; next says where each goes. The
// message for which more is false is still sent, marked as the stream's last.
func (s *sender) closed(window int, next func() (topic string, count uint64), more func(now int64) bool) error {
	done := false
	for {
		for !done && int(s.inFlight.Load()) < window {
			now := s.clock.now()
			done = !more(now)
			topic, count := next()
			if err := s.publish(topic, count, now, done); err != nil {
				return err
			}
		}
		if err := s.c.Flush(); err != nil {
			return err
		}
		if done && s.inFlight.Load() == 0 {
			return nil
		}
		if err := s.acks(); err != nil {
			return err
		}
	}
}

// open sends one message each interval, from start on, whether earlier ones are acknowledged or not.
// The time stamped is when the timer fired, or when it should have if sending is behind by more
// than the 2 ms that a timer may be late: a server that stops reading is not spared the wait.
func (s *sender) open(cr *crew, topic string, start, interval int64, more func(now int64) bool) error {
	for due := start; ; due += interval {
		if d := s.clock.until(due); d > 0 {
			if err := cr.sleep(d); err != nil {
				return err
			}
		}
		sent := s.clock.now()
		if sent-due > int64(2*time.Millisecond) {
			sent = due
		}
		last := !more(due)
		if err := s.publish(topic, s.count, sent, last); err != nil {
			return err
		}
		if err := s.c.Flush(); err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

// openAcks is the reading side of open.
func (s *sender) openAcks() error {
	for {
		if err := s.acks(); err != nil {
			return err
		}
		if s.sentAll.Load() && s.inFlight.Load() == 0 {
			return nil
		}
	}
}

// receiver takes the messages of streams, checks their order and acknowledges them in batches.
type receiver struct {
	c     *client
	clock clock
	seqs  map[int]*sequence // by stream; a message of another stream is a fault
	one   *sequence         // the only stream, looked up without the map
	id    int
	got   func(st stamp, now int64)
}

func newReceiver(c *client, clk clock, streams []int, got func(st stamp, now int64)) *receiver {
	r := &receiver{c: c, clock: clk, seqs: map[int]*sequence{}, got: got}
	for _, id := range streams {
		r.one, r.id = &sequence{}, id
		r.seqs[id] = r.one
	}
	return r
}

// receive reads until done reports true. After a batch it flushes its PUBACKs in one write.
func (r *receiver) receive(done func(st stamp) bool) error {
	for {
		p, err := r.c.ReadPacket()
		if err != nil {
			return fmt.Errorf("receiver: %w; %s", err, r.state())
		}
		if p.Type == mqttc.DISCONNECT {
			return fmt.Errorf("receiver was disconnected: 0x%02X; %s", p.Code, r.state())
		}
		ended := false
		if p.Type == mqttc.PUBLISH {
			if p.QoS == 1 {
				if err := r.c.WriteAck(mqttc.PUBACK, p.ID, 0); err != nil {
					return err
				}
			}
			st, ok := readStamp(p.Payload)
			if !ok {
				return fmt.Errorf("receiver: a payload on %q that the bench did not send", p.Topic)
			}
			seq := r.one
			if st.stream != r.id {
				if seq = r.seqs[st.stream]; seq == nil {
					return fmt.Errorf("receiver: a message of stream %d that it should not see", st.stream)
				}
			}
			seq.see(st.count)
			r.got(st, r.clock.now())
			ended = done(st)
		}
		if ended || !r.c.Ready() {
			if err := r.c.Flush(); err != nil {
				return err
			}
		}
		if ended {
			return r.check()
		}
	}
}

// check returns an error if anything was lost, repeated or reordered.
func (r *receiver) check() error {
	for _, s := range r.seqs {
		if s.skipped > 0 || s.back > 0 {
			return fmt.Errorf("order broken: %s", r.state())
		}
	}
	return nil
}

func (r *receiver) state() string {
	var next, skipped, back uint64
	for _, s := range r.seqs {
		next += s.next
		skipped += s.skipped
		back += s.back
	}
	return fmt.Sprintf("messages up to %d seen, %d missing or late, %d repeated or late", next, skipped, back)
}
