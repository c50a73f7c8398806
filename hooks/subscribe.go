package hooks

import (
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/petrelchat/petrel/broker/delivery"
	"github.com/petrelchat/petrel/broker/hub"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/protocol"
	"github.com/petrelchat/petrel/storage"
)

// start is where a SUBSCRIBE asks its subscriptions to start (PROTOCOL: delivery 3).
type start struct {
	from    int64
	hasFrom bool
	seek    bool
	meta    byte
}

func parseStart(props []packets.UserProperty) (st start, err error) {
	for _, u := range props {
		switch u.Key {
		case "from", "seek":
			st.from, err = strconv.ParseInt(u.Val, 10, 64)
			if err != nil || st.from == 0 {
				return st, chat.Refuse(chat.BadRequest, "user property %s is a seq, or -N for the last N events", u.Key)
			}
			st.hasFrom = true
			st.seek = u.Key == "seek"
		case "meta":
			if st.meta, err = delivery.ParseMeta(u.Val); err != nil {
				return st, err
			}
		}
	}
	return st, nil
}

// subscribe carries out a SUBSCRIBE. SUBACK follows the sync.
func (c *conn) subscribe(pk *packets.Packet) error {
	if len(pk.Properties.User) > c.a.set().UserProperties {
		return packets.ErrQuotaExceeded
	}
	leave := sync.OnceFunc(c.a.gate.enter()) // the turn is over before what goes at the client's pace
	defer leave()
	c.a.hooks.OnSubscribe(c.cl, *pk)
	st, err := parseStart(pk.Properties.User)
	codes := make([]byte, len(pk.Filters))
	why := error(nil)
	var list []delivery.Subscribe
	var at []int
	room := c.room()
	for i := range pk.Filters {
		w, refusal := delivery.Subscribe{}, err
		if refusal == nil {
			w, refusal = c.wanted(&pk.Filters[i], &st, &room)
		}
		if refusal != nil {
			codes[i] = protocol.SubackCode(refusal, c.v5)
			if refusal == errDenied {
				codes[i] = packets.ErrUnspecifiedError.Code
			}
			why = refusal
			if !c.v5 {
				c.s.ErrorLine(refusal, pk.Filters[i].Filter, pk.PacketID, "")
			}
			continue
		}
		list, at = append(list, w), append(at, i)
	}
	granted, err := c.s.Subscribe(list)
	leave()
	if err != nil {
		for _, i := range at {
			codes[i] = protocol.SubackCode(err, c.v5)
		}
		granted, why = nil, err
	}
	for j, g := range granted {
		codes[at[j]] = g.QoS
	}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: pk.PacketID, ReasonCodes: codes}
	if why != nil && c.v5 && c.problems {
		ack.Properties.ReasonString = protocol.ReasonString(why)
	}
	if err := c.cl.WritePacket(ack); err != nil {
		return err
	}
	c.a.hooks.OnSubscribed(c.cl, *pk, codes)
	for j, g := range granted {
		if err := c.greet(&list[j], g); err != nil {
			return err
		}
	}
	c.s.ReadOn()
	if slices.ContainsFunc(list[:len(granted)], func(w delivery.Subscribe) bool { return w.Filter.Kind == protocol.FilterCalls }) {
		aside(c.hears)
	}
	return nil
}

// errDenied is answered with 0x80, the one code of both protocol versions: the filter is closed to
// everybody, whatever they are authorized for.
var errDenied error = chat.Refuse(chat.NotAuthorized, "subscribing to this filter is not allowed here")

// wanted checks one filter of a SUBSCRIBE. room counts how many new ones there may still be.
func (c *conn) wanted(f *packets.Subscription, st *start, room *int) (w delivery.Subscribe, err error) {
	w.Filter, err = protocol.ParseFilter(f.Filter, c.id.User)
	if err != nil {
		return w, err
	}
	if err := c.levels(f.Filter); err != nil {
		return w, err
	}
	fresh := !c.s.Has(f.Filter)
	switch {
	case slices.Contains(c.a.set().DenyFilters, f.Filter):
		return w, errDenied
	case fresh && *room <= 0:
		return w, chat.Refuse(chat.TooLarge, "a session has at most %d subscriptions here", c.a.set().Subscriptions)
	}
	w.Sub = storage.Sub{Filter: f.Filter, Options: options(f), ID: uint32(f.Identifier), Meta: st.meta}
	w.From, w.HasFrom, w.Seek = st.from, st.hasFrom, st.seek
	if err = c.mayRead(&w); err == nil && fresh {
		*room--
	}
	return w, err
}

