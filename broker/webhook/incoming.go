package webhook

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
)

// Pattern is where [Hooks] belongs in an http.ServeMux.
const Pattern = "/hook/{id}/{secret}"

// bodyTime is how long a body may take to arrive.
const bodyTime = 10 * time.Second

func remoteAddr(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// ServeHTTP takes what is posted to an incoming webhook and answers after the sync: 200 with {"seq"}, or the
// refusal as {"error":{"code","reason"}}.
func (h *Hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	seq, ok := h.serve(w, r)
	if !ok {
		h.stats.Refused.Add(1)
		return
	}
	h.stats.Posted.Add(1)
	reply(w, http.StatusOK, struct {
		Seq uint64 `json:"seq"`
	}{seq})
}

// serve carries out a request. ok false: it was refused, and is answered.
func (h *Hooks) serve(w http.ResponseWriter, r *http.Request) (seq uint64, ok bool) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answer(w, http.StatusMethodNotAllowed, chat.Refuse(chat.BadRequest, "a webhook takes POST"))
		return 0, false
	}
	addr := h.o.Address(r)
	release, ok := h.o.Admit(addr)
	if !ok {
		slow(w, time.Second)
		return 0, false
	}
	defer release()
	set := h.settings.Load()
	if wait, ok := h.rates.take("a"+addressKey(addr), 2*set.PerSecond, h.o.Now()); !ok {
		slow(w, wait)
		return 0, false
	}
	k, ok := h.find(r.PathValue("id"), r.PathValue("secret"))
	if !ok {
		answer(w, http.StatusNotFound, chat.Refuse(chat.NotFound, "there is no such webhook: check the whole URL, or have it made anew"))
		return 0, false
	}
	if wait, ok := h.rates.take("h"+k.ID, set.PerSecond, h.o.Now()); !ok {
		slow(w, wait)
		return 0, false
	}
	body, err := readBody(w, r)
	var ev chat.Event
	if err == nil {
		ev, err = parse(r.Header, body)
	}
	if err == nil {
		res := h.post(r.Context(), &k, ev)
		seq, err = res.Seq, res.Err
	}
	if err != nil {
		refuse(w, err)
	}
	return seq, err == nil
}

// find returns the webhook with that id and secret. What does not exist takes as long as a wrong secret.
func (h *Hooks) find(id, secret string) (hook, bool) {
	k, ok := h.get(id)
	known := ok && k.Kind == In
	want := make([]byte, len(hashOf("")))
	if known {
		want = k.Hash
	}
	same := subtle.ConstantTimeCompare(hashOf(secret), want) == 1
	return k, known && same
}

// errTooLarge is for those who send more than a webhook takes.
func errTooLarge() error {
	return chat.Refuse(chat.TooLarge, "a post to a webhook has at most %d bytes", MaxBody)
}

// readBody reads what is posted. More than the limit is refused before it is read, if its length is known.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		w.Header().Set("Connection", "close") // nobody reads the rest
		return nil, errTooLarge()
	}
	c := http.NewResponseController(w)
	if err := c.SetReadDeadline(time.Now().Add(bodyTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, errTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return nil, chat.Refuse(chat.BadRequest, "the request took more than %d s to arrive", bodyTime/time.Second)
	case err != nil:
		return nil, chat.Refuse(chat.BadRequest, "the request was cut off")
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	return body, nil
}

// post appends the event as the webhook's bot, if its creator may still have it there.
func (h *Hooks) post(ctx context.Context, k *hook, ev chat.Event) hub.Result {
	release, err := h.o.Use()
	if err != nil {
		return hub.Result{Err: err}
	}
	defer release()
	if k.Off == 0 {
		_, why, err := h.ended(k.record)
		if err != nil {
			return hub.Result{Err: err}
		}
		if why != "" {
			h.turnOff(k.ID, why)
			k.Why, k.Off = why, 1
		}
	}
	if k.Off != 0 {
		return hub.Result{Err: chat.Refuse(chat.NotAuthorized, "this webhook is off: %s", k.Why)}
	}
	_, _, direct := chat.Parties(k.Conv)
	req := &hub.Request{Conv: k.Conv, Direct: direct, Cmd: chat.Command{Op: chat.OpAppend, Actor: k.Bot, Event: ev}}
	if ev.ID != "" {
		req.Cmd.Hash = protocol.ContentHash(&ev)
	}
	if ctx.Err() != nil {
		return hub.Result{Err: chat.Refuse(chat.Unavailable, "the caller has gone")}
	}
	return h.o.Hub.Do(req)
}

// ended says why a webhook must end: its creator is gone, or may not have it any more. An error means that
// this is not known now.
func (h *Hooks) ended(r *record) (g right, why string, err error) {
	if since, ok := h.o.Accounts.Account(r.By); !ok || since != r.Since {
		return g, "the account of who made it is gone", nil
	}
	if r.Kind == In {
		if _, ok := h.o.Accounts.IsBot(r.Bot); !ok {
			return g, "its bot is gone", nil
		}
	}
	g, err = h.entitled(r.Conv, r.By)
	if isRefusal(err) {
		return g, "who made it may not change the settings of the conversation any more, or it has ended", nil
	}
	return g, "", err
}

// statusOf mirrors the codes of refusals.
func statusOf(err error) int {
	var kind unsupported
	if errors.As(err, &kind) {
		return http.StatusUnsupportedMediaType
	}
	switch protocol.RefusalOf(err).Code {
	case chat.NotAuthorized:
		return http.StatusForbidden
	case chat.NotFound:
		return http.StatusNotFound
	case chat.Conflict:
		return http.StatusConflict
	case chat.BadRequest:
		return http.StatusBadRequest
	case chat.TooLarge:
		return http.StatusRequestEntityTooLarge
	case chat.RateLimited:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// retryLater is what Retry-After says of a full disk and the like, seconds.
const retryLater = "5"

func refuse(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryLater)
	}
	answer(w, status, protocol.RefusalOf(err))
}

// slow refuses who is too fast.
func slow(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)) // RFC 9110 §10.2.3
	answer(w, http.StatusTooManyRequests, chat.Refuse(chat.RateLimited, "too many posts at once; slow down and send it again"))
}

func answer(w http.ResponseWriter, status int, r *chat.Refusal) {
	type refusal struct {
		Code   chat.Code `json:"code"`
		Reason string    `json:"reason"`
	}
	reply(w, status, struct {
		Error refusal `json:"error"`
	}{refusal{r.Code, r.Reason}})
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // only for types without a form in JSON
		panic("webhook: " + err.Error())
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who has gone needs no answer
}
