package calls

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// TestKilled kills the server with SIGKILL at every transition of calls, around each publish that makes one: no call is lost or doubled, none
// rings on as a ghost, and media that don't need the server flow on. In the short form a few random moments of each kind of call are taken
// in one go; in the long form each by itself, and the random runs many times.
func TestKilled(t *testing.T) {
	petrel := filepath.Join(t.TempDir(), "petrel")
	if out, err := exec.Command("go", "build", "-o", petrel, "github.com/petrelchat/petrel/cmd/petrel").CombinedOutput(); err != nil {
		t.Fatalf("petrel does not build: %v\n%s", err, out)
	}
	stories := map[string]func(*killer) *story{"direct": direct, "group": group, "declined": declined, "cancelled": cancelled, "glare": glare}
	r := random(t)
	if long() {
		for _, name := range slices.Sorted(maps.Keys(stories)) {
			each(t, name, petrel, stories[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(stories)) {
		for range runs() {
			t.Run("random/"+name, func(t *testing.T) {
				s := stories[name](newKiller(t, petrel))
				s.play(s.some(r, kills()))
			})
		}
	}
}

// runs is how many random runs a story has, kills how often the server dies in one.
func runs() int {
	if long() {
		return 5
	}
	return 1
}

func kills() int {
	if long() {
		return 2
	}
	return 1
}

// random is a source of random choices, those of SEED if that is set.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		var err error
		n, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	t.Logf("SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

// some takes random moments of so many steps.
func (s *story) some(r *rand.Rand, n int) map[string]moment {
	all := make(map[string]moment)
	for _, i := range r.Perm(len(s.steps)) {
		if st := &s.steps[i]; len(all) < n && len(st.moments) > 0 {
			all[st.name] = st.moments[r.IntN(len(st.moments))]
		}
	}
	return all
}

// each plays a story once for each moment.
func each(t *testing.T, name, petrel string, tell func(*killer) *story) {
	type kill struct {
		step string
		moment
	}
	var all []kill
	t.Run(name+"/alive", func(t *testing.T) {
		s := tell(newKiller(t, petrel))
		for _, st := range s.steps {
			for _, m := range st.moments {
				all = append(all, kill{st.name, m})
			}
		}
		s.play(nil)
	})
	for _, at := range all {
		t.Run(name+"/"+at.step+"/"+strings.ReplaceAll(at.String(), "/", ":"), func(t *testing.T) {
			tell(newKiller(t, petrel)).play(map[string]moment{at.step: at.moment})
		})
	}
}

// reel is a source of video, and counts what comes.
type reel struct {
	track *webrtc.TrackLocalStaticSample
	came  atomic.Int64
	bell  chan struct{}
}

func newReel(t testing.TB) *reel {
	t.Helper()
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, "video", "pictures")
	must(t, err)
	p := &reel{track: track, bell: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = track.WriteSample(media.Sample{Data: make([]byte, 500), Duration: 50 * time.Millisecond})
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	return p
}

// watch takes video, and gives all else to a voice.
func (p *reel) watch(v *voice) func(*RemoteTrack) {
	return func(rt *RemoteTrack) {
		if rt.Kind() == webrtc.RTPCodecTypeAudio {
			v.listen(rt)
			return
		}
		for {
			if _, err := rt.ReadRTP(); err != nil {
				return
			}
			p.came.Add(1)
			select {
			case p.bell <- struct{}{}:
			default:
			}
		}
	}
}

// sees waits for pictures.
func (p *reel) sees(t testing.TB) {
	t.Helper()
	ctx := soon(t)
	for want := p.came.Load() + 3; p.came.Load() < want; {
		select {
		case <-p.bell:
		case <-ctx.Done():
			t.Fatal("no pictures come")
		}
	}
}