// room is how many more subscriptions the session may have.
func (c *conn) room() int {
	if most := c.a.set().Subscriptions; most > 0 {
		return most - c.s.Subscriptions()
	}
	return math.MaxInt
}

func options(f *packets.Subscription) byte {
	o := f.Qos | f.RetainHandling<<4
	if f.NoLocal {
		o |= 0x04
	}
	if f.RetainAsPublished {
		o |= 0x08
	}
	return o
}

// mayRead checks that the user may read what a filter names, and from where on.
func (c *conn) mayRead(w *delivery.Subscribe) error {
	f := &w.Filter
	if err := c.inScope(f); err != nil {
		return err
	}
	if f.Kind == protocol.FilterPlain {
		if !c.rules().AllowFilter(f.Filter) {
			return chat.Refuse(chat.NotAuthorized, "you may not subscribe to this filter")
		}
		return nil
	}
	switch f.Kind {
	case protocol.FilterSys:
		if !c.id.Admin {
			return chat.Refuse(chat.NotAuthorized, "$SYS is for administrators")
		}
		return nil
	case protocol.FilterCall, protocol.FilterCalls:
		if c.a.o.Calls == nil {
			return errNoCalls
		}
		if f.Kind == protocol.FilterCall && !f.All {
			return c.mayReadConv(w)
		}
	case protocol.FilterPresence:
		if !f.All {
			ok, err := c.a.o.Presence.MaySee(c.id.User, f.User)
			if err == nil && !ok {
				err = chat.Refuse(chat.NotAuthorized, "no such user, or not for you to see")
			}
			return err
		}
	case protocol.FilterEvents, protocol.FilterTyping, protocol.FilterReceipts, protocol.FilterInfo:
		if !f.All {
			return c.mayReadConv(w)
		}
		if w.HasFrom && w.From > 0 {
			return chat.Refuse(chat.BadRequest, "a seq belongs to one conversation; with + use -N for the last N events")
		}
	}
	return nil
}

// inScope checks a filter against the limits of the device token, if there is one (PROTOCOL: delivery 12).
func (c *conn) inScope(f *protocol.Filter) error {
	sc := c.id.Scope
	if sc == nil {
		return nil
	}
	switch f.Kind {
	case protocol.FilterEvents, protocol.FilterTyping, protocol.FilterInfo, protocol.FilterCall:
		if !sc.Read || !f.All && !sc.MayRead(f.Conv) {
			return chat.NoSuchConversation()
		}
	case protocol.FilterPlain:
		if !sc.Read || sc.Convs != nil {
			return chat.Refuse(chat.NotAuthorized, "a device token reads conversations only")
		}
	case protocol.FilterErrors:
	case protocol.FilterCalls: // it hears of calls where it may read
		if !sc.Read {
			return chat.Refuse(chat.NotAuthorized, "this device's token does not allow reading")
		}
	default:
		return chat.Refuse(chat.NotAuthorized, "a device token reads conversations only")
	}
	return nil
}

// mayResume says whether a device with a token may go on with a session that has a filter: else the
// client id of another device of the user would open what the token does not.
func (c *conn) mayResume(f *protocol.Filter) bool { return c.inScope(f) == nil }

// mayReadConv checks a filter that names one conversation.
func (c *conn) mayReadConv(w *delivery.Subscribe) error {
	conv, me := w.Filter.Conv, c.id.User
	m, known, err := c.a.membership(conv, me)
	if err != nil {
		return err
	}
	if known && m.Role != chat.RoleNone {
		w.Start = m.Since
		return nil
	}
	if a, b, ok := chat.Parties(conv); ok { // its first message is still to come
		if (a == me || b == me) && c.a.o.Auth.Exists(a) && c.a.o.Auth.Exists(b) {
			w.Start = 1
			return nil
		}
		return chat.NoSuchConversation()
	}
	set := c.a.set()
	if set.Dev && conv == set.General {
		res := c.a.o.Hub.Do(&hub.Request{Conv: conv, Cmd: chat.Command{Op: chat.OpJoin, Actor: me}})
		if res.Err == nil {
			w.Start = 1
		}
		return res.Err
	}
	return chat.NoSuchConversation()
}

