package plain

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func messages() *rapid.Generator[*Message] {
	return rapid.Custom(func(t *rapid.T) *Message {
		m := &Message{
			Topic: topics().Draw(t, "topic"), Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
			QoS: rapid.Uint8Range(0, 2).Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain"),
			From: rapid.Uint64().Draw(t, "from"), FromUser: rapid.String().Draw(t, "user"),
			At: rapid.Int64Min(0).Draw(t, "at"), Expire: rapid.Int64Min(0).Draw(t, "expire"),
			ContentType: rapid.String().Draw(t, "type"), ResponseTopic: rapid.String().Draw(t, "reply"),
			PayloadFormatFlag: rapid.Bool().Draw(t, "format"),
		}
		if len(m.Payload) == 0 {
			m.Payload = nil
		}
		if m.PayloadFormatFlag {
			m.PayloadFormat = rapid.Uint8Range(0, 1).Draw(t, "utf8")
		}
		if rapid.Bool().Draw(t, "correlated") {
			m.Correlation = append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "correlation")...)
		}
		for range rapid.IntRange(0, 3).Draw(t, "pairs") {
			m.User = append(m.User, [2]string{rapid.String().Draw(t, "k"), rapid.String().Draw(t, "v")})
		}
		return m
	})
}

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := messages().Draw(t, "message")
		prefix := []byte("kept")
		b := AppendMessage(prefix, m)
		require.Equal(t, "kept", string(b[:4]))
		got, err := DecodeMessage(b[4:])
		require.NoError(t, err)
		require.Equal(t, m, got)
		expire, err := messageExpire(b[4:])
		require.NoError(t, err)
		require.Equal(t, m.Expire, expire)
	})
}

func TestRefRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Ref{QoS: rapid.Uint8Range(0, 2).Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain")}
		if rapid.Bool().Draw(t, "ids") {
			r.SubIDs = rapid.SliceOfN(rapid.Uint32Range(1, maxSubID), 1, 5).Draw(t, "subids")
		}
		if rapid.Bool().Draw(t, "embedded") {
			r.Message = messages().Draw(t, "message")
			r.Size = uint32(len(AppendMessage(nil, r.Message)))
		} else {
			r.Size = rapid.Uint32().Draw(t, "size")
		}
		b := AppendRef(nil, &r)
		got, err := DecodeRef(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		head, _, embedded, err := decodeRefHead(b)
		require.NoError(t, err)
		require.Equal(t, r.Size, head.Size)
		require.Equal(t, r.Message != nil, embedded)
	})
}

// TestStoredForm pins the bytes: stores of today must be readable tomorrow.
func TestStoredForm(t *testing.T) {
	m := &Message{
		Topic: "t", Payload: []byte("p"), QoS: 1, Retain: true, From: 5, FromUser: "al", At: 7, Expire: 300,
		PayloadFormat: 1, PayloadFormatFlag: true, ContentType: "c", ResponseTopic: "r", Correlation: []byte{9},
		User: [][2]string{{"k", "v"}},
	}
	require.Equal(t, "\x01\xfd\x07\xac\x02\x07\x05\x02al\x01t\x01\x01c\x01r\x01\x09\x01\x01k\x01vp", string(AppendMessage(nil, m)))
	require.Equal(t, "\x2d\x02\x03\xc8\x01\x09", string(AppendRef(nil, &Ref{QoS: 1, Retain: true, SubIDs: []uint32{3, 200}, Size: 9})))
	w := &Will{Message: Message{Topic: "t", At: 1}, DelayS: 2, ExpiryS: 3, HasExpiry: true, SID: 4, Conn: 5, armed: true, due: 6}
	require.Equal(t, "\x25\x06\x02\x03\x04\x05\x01\x00\x00\x01\x01t", string(AppendWill(nil, w)))
}

