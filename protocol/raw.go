package protocol

// Raw is a value in deterministic CBOR, as a parameter or in a reply: it marshals as what it is, in JSON and in
// CBOR. An empty one is null.
type Raw []byte

// MarshalJSON implements json.Marshaler.
func (r Raw) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return appendJSONOf(nil, r), nil
}

// MarshalCBOR implements cbor.Marshaler.
func (r Raw) MarshalCBOR() ([]byte, error) {
	if len(r) == 0 {
		return []byte{cborNull}, nil
	}
	return r, nil
}

// UnmarshalCBOR implements cbor.Unmarshaler. Parameters are in deterministic CBOR whatever the request was.
func (r *Raw) UnmarshalCBOR(b []byte) error {
	*r = append(Raw(nil), b...)
	return nil
}

// Null reports whether there is no value.
func (r Raw) Null() bool { return len(r) == 0 || len(r) == 1 && r[0] == cborNull }