// greet sends what a new subscription finds: retained messages, and the state of live views.
func (c *conn) greet(w *delivery.Subscribe, g delivery.Granted) error {
	handling := w.Sub.Options >> 4 & 3
	silent := handling == 2 || handling == 1 && !g.New // [MQTT-3.3.1-10], [MQTT-3.3.1-11]
	switch w.Filter.Kind {
	case protocol.FilterPlain:
		return c.s.Retained(*w, g)
	case protocol.FilterSys:
		c.sysStart(w)
	case protocol.FilterPresence:
		if silent {
			return nil
		}
		return c.a.o.Presence.SendCurrent(c.id.User, w.Filter.User, func(subject string, payload []byte) {
			c.s.Live(protocol.FilterPresence, subject, protocol.PresenceTopic(subject), payload, nil, true)
		})
	case protocol.FilterInfo:
		if silent {
			return nil
		}
		return c.infos(w.Filter.Conv)
	case protocol.FilterCall:
		if silent {
			return nil
		}
		return c.rosters(w.Filter.Conv, true)
	}
	return nil
}

// infos sends the settings of a conversation, or of all ("").
func (c *conn) infos(conv string) error {
	convs := []string{conv}
	if conv == "" {
		convs = convs[:0]
		prefix := storage.In(storage.SpaceMembership).Str(c.id.User)
		err := c.a.o.Store.Scan(prefix, nil, func(k storage.Key, v []byte) bool {
			name, _, _ := storage.TakeStr(k[len(prefix):])
			if m, err := storage.DecodeMember(v); err == nil && m.Role != chat.RoleNone && c.id.Scope.MayRead(name) {
				convs = append(convs, name)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	for _, name := range convs {
		payload, ok, err := c.a.o.RPC.InfoPayload(c.id.User, name)
		if err != nil {
			return err
		}
		if ok {
			c.s.Live(protocol.FilterInfo, name, protocol.InfoTopic(name), payload, nil, true)
		}
	}
	return nil
}

// unsubscribe carries out an UNSUBSCRIBE.
func (c *conn) unsubscribe(pk *packets.Packet) error {
	if len(pk.Properties.User) > c.a.set().UserProperties {
		return packets.ErrQuotaExceeded
	}
	*pk = c.a.hooks.OnUnsubscribe(c.cl, *pk)
	filters := make([]string, len(pk.Filters))
	for i := range pk.Filters {
		filters[i] = pk.Filters[i].Filter
	}
	had, err := c.s.Unsubscribe(filters)
	if err != nil {
		return err
	}
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: pk.PacketID}
	for i, ok := range had {
		code := packets.CodeNoSubscriptionExisted.Code
		if ok {
			code = 0
		}
		ack.ReasonCodes = append(ack.ReasonCodes, code)
		if ok && c.sys {
			c.a.o.Server.Topics.Unsubscribe(filters[i], c.cl.ID)
		}
	}
	c.a.hooks.OnUnsubscribed(c.cl, *pk)
	if c.heard && !c.hearsCalls() {
		aside(c.deaf)
	}
	return c.cl.WritePacket(ack)
}

// sysStart lets an administrator's connection read $SYS, which the library keeps. Its writer goroutine
// runs for these connections only.
func (c *conn) sysStart(w *delivery.Subscribe) {
	if !c.sys {
		c.sys = true
		c.a.o.Server.Clients.Add(c.cl)
		go c.cl.WriteLoop() // ends with cl.Stop
	}
	filter := w.Filter.Filter
	c.a.o.Server.Topics.Subscribe(c.cl.ID, packets.Subscription{Filter: filter})
	for _, m := range c.a.o.Server.Topics.Messages(filter) {
		m.FixedHeader.Qos, m.FixedHeader.Retain = 0, true
		_ = c.cl.WritePacket(m) // a connection that ended is noticed by its reader
	}
}
