package link

import (
	"errors"
	"fmt"
)

// outAliases gives out topic aliases for what we send, §3.3.2.3.4: those that were not used for the longest
// time are given anew. The zero value gives none.
type outAliases struct {
	most  uint16
	of    map[string]*aliasEntry
	first *aliasEntry // most recently used
	last  *aliasEntry
}

type aliasEntry struct {
	topic      string
	alias      uint16
	prev, next *aliasEntry
}

// aliasWorth is the shortest topic for which an alias saves anything: its property takes three bytes.
const aliasWorth = 4

// take returns the alias of topic, 0 for none, and whether the server knows it already; if not, the topic
// must be sent along. What take returned must be sent.
func (a *outAliases) take(topic string) (alias uint16, known bool) {
	if a.most == 0 || len(topic) < aliasWorth {
		return 0, false
	}
	e := a.of[topic]
	switch {
	case e != nil:
		known = true
		a.unlink(e)
	case len(a.of) < int(a.most):
		e = &aliasEntry{topic: topic, alias: uint16(len(a.of) + 1)}
	default:
		e = a.last
		a.unlink(e)
		delete(a.of, e.topic)
		e.topic = topic
	}
	if a.of == nil {
		a.of = make(map[string]*aliasEntry)
	}
	a.of[topic] = e
	e.next, a.first = a.first, e
	if e.next != nil {
		e.next.prev = e
	} else {
		a.last = e
	}
	return e.alias, known
}

func (a *outAliases) unlink(e *aliasEntry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		a.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		a.last = e.prev
	}
	e.prev, e.next = nil, nil
}

// inAliases are the topics that the server gave aliases.
type inAliases []string

// resolve returns the topic of a PUBLISH, and remembers it if it comes with an alias.
func (a inAliases) resolve(topic string, alias *uint16) (string, error) {
	switch {
	case alias == nil && topic == "":
		return "", errors.New("the server sent a message without a topic") // [MQTT-4.7.3-1]
	case alias == nil:
		return topic, nil
	case *alias == 0 || int(*alias) > len(a): // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
		return "", fmt.Errorf("the server used topic alias %d of %d", *alias, len(a))
	case topic != "":
		a[*alias-1] = topic
		return topic, nil
	case a[*alias-1] == "":
		return "", fmt.Errorf("the server used topic alias %d before giving it a topic", *alias)
	}
	return a[*alias-1], nil
}
