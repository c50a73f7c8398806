package webhook

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
)

// What is taken is a post with nothing else in it; what is not gets a refusal.
func FuzzParse(f *testing.F) {
	f.Add("text/plain", "k", []byte("hello"))
	f.Add("application/json; charset=UTF-8", `"k"`, []byte(`{"text":"x","id":"k","re":3,"mentions":["bob"],"ext":{"a":[1,2.5,null]}}`))
	f.Add("application/json", "", []byte(`{"kind":"edit","text":"x","re":1}`))
	f.Add("application/json", "", []byte(`{"text":"\ud83d\ude00","unknown":1}`))
	f.Add("multipart/form-data; boundary=x", "\"\"", []byte("--x"))
	f.Fuzz(func(t *testing.T, contentType, key string, body []byte) {
		h := http.Header{}
		h.Set("Content-Type", contentType)
		if key != "" {
			h.Set("Idempotency-Key", key)
		}
		ev, err := parse(h, body)
		if err != nil {
			var r *chat.Refusal
			if !errors.As(err, &r) || statusOf(err) < 400 || statusOf(err) >= 500 {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		only := chat.Event{ID: ev.ID, Text: ev.Text, Re: ev.Re, Mentions: ev.Mentions, Ext: ev.Ext}
		if !reflect.DeepEqual(ev, only) || !utf8.ValidString(ev.Text) || !utf8.ValidString(ev.ID) {
			t.Fatalf("%+v", ev)
		}
	})
}

func TestBackoff(t *testing.T) {
	h := &Hooks{}
	h.o.Backoff.First, h.o.Backoff.Most = 1000, 60_000
	for failed, most := range map[int]int64{1: 1000, 2: 2000, 3: 4000, 7: 60_000, 50: 60_000, 1000: 60_000} {
		for range 100 {
			if d := int64(h.backoff(failed, 0)); d < most/2 || d > most {
				t.Fatalf("after %d failures: %d, want %d to %d", failed, d, most/2, most)
			}
		}
	}
	if d := h.backoff(1, 5000); d != 5000 {
		t.Errorf("asked for 5000: %d", d)
	}
	if d := h.backoff(1, 1<<40); d != 60_000 {
		t.Errorf("asked for too much: %d", d)
	}
}
