package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/petrelchat/petrel/internal/mqttc"
)

// searching is the first page of searches in a long log, of words that are in many texts and in few.
func (r *runner) searching(ctx context.Context, s *server) (Result, error) {
	cr := newCrew(ctx)
	defer cr.close()
	var res Result
	if !s.petrel {
		return conversationsOnly(), nil
	}
	a, err := cr.asking(s, senderName(0), "reader")
	if err != nil {
		return res, err
	}
	if _, err := a.ask("group.create", createParams("log", nil), nil); err != nil {
		return res, err
	}
	n := r.opt.Log
	if err := r.fillTexts(cr, s, "c/log/text", n); err != nil {
		return res, err
	}
	filled := r.clock.now()
	if err := s.indexed(ctx, float64(n), 10*r.opt.Limit); err != nil {
		return res, err
	}
	res.add("texts", "", float64(n))
	res.add("index caught up after", "s", time.Duration(r.clock.now()-filled).Seconds())
	slowest := 0.0
	for _, kind := range []struct{ name, query string }{
		{"common word", word(0)},
		{"rare word", word(wordsThere - 1)},
		{"two words", word(0) + " " + word(50)},
		{"phrase", `"` + word(0) + " " + word(1) + `"`},
		{"prefix", word(7)[:3] + "*"},
	} {
		took, err := s.inServer(ctx, "search", searchesTimed, func(int) error {
			_, err := a.ask("search", map[string]any{"q": kind.query}, nil)
			return err
		})
		if err != nil {
			return res, fmt.Errorf("%s: %w", kind.name, err)
		}
		res.add(kind.name+", in the server", "ms", took)
		slowest = max(slowest, took)
	}
	res.add("slowest kind, in the server", "ms", slowest)
	return res, nil
}

// indexing compares posting with and without the search index, in turns on one data directory.
func (r *runner) indexing(ctx context.Context, s *server) (Result, error) {
	var res Result
	switch {
	case !s.petrel:
		return conversationsOnly(), nil
	case s.cmd == nil:
		res.note("a server at --addr is not restarted")
		return res, nil
	}
	var with, without float64 // messages a second, of two turns each
	for turn := range 4 {
		off := turn%2 == 1
		if err := s.stop(); err != nil {
			return res, err
		}
		s.env = []string{"PETREL_SEARCH_ENABLED=" + strconv.FormatBool(!off)}
		if _, err := s.launch(ctx); err != nil {
			return res, err
		}
		one, err := r.pairs(ctx, s, pairLoad{size: 64})
		if err != nil {
			return res, err
		}
		rate, _ := one.value("msg/s")
		if off {
			without += rate / 2
		} else {
			with += rate / 2
		}
	}
	res.add("msg/s", "", with)
	res.add("msg/s without an index", "", without)
	res.add("without ÷ with", "", without/with)
	return res, nil
}

// searchesTimed is how many searches of a kind are timed.
const searchesTimed = 50

// wordsThere is how many words the texts are made of.
const wordsThere = 20_000

// word returns a word of the vocabulary, the commonest first.
func word(n int) string {
	const syllables = "kalomirenatusofibedagupezowikyle"
	var b strings.Builder
	for n += 1000; n > 0; n /= 16 {
		b.WriteString(syllables[n%16*2 : n%16*2+2])
	}
	return b.String()
}

// fillTexts posts n texts of eight words each, as common as words are in a language: Zipf's law.
func (r *runner) fillTexts(cr *crew, s *server, topic string, n int) error {
	o := s.options(senderName(0), "writer")
	o.CleanStart = true
	c, err := cr.dial(s, o)
	if err != nil {
		return err
	}
	defer c.drop()
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 4, wordsThere-1)
	const window = 500
	var text strings.Builder
	acked := 0
	for sent := 0; acked < n; {
		for ; sent < n && sent-acked < window; sent++ {
			text.Reset()
			for range 8 {
				text.WriteString(word(int(zipf.Uint64())))
				text.WriteByte(' ')
			}
			if sent == n/2 {
				text.WriteString(word(wordsThere - 1)) // the rare word is there
			}
			p := mqttc.Publish{Topic: topic, Payload: []byte(text.String()), QoS: 1, ID: uint16(sent%60_000 + 1)}
			if err := c.WritePublish(p); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		p, err := c.ReadPacket()
		if err != nil {
			return err
		}
		if p.Type == mqttc.PUBACK {
			acked++
		}
	}
	return nil
}

// indexed waits until the search index has n texts and nothing waits for it.
func (s *server) indexed(ctx context.Context, n float64, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		m, err := s.metrics(ctx)
		if err != nil {
			return err
		}
		if m["petrel_search_documents"] >= n && m["petrel_search_waiting_logs"] == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the search index did not catch up in time")
		case <-time.After(200 * time.Millisecond):
		}
	}
}
