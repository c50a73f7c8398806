package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/pion/webrtc/v4"

	"github.com/petrelchat/petrel/chat"
	sdk "github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/calls"
	"github.com/petrelchat/petrel/internal/faultproxy"
)

// signallingOf is the metric of calls-bytes that has a goal.
func signallingOf(side string) string { return "whole signalling, " + side }

// callBytes counts at the socket what a direct call with sound and picture costs beside its media: from the start until the call is over and
// stands in the conversation of both, in both directions, acknowledgements included.
func (r *runner) callBytes(ctx context.Context, s *server) (res Result, err error) {
	if !s.petrel {
		return conversationsOnly(), nil
	}
	cr := newCrew(ctx)
	defer cr.close()
	var ways [len(sides)]*faultproxy.Proxy
	var hs [len(sides)]*handset
	for i, side := range sides {
		if ways[i], err = faultproxy.New(s.addr); err != nil {
			return res, err
		}
		defer ways[i].Close()
		if hs[i], err = r.handset(ctx, ways[i], side, side, calls.Options{Loopback: true}); err != nil {
			return res, err
		}
		defer func() { err = errors.Join(err, hs[i].off(ctx)) }()
	}
	var took [len(sides)][]int64
	for n := range 1 + min(3, r.opt.CallTimes) { // the first is in a conversation that is new
		before, err := r.quietBytes(cr, ways[:])
		if err != nil {
			return res, err
		}
		if err := r.callOnce(cr, hs, uint64(n+1)); err != nil {
			return res, fmt.Errorf("call %d: %w", n+1, err)
		}
		after, err := r.quietBytes(cr, ways[:])
		if err != nil {
			return res, err
		}
		for i := range took {
			if n > 0 {
				took[i] = append(took[i], after[i]-before[i])
			}
		}
	}
	for i, side := range sides {
		res.add(signallingOf(side), "bytes", float64(median(took[i])))
	}
	return res, nil
}

// quietBytes waits until nothing has gone over the connections for as long as somebody takes to answer, and returns what went so far.
func (r *runner) quietBytes(cr *crew, ways []*faultproxy.Proxy) ([]int64, error) {
	var last []int64
	for same := 0; same < 10; same++ {
		if err := cr.sleep(r.opt.CallPickup / 10); err != nil {
			return nil, err
		}
		var now []int64
		for i, w := range ways {
			now = append(now, bytesOf(w.Stats()))
			if last != nil && now[i] != last[i] {
				same = -1
			}
		}
		last = now
	}
	return last, nil
}

// callOnce is a whole call, up to the event that is left of it, the conversation's n-th.
func (r *runner) callOnce(cr *crew, hs [len(sides)]*handset, n uint64) error {
	ctx, cancel := context.WithTimeout(cr.ctx, callPatience)
	defer cancel()
	talk := newCrew(ctx)
	defer talk.close()
	var ears [len(sides)]*ear
	var mine [len(sides)]calls.Local
	for i, name := range sides {
		v, err := r.voice(talk, name)
		if err != nil {
			return err
		}
		camera, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "video", name)
		if err != nil {
			return err
		}
		ears[i] = r.ear()
		ears[i].listen(0)
		mine[i] = calls.Local{Tracks: []webrtc.TrackLocal{v, camera}, OnTrack: ears[i].take}
	}
	conv := hs[0].Direct(hs[1].Me())
	if _, err := hs[0].m.Start(ctx, conv, mine[0]); err != nil {
		return err
	}
	call, err := hs[1].rings(ctx)
	if err != nil {
		return err
	}
	if err := call.Accept(ctx, mine[1]); err != nil {
		return err
	}
	for _, e := range ears {
		if _, err := e.wait(ctx); err != nil {
			return err
		}
	}
	if err := talk.sleep(r.opt.CallPickup); err != nil { // candidates that were found late are said by now
		return err
	}
	if err := call.Hangup(ctx); err != nil {
		return err
	}
	for _, h := range hs {
		err := (&phone{Client: h.Client}).until(ctx, func() (bool, error) {
			page, err := h.Events(ctx, conv, sdk.Page{After: n - 1, Limit: 1})
			return len(page) == 1 && page[0].Kind == chat.KindCall, err
		})
		if err != nil {
			return fmt.Errorf("%s: the call is not in the conversation: %w", h.Me(), err)
		}
	}
	return nil
}
