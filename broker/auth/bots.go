package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/storage"
)

// Bounds of bots.
const (
	maxBots     = 32  // of one owner, those of webhooks aside
	maxCommands = 64  // of one bot
	maxAbout    = 256 // bytes
	maxAnswered = 16  // bots that one command reaches
)

// Command is a slash command that a bot listens to.
type Command struct {
	Name  string `cbor:"1,keyasint"`           // without the slash: [a-z0-9_-]{1,32}
	About string `cbor:"2,keyasint,omitempty"` // one line for people
}

// botRecord is the record under SpaceBot.
type botRecord struct {
	Commands []Command `cbor:"1,keyasint,omitempty"`
}

func botKey(owner, bot string) storage.Key { return storage.In(storage.SpaceBot).Str(owner).Str(bot) }

// Bot is what may be told of a bot.
type Bot struct {
	User     string
	Owner    string
	Hook     string // the webhook that posts as it; "" for a bot with a token
	Commands []Command
}

// bots has all of them in memory, about 200 bytes each: a command must find its bots without a look at
// the disk.
type bots struct {
	mu sync.RWMutex
	m  map[string]*Bot     // by user id; never changed once it is here
	by map[string][]string // command: bots
}

func (b *bots) put(bot *Bot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(bot.User)
	b.m[bot.User] = bot
	for _, c := range bot.Commands {
		b.by[c.Name] = append(slices.Clone(b.by[c.Name]), bot.User)
	}
}

// drop is put's reverse, with mu held.
func (b *bots) drop(user string) {
	old, ok := b.m[user]
	if !ok {
		return
	}
	delete(b.m, user)
	for _, c := range old.Commands {
		left := slices.DeleteFunc(slices.Clone(b.by[c.Name]), func(u string) bool { return u == user })
		if b.by[c.Name] = left; len(left) == 0 {
			delete(b.by, c.Name)
		}
	}
}

func (b *bots) forget(user string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(user)
}

func (b *bots) get(user string) (*Bot, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	bot, ok := b.m[user]
	return bot, ok
}

// of returns the bots of an owner in byte order.
func (b *bots) of(owner string) (list []string) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for user, bot := range b.m {
		if bot.Owner == owner {
			list = append(list, user)
		}
	}
	slices.Sort(list)
	return list
}

