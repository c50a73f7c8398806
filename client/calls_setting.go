package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// SettingCalls are the calls about the user's private settings, which follow them to all devices: see [Caller]. Each
// change is an event of kind setting in the user's own log. At most 500 settings.
type SettingCalls struct{ Via Caller }

// Setting is a private setting.
type Setting struct {
	Name string `json:"name"` // the caller's choice; about a conversation "draft" or "conv" (mute, archived, pinned)
	Conv string `json:"conv,omitempty"`
	// Value is what is set; null: nothing.
	Value SettingValue `json:"value"`
	At    Millis       `json:"at"` // when it was changed; 0: never
}

// SettingValue is the value of a setting, whatever it is.
type SettingValue struct {
	raw  []byte // nil: null
	json bool   // the encoding of raw; CBOR otherwise
}

// Null reports whether there is no value.
func (v SettingValue) Null() bool {
	return len(v.raw) == 0 || v.json && string(v.raw) == "null" || !v.json && len(v.raw) == 1 && v.raw[0] == cborNull
}

const cborNull = 0xf6 // RFC 8949 §3.3

// Decode reads the value into what into points to. Into an any, an object becomes a map[string]any.
func (v SettingValue) Decode(into any) error {
	if v.json {
		return json.Unmarshal(v.raw, into)
	}
	if v.Null() {
		return cbor.Unmarshal([]byte{cborNull}, into)
	}
	mode, err := cbor.DecOptions{DefaultMapType: reflect.TypeFor[map[string]any]()}.DecMode()
	if err != nil {
		return err
	}
	return mode.Unmarshal(v.raw, into)
}

// MarshalJSON implements json.Marshaler. A value with keys that are no text has no JSON.
func (v SettingValue) MarshalJSON() ([]byte, error) {
	if v.json && len(v.raw) > 0 {
		return v.raw, nil
	}
	var a any
	if err := v.Decode(&a); err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *SettingValue) UnmarshalJSON(b []byte) error {
	*v = SettingValue{bytes.Clone(b), true}
	return nil
}

// MarshalCBOR implements cbor.Marshaler.
func (v SettingValue) MarshalCBOR() ([]byte, error) {
	if !v.json && len(v.raw) > 0 {
		return v.raw, nil
	}
	var a any
	if len(v.raw) > 0 {
		if err := json.Unmarshal(v.raw, &a); err != nil {
			return nil, err
		}
	}
	return cbor.Marshal(a)
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (v *SettingValue) UnmarshalCBOR(b []byte) error {
	*v = SettingValue{bytes.Clone(b), false}
	return nil
}

// String is the value as JSON, for people.
func (v SettingValue) String() string {
	b, err := v.MarshalJSON()
	if err != nil {
		return fmt.Sprintf("(%d bytes)", len(v.raw))
	}
	return string(b)
}

type wireSettingSet struct {
	Name  string  `json:"name"`
	Value any     `json:"value"`
	If    *Millis `json:"if,omitempty"`
}

// Set sets a setting; name is 1 to 64 of a-z, 0-9, '.', '_' and '-', value anything that encodes to at most 4 KiB (too-large);
// nil takes it away. The later of two devices wins.
func (s SettingCalls) Set(ctx context.Context, name string, value any) (Setting, error) {
	return call[Setting](ctx, s.Via, "setting.set", wireSettingSet{Name: name, Value: value})
}

// SetIf is Set, refused conflict if what is set is not the value of seen, a [Setting.At]; 0: if there is one.
func (s SettingCalls) SetIf(ctx context.Context, name string, value any, seen Millis) (Setting, error) {
	return call[Setting](ctx, s.Via, "setting.set", wireSettingSet{name, value, &seen})
}

// Get returns a setting. That there is none is no error: its value is null.
func (s SettingCalls) Get(ctx context.Context, name string) (Setting, error) {
	return s.get(ctx, name, "")
}

type wireSettingGet struct {
	Name string `json:"name"`
	Conv string `json:"conv,omitempty"`
}

func (s SettingCalls) get(ctx context.Context, name, conv string) (Setting, error) {
	return call[Setting](ctx, s.Via, "setting.get", wireSettingGet{name, conv})
}

// List goes through all settings, those about conversations too.
func (s SettingCalls) List(ctx context.Context) iter.Seq2[Setting, error] {
	return each(ctx, s.ListPage)
}

// ListPage is one page of [SettingCalls.List]: 100, at most 500.
func (s SettingCalls) ListPage(ctx context.Context, o ListOptions) (PageOf[Setting], error) {
	type list struct {
		Settings []Setting `json:"settings"`
		After    string    `json:"after"`
		More     bool      `json:"more"`
	}
	reply, err := call[list](ctx, s.Via, "setting.list", o.wire())
	return paged(reply.Settings, reply.More, reply.After), err
}
