package notify

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"

	"github.com/petrelchat/petrel/storage"
)

// Keys are made once for a store. Registrations are bound to VAPIDPublic: whoever loses it loses them.
type Keys struct {
	VAPIDPublic  string `cbor:"1,keyasint"` // uncompressed point of P-256, base64url (RFC 8292 §3.2)
	VAPIDPrivate string `cbor:"2,keyasint"` // scalar, base64url
	Secret       []byte `cbor:"3,keyasint"` // makes names opaque
}

func keysKey() storage.Key { return storage.In(storage.SpaceMeta).Str("push") }

// LoadKeys reads the keys, or makes and stores them.
func LoadKeys(r storage.Reader, commitWait func(*storage.Batch) error) (k Keys, err error) {
	v, ok, err := r.Get(keysKey())
	if err != nil {
		return k, err
	}
	if ok {
		return k, storage.Unmarshal(v, &k)
	}
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return k, err
	}
	k.VAPIDPublic = base64.RawURLEncoding.EncodeToString(private.PublicKey().Bytes())
	k.VAPIDPrivate = base64.RawURLEncoding.EncodeToString(private.Bytes())
	k.Secret = make([]byte, sha256.Size)
	rand.Read(k.Secret) //nolint:errcheck // it never fails
	var b storage.Batch
	b.Vital = true
	b.Set(keysKey(), storage.Marshal(&k))
	return k, commitWait(&b)
}

// PublicKey is what browsers subscribe with (applicationServerKey).
func (s *Service) PublicKey() string { return s.keys.VAPIDPublic }

// topic is the opaque name of a user's conversation: push services see it in clear. 32 characters of
// base64url are what RFC 8030 §5.4 lets a Topic have.
func (k *Keys) topic(user, conv string) string { return k.opaque("topic", user, conv)[:32] }

// id is the opaque name of a notification.
func (k *Keys) id(user, conv string, seq uint64) string {
	return k.opaque("id", user, conv, strconv.FormatUint(seq, 10))[:22]
}

func (k *Keys) opaque(parts ...string) string {
	h := hmac.New(sha256.New, k.Secret)
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
