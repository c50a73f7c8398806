package chat

// Kind says what an event is. The numbers are the CBOR wire values and the stored ones: never renumber.
type Kind uint8

// The kinds of events. Those from KindCreate on are set by the server only.
const (
	KindPost    Kind = 1 // a message; the kind of an event that names none
	KindEdit    Kind = 2 // new text for the event Re
	KindDelete  Kind = 3 // the event Re is withdrawn
	KindReact   Kind = 4 // Emoji put on the event Re
	KindUnreact Kind = 5 // Emoji taken from the event Re
	KindPin     Kind = 6
	KindUnpin   Kind = 7

	KindCreate Kind = 16 // the group came into being: Info has its settings, Member its owner
	KindInfo   Kind = 17 // settings changed: Info has the changed ones
	KindJoin   Kind = 18 // Member.User came by themselves
	KindAdd    Kind = 19 // Member.User was added by Member.By
	KindLeave  Kind = 20 // Member.User left by themselves
	KindRemove Kind = 21 // Member.User was removed by Member.By
	KindRole   Kind = 22 // Member.User has Member.Role now
	KindEnd    Kind = 23 // the group was deleted; nothing follows
	KindCall   Kind = 24 // a call that ended: ID is the call's, Ext has who, how long and how it ended
	KindBan    Kind = 25 // Member.User may not come back before Member.Until; it ends their membership: Member.Role is what they were, RoleNone if no member
	KindUnban  Kind = 26 // Member.User may be a member again
	KindMute   Kind = 27 // Member.User may not post before Member.Until; 0: may again

	KindGone  Kind = 30 // stub in a view: the event is there, but not (any more) for this reader
	KindLarge Kind = 31 // stub in a view: the event exceeds what this client takes

	// Kinds of a user's own log (u/{me}/events).
	KindAdded   Kind = 40 // Conv: you are a member now
	KindRemoved Kind = 41 // Conv: you are a member no longer
	KindDevice  Kind = 42 // a new device of yours connected: Text has its client id
	KindEnded   Kind = 43 // Conv: the group was deleted

	KindRequested Kind = 44 // Conv: Member.User asks to join (to who may add), or wants to write to you (Text: their words)
	KindDenied    Kind = 45 // Conv: your request to join was denied
	KindContact   Kind = 46 // Member.User: your contact's state is Text now
	KindSetting   Kind = 47 // a private setting of yours changed: Ext has its name and value; Conv if it is about one
	KindHidden    Kind = 48 // Conv, Re: you deleted that event for yourself
	KindReport    Kind = 49 // Conv, Re: Member.User reported it (to moderators)
	KindHook      Kind = 51 // Conv: a webhook of yours was switched off; Text says which and why
	KindRing      Kind = 52 // Conv: From calls you there: Ext has the call and until when it rings
)

// Role orders what a member may do. Zero is no member.
type Role uint8

// Roles, each with all rights of the lower ones.
const (
	RoleNone      Role = 0
	RoleMember    Role = 1
	RoleModerator Role = 2
	RoleAdmin     Role = 3
	RoleOwner     Role = 4
)

// Event is one entry of a log. Fields that a reader may not change are owned by the log once appended:
// an Event is immutable after Decide returned it.
type Event struct {
	Seq      uint64
	From     string // user id of the sender
	At       int64  // ms since 1970 UTC, by the server's clock
	Kind     Kind
	ID       string // the sender's idempotency key; at most 64 bytes
	Text     string
	Re       uint64
	Thread   uint64
	Emoji    string
	Mentions []string
	Expire   uint64 // seconds after At when the event disappears; 0: never
	Media    []byte // CBOR array of attachments, opaque here
	Enc      []byte // end-to-end ciphertext, opaque everywhere in the server
	Member   *MemberChange
	Info     *InfoChange
	Ext      []byte // CBOR map, opaque
	Extra    []byte // CBOR map of the keys that this version does not know; kept, not refused
	Conv     string // in a user's own log only: the conversation that this is about
	Fwd      *Forward
}

// Due returns when the event disappears, in ms since 1970 UTC; 0: never.
func (e *Event) Due() int64 {
	if e.Expire == 0 {
		return 0
	}
	return e.At + int64(min(e.Expire, maxExpire))*1000
}

// Expired reports whether the event's time is over at now, whether or not it has been taken away yet.
func (e *Event) Expired(now int64) bool { return e.Expire != 0 && e.Due() <= now }

// Forward says where a forwarded post comes from. The server sets it; it is empty but there if the
// conversation that the post comes from does not tell.
type Forward struct {
	Conv string
	Seq  uint64
	From string
	At   int64 // ms since 1970
}

// MemberChange is what a membership event says.
type MemberChange struct {
	User  string
	Role  Role
	By    string
	Until int64 // KindBan, KindMute: ms since 1970; of a ban 0 means for good
}

// InfoChange holds the settings that an event changes; nil means unchanged.
type InfoChange struct {
	Title, About, Visibility, Join, History *string
	Limit                                   *uint32
	Forward                                 *string
	Expire, Withdraw                        *uint32
	Perms                                   *Perms // RoleNone: unchanged
}

// Info is the settings of a group.
type Info struct {
	Title, About string
	Visibility   string // "private" or "public"
	Join         string // "invite", "request" or "open"
	History      string // "all" or "joined": from where on a new member may read
	Limit        uint32 // most members; 0: the server's limit
	Created      int64  // ms since 1970
	By           string // who created it
	Forward      string // what a post tells that was forwarded from here: ForwardOrigin or ForwardHidden
	Expire       uint32 // seconds after which a post disappears that says nothing else; 0: never
	Withdraw     uint32 // seconds within which authors delete their posts for everyone; 0: always
	Perms        Perms  // RoleNone: the default
}

// Member is one user's part in a conversation. A former member stays on record with Role RoleNone, so
// that the log up to Left can still be delivered to sessions that were away.
type Member struct {
	Role   Role
	Since  uint64 // first seq that the member may see
	Joined uint64 // seq of the event that made the user a member (1 in a direct conversation)
	Left   uint64 // seq of the event that ended the membership; 0 while it lasts
	Muted  int64  // ms since 1970 before which the member may not post
	Banned int64  // ms since 1970 before which the user may not come back; BannedForGood
	Flags  MemberFlags
}

// MemberFlags are further marks of a member's record.
type MemberFlags uint8

// The flags, of direct conversations.
const (
	FlagPending  MemberFlags = 1 << iota // what the other wrote waits as a request: Role is RoleNone until it is accepted
	FlagDeclined                         // the request was declined
	FlagBlocks                           // this user takes nothing from the other
	FlagBlocked                          // the other takes nothing from this user
	FlagWaiting                          // what this user wrote waits for the other to accept it
	FlagAccepted                         // this user came by accepting a request
)

// Cursor is how far a member has come.
type Cursor struct {
	Delivered uint64
	Read      uint64
}
