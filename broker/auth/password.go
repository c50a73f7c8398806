package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// Params is the cost of argon2id. Zero values take the defaults, which are OWASP's minimum.
type Params struct {
	MemoryKiB uint32 // 19456
	Time      uint32 // passes; 2
	Threads   uint8  // lanes; 1
}

const (
	saltLen = 16
	hashLen = 32

	maxPassword = 1024 // bytes

	verifiedFor = 10 * time.Minute
	verifiedMax = 50_000
)

func (p Params) withDefaults() Params {
	if p.MemoryKiB == 0 {
		p.MemoryKiB = 19456
	}
	if p.Time == 0 {
		p.Time = 2
	}
	if p.Threads == 0 {
		p.Threads = 1
	}
	return p
}

// validate also bounds what a stored record can make the server spend. RFC 9106 §3.1: m ≥ 8p.
func (p Params) validate() error {
	switch {
	case p.Threads < 1 || p.Threads > 64:
		return fmt.Errorf("auth: argon2 lanes are %d, but must be 1 to 64", p.Threads)
	case p.MemoryKiB < 8*uint32(p.Threads) || p.MemoryKiB > 1<<20:
		return fmt.Errorf("auth: argon2 memory is %d KiB, but must be from 8 for each lane to %d", p.MemoryKiB, 1<<20)
	case p.Time < 1 || p.Time > 64:
		return fmt.Errorf("auth: argon2 passes are %d, but must be 1 to 64", p.Time)
	}
	return nil
}

// phc is a parsed password record, $argon2id$v=19$m=…,t=…,p=…$salt$hash.
type phc struct {
	Params
	salt, hash []byte
}

var errPHC = errors.New("auth: the stored password record is not argon2id in PHC format")

// parsePHC accepts canonical records only: String gives back the same text.
func parsePHC(s string) (phc, error) {
	var r phc
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v=19" {
		return r, errPHC
	}
	cost := strings.Split(part[3], ",")
	if len(cost) != 3 {
		return r, errPHC
	}
	var n [3]uint32
	for i, name := range [3]string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(cost[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(v, 10) != digits {
			return r, errPHC
		}
		n[i] = uint32(v)
	}
	if n[2] > 255 {
		return r, errPHC
	}
	r.Params = Params{MemoryKiB: n[0], Time: n[1], Threads: uint8(n[2])}
	if r.Params.validate() != nil {
		return r, errPHC
	}
	b64 := base64.RawStdEncoding.Strict()
	// DecodeString skips line breaks, which would make a second spelling of the same record.
	if strings.ContainsAny(s, "\r\n") {
		return r, errPHC
	}
	var err1, err2 error
	r.salt, err1 = b64.DecodeString(part[4])
	r.hash, err2 = b64.DecodeString(part[5])
	if err1 != nil || err2 != nil || len(r.salt) < 8 || len(r.salt) > 64 || len(r.hash) < 16 || len(r.hash) > 64 {
		return r, errPHC
	}
	return r, nil
}

func (r phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s",
		r.MemoryKiB, r.Time, r.Threads, b64.EncodeToString(r.salt), b64.EncodeToString(r.hash))
}

func (r phc) matches(password []byte) bool {
	got := argon2.IDKey(password, r.salt, r.Time, r.MemoryKiB, r.Threads, uint32(len(r.hash)))
	return subtle.ConstantTimeCompare(got, r.hash) == 1
}

// hasher computes argon2 a few at a time, and remembers for a while what it found right.
type hasher struct {
	params Params
	slots  chan struct{} // one token for each computation that runs
	dummy  phc           // for users that don't exist: as costly as a real one, never right

	key      [32]byte // of this process; makes the cache useless to whoever reads memory later
	mu       sync.Mutex
	verified *recent[[32]byte, time.Time] // until when
}

func newHasher(p Params, slots int) *hasher {
	h := &hasher{params: p, slots: make(chan struct{}, slots), verified: newRecent[[32]byte, time.Time](verifiedMax)}
	rand.Read(h.key[:]) // never fails: crypto/rand
	h.dummy = phc{Params: p, salt: make([]byte, saltLen), hash: make([]byte, hashLen)}
	rand.Read(h.dummy.salt)
	rand.Read(h.dummy.hash)
	return h
}

// acquire waits for a turn. release must be called once when err is nil.
func (h *hasher) acquire(ctx context.Context) (release func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash makes a new record. The caller has acquired a turn.
func (h *hasher) hash(password []byte) string {
	r := phc{Params: h.params, salt: make([]byte, saltLen)}
	rand.Read(r.salt)
	r.hash = argon2.IDKey(password, r.salt, r.Time, r.MemoryKiB, r.Threads, hashLen)
	return r.String()
}

// cacheKey depends on the record with its random salt, so that an entry dies with the password.
func (h *hasher) cacheKey(user string, password []byte, record string) (k [32]byte) {
	m := hmac.New(sha256.New, h.key[:])
	for _, part := range [][]byte{[]byte(user), password, []byte(record)} {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		m.Write(part)
	}
	m.Sum(k[:0])
	return k
}

func (h *hasher) known(k [32]byte, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, ok := h.verified.get(k)
	if ok && !now.Before(until) {
		h.verified.delete(k)
	}
	// A clock that jumped back must not make an entry live longer than it should.
	return ok && now.Before(until) && until.Sub(now) <= verifiedFor
}

func (h *hasher) remember(k [32]byte, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verified.put(k, now.Add(verifiedFor))
}