func TestDecodeRefusesDamage(t *testing.T) {
	good := AppendMessage(nil, &Message{
		Topic: "topic", Correlation: []byte("c"), User: [][2]string{{"k", "v"}}, ContentType: "x", Expire: 9,
	})
	for i := range good {
		_, err := DecodeMessage(good[:i])
		require.ErrorIs(t, err, storage.ErrRecord, "cut at %d", i)
	}
	huge := binary.AppendUvarint([]byte{messageVersion, 0, msgUser, 1, 1, 't'}, math.MaxUint64)
	for _, b := range [][]byte{{2, 0, 0, 0, 0}, {1, 3, 0, 0, 0}, {1, 0, 0x80, 0, 0}, huge} {
		_, err := DecodeMessage(b)
		require.ErrorIs(t, err, storage.ErrRecord, "%x", b)
	}
	for _, b := range []string{"", "\x00", "\x23\x01", "\x41\x01", "\x21", "\x21\x01\x01", "\x29\x00\x01", "\x29\x01\x00\x01", "\x21\x80\x80\x80\x80\x10"} {
		_, err := DecodeRef([]byte(b))
		require.ErrorIs(t, err, storage.ErrRecord, "%x", b)
	}
}

func TestMessageExpiry(t *testing.T) {
	m := &Message{Expire: 10_000}
	for _, c := range []struct {
		now     int64
		left    uint32
		expired bool
	}{{0, 10, false}, {8_500, 2, false}, {9_999, 1, false}, {10_000, 0, true}, {11_000, 0, true}} {
		left, ok := m.Left(c.now)
		require.True(t, ok)
		require.Equal(t, c.left, left)
		require.Equal(t, c.expired, m.Expired(c.now))
	}
	_, ok := (&Message{}).Left(5)
	require.False(t, ok)
	require.False(t, (&Message{}).Expired(math.MaxInt64))
	left, _ := (&Message{Expire: math.MaxInt64}).Left(0)
	require.Equal(t, uint32(math.MaxUint32), left)
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte("\x01\xfd\x07\xac\x02\x07\x05\x02al\x01t\x01\x01c\x01r\x01\x09\x01\x01k\x01vp"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			require.ErrorIs(t, err, storage.ErrRecord)
			return
		}
		again := AppendMessage(nil, m)
		got, err := DecodeMessage(again)
		require.NoError(t, err)
		require.True(t, bytes.Equal(again, AppendMessage(nil, got)))
		require.LessOrEqual(t, len(again), len(b), "the encoding is the shortest")
	})
}

func FuzzDecodeRef(f *testing.F) {
	f.Add([]byte("\x2d\x02\x03\xc8\x01\x09"))
	f.Add([]byte("\x31\x01\x00\x00\x01\x01t"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRef(b)
		if err != nil {
			require.ErrorIs(t, err, storage.ErrRecord)
			return
		}
		got, err := DecodeRef(AppendRef(nil, &r))
		require.NoError(t, err)
		r.Size, got.Size = 0, 0
		require.Equal(t, AppendRef(nil, &r), AppendRef(nil, &got))
	})
}

func FuzzDecodeWill(f *testing.F) {
	f.Add([]byte("\x25\x06\x02\x03\x04\x05\x01\x00\x00\x01\x01t"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := DecodeWill(b)
		if err != nil {
			require.ErrorIs(t, err, storage.ErrRecord)
			return
		}
		got, err := DecodeWill(AppendWill(nil, w))
		require.NoError(t, err)
		require.Equal(t, AppendWill(nil, w), AppendWill(nil, got))
	})
}

func BenchmarkMessageCodec(b *testing.B) {
	m := &Message{Topic: "alice/phone/inbox", Payload: []byte(strings.Repeat("x", 64)), QoS: 1, From: 12345, FromUser: "alice", At: 1_700_000_000_000}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendMessage(buf[:0], m)
		if _, err := DecodeMessage(buf); err != nil {
			b.Fatal(err)
		}
	}
}
