package storage

import "crypto/sha256"

// AuditHead is the record of the newest audit entry (SpaceMeta "audit"). It outlives the entry, so that
// the chain goes on where retention has taken all of it away, and shows when the end was cut off.
type AuditHead struct {
	Millis uint64 `cbor:"1,keyasint"` // of the entry's key
	Number uint64 `cbor:"2,keyasint"` // of the entry's key: one more than of the entry before
	Hash   []byte `cbor:"3,keyasint"` // AuditHash of the entry
}

// AuditHeadKey is where the AuditHead is.
func AuditHeadKey() Key { return In(SpaceMeta).Str("audit") }

// AuditKey is where the entry with that time and number is.
func AuditKey(ms, n uint64) Key { return In(SpaceAudit).U64(ms).U64(n) }

// AuditHash is what the entry after this one holds of it: the SHA-256 of its key and value.
func AuditHash(k Key, v []byte) []byte {
	h := sha256.New()
	h.Write(k)
	h.Write(v)
	return h.Sum(nil)
}
