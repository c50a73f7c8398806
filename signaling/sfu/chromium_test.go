package sfu

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// Two connections of a real browser: one sends a fake camera in three layers and a microphone, the other one gets them, first
// with the best layer, then with little allowed. The fragment of the address says which codec the camera uses.
const chromiumPage = `<!doctype html><script>
const post = (path, v) => fetch(path, {method: "POST", body: JSON.stringify(v)});
const log = v => post("/log", v);
async function join(id, setup) {
  const pc = new RTCPeerConnection();
  pc.sfu = pc.createDataChannel("sfu");
  pc.data = pc.createDataChannel("data");
  pc.heard = [];
  pc.sfu.onmessage = e => pc.heard.push(JSON.parse(e.data));
  await setup(pc);
  await pc.setLocalDescription(await pc.createOffer());
  const r = await post("/offer/" + id, pc.localDescription.sdp);
  const sdp = await r.text();
  if (!r.ok) throw new Error(sdp);
  await pc.setRemoteDescription({type: "answer", sdp});
  return pc;
}
async function until(what, cond) {
  for (let i = 0; i < 450; i++) { // H264 in three layers is much for a busy processor
    if (await cond()) return;
    await new Promise(r => setTimeout(r, 100));
  }
  throw new Error(what);
}
const stat = async (pc, kind) => {
  for (const s of (await pc.getStats()).values()) if (s.type === "inbound-rtp" && s.kind === kind) return s;
  return {};
};
const [name, layers] = location.hash.slice(1).split("+");
const codec = "video/" + name;
const prefer = (t, c) => t.setCodecPreferences(c.getCapabilities("video").codecs.filter(x => x.mimeType === codec));
(async () => {
  const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 1280, height: 720}});
  const ann = await join("ann", async pc => {
    pc.addTransceiver(media.getAudioTracks()[0], {direction: "sendonly"});
    prefer(pc.addTransceiver(media.getVideoTracks()[0], {direction: "sendonly", sendEncodings: [
      {rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150000}, {rid: "h", scaleResolutionDownBy: 2, maxBitrate: 400000}, {rid: "f", maxBitrate: 900000}]}), RTCRtpSender);
  });
  const bob = await join("bob", async pc => {
    pc.addTransceiver("audio", {direction: "recvonly"});
    prefer(pc.addTransceiver("video", {direction: "recvonly"}), RTCRtpReceiver);
  });
  await until("audio", async () => (await stat(bob, "audio")).packetsReceived > 50);
  await until("video", async () => (await stat(bob, "video")).framesDecoded > 10);
  await until("slots", async () => bob.heard.some(m => m.kind === "slots" && m.slots.some(s => s.media === "video" && s.party === "ann")));
  if (layers) await until("a better layer than the least", async () => (await stat(bob, "video")).frameHeight > 180);
  const before = await stat(bob, "video");
  bob.sfu.send(JSON.stringify({kind: "want", limit: 1000}));
  // Less than any layer takes, so that it is the least. A browser that lacks processor time makes all of them smaller.
  if (layers) await until("the least layer", async () => (await stat(bob, "video")).frameHeight <= 180);
  const at = (await stat(bob, "video")).framesDecoded;
  await until("video goes on", async () => (await stat(bob, "video")).framesDecoded > at + 10);
  const said = new Promise(r => bob.data.onmessage = e => r(e.data));
  ann.data.send("hello");
  if (await said !== "\x03annhello") throw new Error("message");
  const end = await stat(bob, "video");
  const {mimeType} = (await bob.getStats()).get(end.codecId);
  if (mimeType !== codec) throw new Error("it was " + mimeType);
  await post("/done", {ok: true, codec: mimeType, from: before.frameHeight, decoded: end.framesDecoded, lost: end.packetsLost, freezes: end.freezeCount, nack: end.nackCount, pli: end.pliCount});
})().catch(e => post("/done", {ok: false, error: String(e)}));
</script>`

func TestChromium(t *testing.T) {
	bin := petreltest.Tool(t, "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
	// Three pictures of H.264 at once are too much for the software encoder of a browser that shares its processor with other tests:
	// then there are no better layers to see.
	codecs := []string{"VP8+layers", "H264"}
	if os.Getenv("PETREL_LONG") != "" {
		codecs[1] = "H264+layers"
	}
	for _, codec := range codecs {
		t.Run(codec, func(t *testing.T) { inChromium(t, bin, codec) })
	}
}

func inChromium(t *testing.T, bin, codec string) {
	var mu sync.Mutex
	answers := map[string]chan string{"ann": make(chan string, 8), "bob": make(chan string, 8)}
	s, err := New(Options{Listen: "127.0.0.1:0", Send: func(_, party, kind, _ string, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		if kind == "answer" {
			answers[party] <- string(body)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, chromiumPage) })
	mux.HandleFunc("POST /offer/{id}", func(w http.ResponseWriter, r *http.Request) {
		var offer string
		if err := json.NewDecoder(r.Body).Decode(&offer); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		if err := s.Signal("c", r.PathValue("id"), "user", "offer", []byte(offer)); err != nil {
			http.Error(w, err.Error()+"\n"+offer, 400)
			return
		}
		_, _ = io.WriteString(w, <-answers[r.PathValue("id")])
	})
	mux.HandleFunc("POST /done", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		done <- string(b)
	})
	web := httptest.NewServer(mux)
	defer web.Close()
	args := []string{"--headless=new", "--disable-gpu", "--no-first-run", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
		"--user-data-dir=" + t.TempDir(), "--autoplay-policy=no-user-gesture-required"}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	cmd := exec.CommandContext(t.Context(), bin, append(args, web.URL+"/#"+codec)...)
	// Debian's program is a script, and a browser is many processes: all of the group are to end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Cancel(); _ = cmd.Wait() }()
	select {
	case got := <-done:
		t.Log(got)
		var v struct{ Ok bool }
		if err := json.Unmarshal([]byte(got), &v); err != nil || !v.Ok {
			t.Fatal(got)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the browser said nothing")
	}
}
