package protocol

import "strings"

// FilterKind says what a subscription asks for.
type FilterKind uint8

// What can be subscribed to.
const (
	FilterEvents    FilterKind = iota + 1 // c/{conv}/text/+, c/{conv}/json, c/{conv}/cbor
	FilterTyping                          // c/{conv}/typing/+
	FilterReceipts                        // c/{conv}/receipts
	FilterInfo                            // c/{conv}/info
	FilterCall                            // c/{conv}/call
	FilterPresence                        // u/{user}/presence
	FilterOwnEvents                       // u/{me}/events
	FilterErrors                          // u/{me}/errors
	FilterRPC                             // u/{me}/rpc, u/{me}/rpc/+, u/{me}/rpc/{name}
	FilterCalls                           // u/{me}/calls, u/{me}/calls/+, u/{me}/calls/{party}
	FilterPlain                           // ordinary MQTT
	FilterSys                             // $SYS/…
)

// Filter is what a client means by subscribing to a topic filter.
type Filter struct {
	Kind   FilterKind
	Conv   string // the conversation; "" when All
	All    bool   // + stands for the conversation (every one that the user is a member of) or, for FilterPresence, for the user
	View   View   // FilterEvents
	User   string // FilterPresence: whose; "" when All
	Share  string // the name of the shared subscription, "" for an ordinary one
	Filter string // as subscribed, without $share/{name}/
	RPCSub bool   // FilterRPC, FilterCalls: there is a level after rpc or calls
}

// ParseFilter resolves what a client means by subscribing to filter; me is its user, "" for a guest.
// In c/ and u/ a filter names its first level and ends in a named view; # is refused there, and a
// filter that begins with a wildcard means plain topics only. Errors are *chat.Refusal.
func ParseFilter(filter, me string) (Filter, error) {
	if err := ValidFilter(filter); err != nil {
		return Filter{}, err
	}
	f := Filter{Kind: FilterPlain, Filter: filter}
	if shared, ok := strings.CutPrefix(filter, "$share/"); ok {
		f.Share, f.Filter, _ = strings.Cut(shared, "/")
	}
	space := SpaceOf(f.Filter)
	switch {
	case space == SpacePlain:
		return f, nil
	case me == "":
		return Filter{}, errGuest
	}
	first, rest, more := strings.Cut(f.Filter, "/")
	var err error
	switch space {
	case SpaceConv:
		err = f.conv(rest, me)
	case SpaceUser:
		err = f.user(rest, me)
	case SpaceCall:
		err = errCallFilter
	case SpaceRPC:
		err = errRPCFilter
	case SpaceSys:
		if f.Kind = FilterSys; first != "$SYS" || !more {
			err = errSysFilter
		}
	}
	if err == nil && f.Share != "" && f.Kind != FilterEvents {
		err = errShareKind
	}
	if err != nil {
		return Filter{}, err
	}
	return f, nil
}

// conv resolves what stands after "c/".
func (f *Filter) conv(rest, me string) error {
	conv, leaf, ok := strings.Cut(rest, "/")
	if !ok || conv == "#" {
		return errConvFilter
	}
	if conv == "+" {
		f.All = true
	} else if err := convFor(conv, me); err != nil {
		return err
	} else {
		f.Conv = conv
	}
	switch leaf {
	case "text/+":
		f.Kind, f.View = FilterEvents, ViewText
	case "json":
		f.Kind, f.View = FilterEvents, ViewJSON
	case "cbor":
		f.Kind, f.View = FilterEvents, ViewCBOR
	case "typing/+":
		f.Kind = FilterTyping
	case "receipts":
		f.Kind = FilterReceipts
	case "info":
		f.Kind = FilterInfo
	case "call":
		f.Kind = FilterCall
	default:
		return errConvFilter
	}
	return nil
}

// user resolves what stands after "u/".
func (f *Filter) user(rest, me string) error {
	user, leaf, ok := strings.Cut(rest, "/")
	if !ok {
		return errUserFilter
	}
	if leaf == "presence" {
		f.Kind = FilterPresence
		if user == "+" {
			f.All = true
			return nil
		}
		if f.User = user; !ValidUser(user) {
			return errUserID
		}
		return nil
	}
	head, sub, deeper := strings.Cut(leaf, "/")
	if deeper && (sub == "" || sub == "#" || strings.Contains(sub, "/")) {
		return errUserFilter
	}
	switch {
	case leaf == "events":
		f.Kind = FilterOwnEvents
	case leaf == "errors":
		f.Kind = FilterErrors
	case head == "rpc":
		f.Kind, f.RPCSub = FilterRPC, deeper
	case head == "calls" && (!deeper || sub == "+" || ValidParty(sub)):
		f.Kind, f.RPCSub = FilterCalls, deeper
	default:
		return errUserFilter
	}
	switch {
	case user == me:
		return nil
	case user == "+":
		return errUserFilter // one's own topics are named, not guessed
	case !ValidUser(user):
		return errUserID
	}
	return errForeign
}

// ValidResponseTopic reports whether topic may be the Response Topic of a request by me: u/{me}/rpc,
// or one level below it.
func ValidResponseTopic(topic, me string) bool {
	rest, ok := strings.CutPrefix(topic, "u/")
	if !ok || me == "" || ValidTopic(topic) != nil {
		return false
	}
	rest, ok = strings.CutPrefix(rest, me)
	if !ok {
		return false
	}
	sub, deeper := strings.CutPrefix(rest, "/rpc/")
	return rest == "/rpc" || deeper && sub != "" && strings.IndexByte(sub, '/') < 0
}
