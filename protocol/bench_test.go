package protocol

import (
	"testing"

	"github.com/petrelchat/petrel/chat"
)

func benchEvent() chat.Event {
	return chat.Event{
		Seq: 123456, From: "alice", At: 1767225600000, Kind: chat.KindPost,
		Text: "The quick brown fox jumps over the lazy dog, and then once more.",
	}
}

func BenchmarkParsePublish(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParsePublish("c/alice~bob/text", "bob")
	}
}

func BenchmarkParsePublishUser(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParsePublish("u/alice/text", "bob")
	}
}

func BenchmarkMatchTopic(b *testing.B) {
	for b.Loop() {
		MatchTopic("home/+/sensor/#", "home/kitchen/sensor/temperature")
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	e := benchEvent()
	e = chat.Event{Text: e.Text, ID: "8f14e45f", Re: 7}
	for view, payload := range map[View][]byte{
		ViewText: []byte(e.Text),
		ViewJSON: AppendEvent(nil, ViewJSON, &e, true),
		ViewCBOR: AppendEvent(nil, ViewCBOR, &e, true),
	} {
		b.Run(view.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeEvent(view, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e := benchEvent()
	for _, view := range []View{ViewText, ViewJSON, ViewCBOR} {
		b.Run(view.String(), func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, 512)
			for b.Loop() {
				buf = AppendEvent(buf[:0], view, &e, false)
			}
		})
	}
}

func BenchmarkEncodeStored(b *testing.B) {
	e := benchEvent()
	b.ReportAllocs()
	buf := make([]byte, 0, 512)
	for b.Loop() {
		buf = EncodeStored(buf[:0], &e)
	}
}

func BenchmarkDecodeStored(b *testing.B) {
	e := benchEvent()
	stored := EncodeStored(nil, &e)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeStored(stored); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkContentHash(b *testing.B) {
	e := benchEvent()
	for b.Loop() {
		ContentHash(&e)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	payload := []byte(`{"conv":"crew","before":100,"limit":50,"tag":"42"}`)
	b.ReportAllocs()
	for b.Loop() {
		var p struct {
			Conv   string `json:"conv"`
			Before uint64 `json:"before"`
			Limit  int    `json:"limit"`
		}
		req, err := ParseRequest("history", payload)
		if err == nil {
			err = req.Params(&p)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
