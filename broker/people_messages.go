package broker

import (
	"context"

	"github.com/petrelchat/petrel/broker/rpc"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// messages is from whom users take direct messages who have not said it themselves.
func (s *Server) messages() chat.Messages {
	c := s.cfg.Load()
	if m, ok := chat.ParseMessages(c.People.Messages); ok {
		return m
	}
	if c.Dev {
		return chat.MessagesAnyone
	}
	return chat.MessagesRequests
}

// Blocked reports whether one of two users takes nothing from the other: no messages, no calls, no presence.
func (s *Server) Blocked(a, b string) (bool, error) { return storage.Blocked(s.store, a, b) }

// met tells two users what they see of each other, now that one has accepted what the other wrote. It may be
// called by the dispatcher.
func (s *Server) met(conv string) {
	a, b, ok := chat.Parties(conv)
	if !ok {
		return
	}
	if err := s.presence.Refresh(a, b); err != nil {
		s.log.Warn("two who met see each other's presence at its next change only", "conv", conv, "error", err)
	}
}

// exportUser gives the command line a page of all that a user is, has and said.
func (s *Server) exportUser(ctx context.Context, decode func(any) error) (any, error) {
	var req rpc.ExportRequest
	if err := decode(&req); err != nil {
		return nil, err
	}
	return s.rpc.Export(ctx, req)
}
