package mqttc

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzReadPacket feeds hostile bytes: the reader must end, with an error of its own kind, hold no more
// memory than the bytes that came (doubled) or its first buffer, and read the same from any pieces.
func FuzzReadPacket(f *testing.F) {
	f.Add(byte(4), AppendPublish(nil, 4, Publish{Topic: "a", Payload: []byte("b"), QoS: 1, ID: 1}))
	f.Add(byte(5), AppendPublish(nil, 5, Publish{Topic: "a", Alias: 1, Props: AppendUserProperty(nil, "k", "v")}))
	f.Add(byte(5), []byte{CONNACK << 4, 6, 1, 0, 3, PropTopicAliasMaximum, 0, 7})
	f.Add(byte(5), AppendAck(AppendAck(nil, 5, PUBREL, 1, 0x92), 5, PUBACK, 2, 0))
	f.Add(byte(4), []byte{SUBACK << 4, 4, 0, 1, 1, 0x80, PINGRESP << 4, 0})
	f.Add(byte(5), []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F})
	f.Fuzz(func(t *testing.T, version byte, in []byte) {
		opts := ConnectOptions{Version: version, TopicAliasMaximum: 4, ReadBuffer: 16, MaxPacket: 1 << 20}
		whole := NewConn(&script{r: bytes.NewReader(in)}, opts)
		slow := NewConn(&script{r: iotest.OneByteReader(bytes.NewReader(in))}, opts)
		total := 0
		for {
			p, err := whole.ReadPacket()
			q, errSlow := slow.ReadPacket()
			if (err == nil) != (errSlow == nil) || !bytes.Equal(p.Payload, q.Payload) || !bytes.Equal(p.Topic, q.Topic) || p.ID != q.ID {
				t.Fatalf("whole: %+v %v\nin pieces: %+v %v", p, err, q, errSlow)
			}
			if len(whole.buf) > max(16, 2*len(in)+16) {
				t.Fatalf("buffer of %d bytes for %d", len(whole.buf), len(in))
			}
			if err != nil {
				if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
					t.Fatal(err)
				}
				if err == io.EOF && total != len(in) {
					t.Fatalf("packets of %d bytes in %d", total, len(in))
				}
				return
			}
			total += p.Size
			p.Props.User("k")
			p.Props.Uint(PropTopicAlias)
			p.Props.String(PropReason)
			roundTrip(t, whole.version, p)
		}
	})
}

// roundTrip encodes what was decoded, where this client can send that type, and decodes it again.
func roundTrip(t *testing.T, version byte, p Packet) {
	var b []byte
	switch p.Type {
	case PUBLISH:
		var props []byte
		for rest := p.Props; len(rest) > 0; {
			id, _, size := rest.next()
			if id != PropTopicAlias {
				props = append(props, rest[:size]...)
			}
			rest = rest[size:]
		}
		b = AppendPublish(nil, version, Publish{Topic: string(p.Topic), Payload: p.Payload, ID: p.ID, Alias: p.Alias,
			QoS: p.QoS, Dup: p.Dup, Retain: p.Retain, Props: props})
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		b = AppendAck(nil, version, p.Type, p.ID, p.Code)
	default:
		return
	}
	q, err := Decode(version, b)
	if err != nil || q.Type != p.Type || q.ID != p.ID || q.Code != p.Code || q.Alias != p.Alias || !bytes.Equal(q.Topic, p.Topic) || !bytes.Equal(q.Payload, p.Payload) {
		t.Fatalf("%+v became %+v, %v", p, q, err)
	}
}
