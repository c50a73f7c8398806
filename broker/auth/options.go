package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/petrelchat/petrel/storage"
)

// Options is what a Service is made of. Store, Commit and Now are required.
type Options struct {
	Store storage.Store

	// Commit applies the batch and returns once it is synced. An error that wraps storage.ErrFull means
	// that nothing was applied.
	Commit func(b *storage.Batch) error

	// Trail chains the audit entries of the batches that Commit and Record store: these call Trail.Seal.
	// Nil: the service has one of its own, for a store that nobody else writes to.
	Trail *Trail

	// Record applies a batch without waiting for the sync: for notes of logins. Nil: Commit.
	Record func(b *storage.Batch) error

	// Now is the clock.
	Now func() time.Time

	// Dev lets any user name in with any password, makes the account on first use, admits guests, opens
	// all plain topics and turns throttling off. For loopback only.
	Dev bool

	JWT      JWTOptions
	Argon2   Params
	Throttle Throttle

	// CertNoCreate refuses a client certificate whose common name has no account. Otherwise the account
	// is made on first use.
	CertNoCreate bool

	// ACL holds the rules for plain topics. Nil: DefaultACL. In dev mode everything is allowed beside
	// them, so that only rules with Deny have an effect.
	ACL []Rule

	// OnRevoke is called after a change that must end live sessions is on disk: those of one device
	// token, or all of the user when tokenID is empty. It is called without any lock held, in the
	// goroutine of the change. Nil: nobody is told.
	OnRevoke func(user, tokenID string)

	// Erases says that somebody erases what deleted accounts leave: each deletion puts a record for that into its
	// batch ([storage.Erasing]), and the id is not given again.
	Erases bool

	// Log gets the causes of refused logins at level debug; never a secret. Nil: silence.
	Log *slog.Logger
}

// Throttle says how wrong passwords slow an address and a user down. Zero values take the defaults.
type Throttle struct {
	Failures int           // so many wrong passwords within Window are free; 5
	Window   time.Duration // 10 min; also how long it takes until a quiet one is forgiven
	Base     time.Duration // the first delay, doubled by each further failure; 1 s
	Max      time.Duration // the longest delay; 5 min
	Trust    time.Duration // how long a success makes its address known to its user; 24 h
	Entries  int           // bound of each table in memory; 50,000
	Off      bool
}

// Validate names all that is wrong with the options at once. Key files are read by New.
func (o *Options) Validate() error {
	var errs []error
	if o.Store == nil {
		errs = append(errs, errors.New("auth: Store is missing"))
	}
	if o.Commit == nil {
		errs = append(errs, errors.New("auth: Commit is missing"))
	}
	if o.Now == nil {
		errs = append(errs, errors.New("auth: Now is missing"))
	}
	errs = append(errs, o.Argon2.withDefaults().validate(), o.Throttle.validate(), o.JWT.validate(), validateRules(o.ACL))
	return errors.Join(errs...)
}

func (t Throttle) validate() error {
	if t.Failures < 0 || t.Window < 0 || t.Base < 0 || t.Max < 0 || t.Trust < 0 || t.Entries < 0 {
		return errors.New("auth: Throttle has a negative value; leave it out for the default")
	}
	if d := t.withDefaults(); d.Base > d.Max {
		return fmt.Errorf("auth: Throttle.Base %v exceeds Throttle.Max %v", d.Base, d.Max)
	}
	return nil
}

func (t Throttle) withDefaults() Throttle {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.Window, 10*time.Minute)
	def(&t.Base, time.Second)
	def(&t.Max, 5*time.Minute)
	def(&t.Trust, 24*time.Hour)
	if t.Failures == 0 {
		t.Failures = 5
	}
	if t.Entries == 0 {
		t.Entries = 50_000
	}
	return t
}
