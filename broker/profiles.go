package broker

import (
	"context"

	"github.com/petrelchat/petrel/broker/presence"
	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// profiles lets requests see and change what presence keeps.
type profiles struct {
	p       *presence.Presence
	readers *readers
	stopped <-chan struct{} // closed when nothing is stored any more
}

func (p profiles) Profile(user string) (storage.Profile, error) { return p.p.Profile(user) }

func (p profiles) UpdateProfile(user string, change func(*storage.Profile)) error {
	done := make(chan error, 1)
	noting := func(r *storage.Profile) { // in the order of the changes
		change(r)
		p.readers.set(user, r.NoRead)
	}
	p.p.UpdateProfile(user, noting, func(err error) {
		if err != nil { // it is as it was
			if r, rerr := p.p.Profile(user); rerr == nil {
				p.readers.set(user, r.NoRead)
			}
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-p.stopped:
		return chat.Refuse(chat.Unavailable, "the server is stopping; try again when it is back")
	}
}

func (p profiles) Seen(viewer, user string) (protocol.Presence, bool) {
	if may, err := p.p.MaySee(viewer, user); err != nil || !may {
		return protocol.Presence{}, false
	}
	pr, err := p.p.Current(viewer, user)
	return pr, err == nil
}

// HidesReads implements rpc.Profiles.
func (p profiles) HidesReads(user string) bool { return p.readers.hides(user) }

func (p profiles) Refresh(a, b string) error { return p.p.Refresh(a, b) }

var _ rpc.Profiles = profiles{}

func (s *Server) newRPC() *rpc.Service {
	return rpc.New(rpc.Options{
		Hub: s.hub, Store: s.store, Barrier: s.pipeline.Barrier, Accounts: s.auth, Profiles: profiles{s.presence, s.readers, s.pipeline.Stopped()},
		Devices: s.registry, Erase: s.eraseUser, Admin: s.admin, Now: func() int64 { return s.now().UnixMilli() }, Log: s.log,
		Webhooks: s.webhooks, Bots: s.auth, Search: s.searcher(),
		Push:      s.notify,
		Calls:     s.calls.asked(),
		ICE:       s.ice(),
		Runs:      s.runs,
		PublicURL: func() string { return s.cfg.Load().PublicURL },
	})
}

// Call carries out a request of a user's, as rpc/{method} does. After Run it answers an error.
func (s *Server) Call(ctx context.Context, user string, method string, payload []byte) []byte {
	release, err := s.use()
	if err != nil {
		req, _ := protocol.ParseRequest(method, payload) // for its encoding and tag; the method is refused anyway
		return protocol.AppendReply(nil, req.CBOR, req.Tag, nil, err)
	}
	defer release()
	return s.rpc.Call(ctx, rpc.Caller{User: user}, method, payload, 0)
}
