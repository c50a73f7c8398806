package notify

import (
	"errors"
	"time"

	"github.com/petrelchat/petrel/chat"
)

// testEvery is how often a user may have notifications tested: anybody's server may be named as an endpoint.
const testEvery = 10 * time.Second

// Test sends a notification to one of the user's registrations at once, and returns what came of it: nil, or a
// *chat.Refusal that says what the push service did. A registration that the service does not know is removed.
func (s *Service) Test(user, name string) error {
	all, err := s.Registrations(user)
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].Name == name {
			return s.test(&all[i])
		}
	}
	return errNoRegistration()
}

func errNoRegistration() error {
	return chat.Refuse(chat.NotFound, "you have no registration of that name: see push.list")
}

func (s *Service) test(r *Registration) error {
	now := s.o.Now()
	s.subs.mu.Lock()
	last, again := s.subs.tests[r.User]
	if again = again && now.Sub(last) < testEvery; !again {
		for user, at := range s.subs.tests {
			if now.Sub(at) >= testEvery {
				delete(s.subs.tests, user)
			}
		}
		s.subs.tests[r.User] = now
	}
	s.subs.mu.Unlock()
	if again {
		return chat.Refuse(chat.RateLimited, "one test every %d seconds: try again later", int(testEvery/time.Second))
	}
	err := s.send(r, &Notification{
		ID: s.keys.testID(r, now.UnixMilli()), Topic: s.keys.topic(r.User, ""), About: AboutTest,
		Body: phrasesOf(r.Lang).test, At: now.UnixMilli(), Private: r.Private, Urgent: true, TTL: time.Minute,
	})
	kind := KindIndex(r.Kind)
	var later *Later
	switch {
	case err == nil:
		s.Stats.Sent[kind].Add(1)
		return nil
	case errors.Is(err, ErrGone):
		s.Stats.Removed.Add(1)
		if _, err := s.remove(r.User, r.Name, r.Created); err != nil {
			return err
		}
		return chat.Refuse(chat.NotFound, "the push service does not know this registration any more, and it was removed: register again")
	}
	s.Stats.Failed[kind].Add(1)
	s.o.Log.Warn("a notification was refused", "user", r.User, "kind", r.Kind, "error", err)
	if errors.As(err, &later) {
		return chat.Refuse(chat.Unavailable, "the push service could not be reached or is busy; notifications will be tried again")
	}
	return chat.Refuse(chat.BadRequest, "the push service refused the notification: check the registration's endpoint, token and keys")
}