// loadBots reads all bots.
func (s *Service) loadBots() error {
	s.bots.m, s.bots.by = map[string]*Bot{}, map[string][]string{}
	var bad error
	err := s.o.Store.Scan(storage.In(storage.SpaceBot), nil, func(k storage.Key, v []byte) bool {
		owner, rest, ok1 := storage.TakeStr(k[1:])
		user, _, ok2 := storage.TakeStr(rest)
		var r botRecord
		if bad = storage.Unmarshal(v, &r); bad == nil && !(ok1 && ok2) {
			bad = storage.ErrRecord
		}
		s.bots.put(&Bot{User: user, Owner: owner, Commands: r.Commands})
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("auth: reading the bots: %w", err)
	}
	for user, bot := range s.bots.m {
		acc, err := s.lookup(strings.ToLower(user))
		if err != nil {
			return err
		}
		if acc != nil {
			bot.Hook = acc.Hook
		}
	}
	return nil
}

func refuseBot(user string) error {
	return chat.Refuse(chat.BadRequest, "%s is a bot: it has a token, no password and no rights of an administrator.", user)
}

// orphaned denies bots whose owner is gone, or locked out.
func (s *Service) orphaned(acc *account) error {
	if !acc.Bot {
		return nil
	}
	owner, err := s.lookup(strings.ToLower(acc.Owner))
	switch {
	case err != nil:
		return err
	case owner == nil || owner.User != acc.Owner || owner.Created != acc.Since:
		return deny("the owner of the bot is gone")
	case owner.Disabled:
		return deny("the owner of the bot is disabled")
	}
	return nil
}

// AddBot makes an account that only a token of its own, or the webhook of that id, can use. It ends when
// its owner's account does. Refusals: conflict when the id is taken in any spelling, bad-request.
func (s *Service) AddBot(ctx context.Context, owner, bot, hook string) error {
	if !ValidUser(bot) {
		return badUser()
	}
	acc, err := s.existing(owner)
	if err != nil {
		return err
	}
	if acc.Bot {
		return chat.Refuse(chat.NotAuthorized, "A bot makes no bots: log in as a person.")
	}
	if hook == "" && len(s.ListBots(owner)) >= maxBots {
		return chat.Refuse(chat.Conflict, "You have %d bots already: delete one that is not needed.", maxBots)
	}
	_, created, err := s.insert(ctx, &account{User: bot, Bot: true, Owner: owner, Since: acc.Created, Hook: hook})
	if err == nil && !created {
		return chat.Refuse(chat.Conflict, "The user id %s is taken, be it in another spelling.", bot)
	}
	if err == nil {
		s.bots.put(&Bot{User: bot, Owner: owner, Hook: hook})
	}
	return err
}

// IsBot says whether there is such a bot, and whose.
func (s *Service) IsBot(user string) (owner string, ok bool) {
	if bot, ok := s.bots.get(user); ok {
		return bot.Owner, true
	}
	return "", false
}

// ListBots returns the bots of an owner that have tokens, in byte order.
func (s *Service) ListBots(owner string) (list []Bot) {
	for _, user := range s.bots.of(owner) {
		if bot, ok := s.bots.get(user); ok && bot.Hook == "" {
			list = append(list, *bot)
		}
	}
	return list
}

// ownBot returns a bot of that owner, or the refusal that there is none.
func (s *Service) ownBot(owner, bot string) (*Bot, error) {
	b, ok := s.bots.get(bot)
	if !ok || b.Owner != owner || b.Hook != "" {
		return nil, chat.Refuse(chat.NotFound, "You have no bot of that name: see bot.list.")
	}
	return b, nil
}

// DeleteBot removes a bot of that owner with its tokens, and ends its sessions. What it wrote stays.
func (s *Service) DeleteBot(ctx context.Context, owner, bot string) error {
	if _, err := s.ownBot(owner, bot); err != nil {
		return err
	}
	return s.DeleteUser(ctx, bot)
}

// BotToken gives a bot a new token in place of all that it had; their sessions end.
func (s *Service) BotToken(ctx context.Context, owner, bot string, spec TokenSpec) (id, text string, err error) {
	if _, err := s.ownBot(owner, bot); err != nil {
		return "", "", err
	}
	old, _, err := s.ListTokens(bot, "", 1000)
	if err != nil {
		return "", "", err
	}
	info, text, err := s.AddToken(ctx, bot, spec)
	if err != nil {
		return "", "", err
	}
	for _, t := range old {
		if err := s.RevokeToken(ctx, t.ID); err != nil && !errors.Is(err, &chat.Refusal{Code: chat.NotFound}) {
			return "", "", err
		}
	}
	return info.ID, text, nil
}

// SetCommands says which slash commands a bot listens to, instead of those before. by is its owner or
// the bot itself.
func (s *Service) SetCommands(ctx context.Context, by, bot string, list []Command) error {
	b, ok := s.bots.get(bot)
	if !ok || by != bot && by != b.Owner || b.Hook != "" {
		return chat.Refuse(chat.NotFound, "You have no bot of that name: see bot.list.")
	}
	if len(list) > maxCommands {
		return chat.Refuse(chat.BadRequest, "A bot has at most %d commands.", maxCommands)
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Command) int { return cmp.Compare(a.Name, b.Name) })
	for i, c := range list {
		switch {
		case !validCommand(c.Name):
			return chat.Refuse(chat.BadRequest, "The name of a command takes 1 to 32 of a-z 0-9 _ - and no slash.")
		case i > 0 && list[i-1].Name == c.Name:
			return chat.Refuse(chat.BadRequest, "The command %s is there twice.", c.Name)
		case len(c.About) > maxAbout || !utf8.ValidString(c.About) || strings.ContainsFunc(c.About, isControl):
			return chat.Refuse(chat.BadRequest, "about is one line of at most %d bytes.", maxAbout)
		}
	}
	lock := s.stripe(strings.ToLower(bot))
	lock.Lock() // against DeleteUser
	defer lock.Unlock()
	if _, err := s.existing(bot); err != nil {
		return err
	}
	batch := new(storage.Batch)
	batch.Set(botKey(b.Owner, bot), storage.Marshal(&botRecord{Commands: list}))
	s.audit(ctx, batch, "bot.commands", bot)
	if err := s.commit(batch); err != nil {
		return err
	}
	s.bots.put(&Bot{User: bot, Owner: b.Owner, Commands: list})
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func validCommand(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 32
}

// CommandsOf returns the bots that member reports true for and that have commands, in byte order. member
// must not call the service.
func (s *Service) CommandsOf(member func(bot string) bool) (list []Bot) {
	s.bots.mu.RLock()
	for _, b := range s.bots.m {
		if len(b.Commands) > 0 && member(b.User) {
			list = append(list, *b)
		}
	}
	s.bots.mu.RUnlock()
	slices.SortFunc(list, func(a, b Bot) int { return cmp.Compare(a.User, b.User) })
	return list
}

// Addressed returns the bots that listen to the command which a text begins with: "/deploy now" all that
// have deploy, "/deploy@ci now" the bot ci if it does. It is answered from memory, and costs nothing for a
// text that begins with something else. Whether they are members is for the caller to see to.
func (s *Service) Addressed(text string) []string {
	if len(text) < 2 || text[0] != '/' {
		return nil
	}
	word := text[1:min(len(text), 1+32+1+64+1)]
	if i := strings.IndexAny(word, " \t\r\n"); i >= 0 {
		word = word[:i]
	}
	name, bot, named := strings.Cut(word, "@")
	s.bots.mu.RLock()
	all := s.bots.by[name] // never changed in place
	s.bots.mu.RUnlock()
	if !named {
		return all
	}
	if slices.Contains(all, bot) {
		return []string{bot}
	}
	return nil
}
