package rpc_test

import (
	"testing"
	"time"
)

type devices struct {
	Devices []device `json:"devices"`
}

type device struct {
	Device  string  `json:"device"`
	Online  bool    `json:"online"`
	Current bool    `json:"current"`
	Created int64   `json:"created"`
	Seen    int64   `json:"seen"`
	Expiry  *uint32 `json:"expiry"`
	Max     uint32  `json:"max"`
	Catchup uint32  `json:"catchup"`
}

func (s *server) devices(user string) map[string]device {
	s.t.Helper()
	var got devices
	s.ok(user, "device.list", ``, &got)
	m := map[string]device{}
	for _, d := range got.Devices {
		m[d.Device] = d
	}
	return m
}

func TestDevices(t *testing.T) {
	s := newServer(t)
	s.users("alice", "bob")
	_, phoneEnded := s.connect("alice", "phone", 3600)
	_, _ = s.connect("alice", "tab", 0)
	tablet, tabletEnded := s.connect("alice", "tablet", 60)
	_, bobEnded := s.connect("bob", "tablet", 60)
	s.advance(time.Second)
	tablet.Kick(0)
	<-tabletEnded
	s.advance(time.Second)

	got := s.devices("alice")
	if len(got) != 3 || !got["phone"].Online || !got["phone"].Current || got["phone"].Seen != epoch+2000 || *got["phone"].Expiry != 3600 ||
		!got["tab"].Online || got["tab"].Current || got["tablet"].Online || got["tablet"].Seen != epoch+1000 || got["tablet"].Created != epoch {
		t.Errorf("devices: %+v", got)
	}

	// Of a device that is away, of the own one, and of somebody else's.
	s.ok("alice", "device.update", `{"device":"tablet","catchup":20}`, nil)
	s.ok("alice", "device.update", `{"max":512}`, nil)
	s.ok("bob", "device.update", `{"device":"tablet","max":1024}`, nil)
	if got := s.devices("alice"); got["tablet"].Catchup != 20 || got["tablet"].Max != 0 || got["phone"].Max != 512 {
		t.Errorf("after the updates: %+v", got)
	}

	// Revoking ends a session on disk, and a live one with its connection; never somebody else's.
	s.ok("alice", "device.revoke", `{"device":"tablet"}`, nil)
	s.ok("alice", "device.revoke", `{"device":"tab"}`, nil)
	if got := s.devices("alice"); len(got) != 1 || !got["phone"].Online {
		t.Errorf("after revoking: %+v", got)
	}
	if r := s.call("alice", "device.revoke", `{"device":"tablet"}`); r.Error == nil {
		t.Error("revoked twice")
	}
	select {
	case <-bobEnded:
		t.Error("the device of another user was ended")
	default:
	}
	r := s.svc.Call(t.Context(), callerOn("bob", "laptop"), "device.revoke", []byte(`{"device":"tablet"}`), 0)
	if string(r) != `{"ok":{"device":"tablet"}}` {
		t.Errorf("revoking a live device: %s", r)
	}
	<-bobEnded // else the test hangs
	if got := s.devices("bob"); len(got) != 0 {
		t.Errorf("bob's devices: %+v", got)
	}

	// The settings of a device go with it to the disk.
	r = s.svc.Call(t.Context(), callerOn("alice", "laptop"), "device.update", []byte(`{"device":"phone","catchup":7}`), 0)
	s.registry.Sessions("alice")[0].Kick(0)
	<-phoneEnded
	if got := s.devices("alice")["phone"]; got.Catchup != 7 || got.Max != 512 || got.Online {
		t.Errorf("after the connection: %+v (%s)", got, r)
	}
	// What has expired is not listed.
	s.advance(time.Hour)
	if got := s.devices("alice"); len(got) != 0 {
		t.Errorf("after an hour: %+v", got)
	}
}

// Also a device that comes back while it is being revoked finds nothing of its old session afterwards.
func TestRevokeAgainstReconnect(t *testing.T) {
	s := newServer(t)
	s.users("alice")
	for i := range 5 {
		first, ended := s.connect("alice", "tablet", 3600)
		old := first.SID
		done := make(chan struct{})
		go func() {
			defer close(done)
			<-ended
			s.connect("alice", "tablet", 3600)
		}()
		s.ok("alice", "device.revoke", `{"device":"tablet"}`, nil)
		<-done
		if back, _ := s.connect("alice", "tablet", 3600); back.SID == old {
			t.Fatalf("round %d: the session outlived its revocation", i)
		}
	}
}
