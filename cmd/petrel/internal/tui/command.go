package tui

import (
	"cmp"
	"slices"
	"strings"
)

// command is something that is typed behind a slash, in both modes.
type command struct {
	name  string
	other string // another name
	args  string // for the help
	help  string
	plain bool // only of plain lines: screens have keys and panes for it
}

// commands are all of them, in the order in which the help shows them. #N names a message by its number; without it
// the chosen or the newest one is meant.
func commands() []command {
	return []command{
		{"to", "open", "USER or GROUP", "open a conversation, or begin one", false},
		{"list", "ls", "[archive|requests|former]", "list the conversations", true},
		{"more", "earlier", "[N]", "show older messages", true},
		{"reply", "re", "[#N] TEXT", "reply to a message", false},
		{"thread", "", "[#N]", "read a thread, and write into it", false},
		{"around", "goto", "#N", "read out what stands around a message", true},
		{"react", "", "[#N] EMOJI", "react to a message: an emoji or a name like :+1:", false},
		{"unreact", "", "[#N] EMOJI", "take a reaction back", false},
		{"edit", "", "[#N] TEXT", "change a message of yours", false},
		{"delete", "rm", "[#N]", "delete a message of yours for everyone", false},
		{"pin", "", "[#N]", "pin a message", false},
		{"unpin", "", "[#N]", "unpin it", false},
		{"retry", "", "", "send again what was refused", false},
		{"cancel", "", "", "take back the newest message that waits", false},
		{"search", "find", "WORDS", "search here; /search * WORDS: everywhere", false},
		{"who", "members", "", "who is in this conversation", false},
		{"create", "", "TITLE [: USER …]", "create a group", false},
		{"join", "", "GROUP or INVITATION", "join a group", false},
		{"add", "", "USER", "add somebody to this group", false},
		{"invite", "", "", "make an invitation to this group", false},
		{"leave", "", "", "leave this group", false},
		{"accept", "", "", "accept a message request", false},
		{"decline", "", "", "decline it", false},
		{"mute", "", "", "no notifications from this conversation", false},
		{"unmute", "", "", "notifications again", false},
		{"archive", "", "", "put the conversation away", false},
		{"unarchive", "", "", "bring it back", false},
		{"top", "", "", "keep the conversation on top of the list", false},
		{"untop", "", "", "no longer", false},
		{"away", "", "[TEXT]", "show others that you are away", false},
		{"back", "", "[TEXT]", "show others that you are there", false},
		{"status", "", "", "the connection, and what waits", false},
		{"retrynow", "reconnect", "", "try to connect now", false},
		{"quiet", "", "", "say no states and no typing (again: say them)", true},
		{"help", "?", "", "this list", false},
		{"quit", "exit", "", "leave petrel", false},
	}
}

// parse takes a line that begins with a slash apart. ok is false for what is no command: text, to be sent. A line that
// begins with two slashes is text that begins with one.
func parse(line string) (name, args, text string, ok bool) {
	if !strings.HasPrefix(line, "/") {
		return "", "", line, false
	}
	if strings.HasPrefix(line, "//") {
		return "", "", line[1:], false
	}
	word, args, _ := strings.Cut(line[1:], " ")
	word = strings.ToLower(strings.TrimSpace(word))
	all := commands()
	if i := slices.IndexFunc(all, func(c command) bool { return word != "" && (c.name == word || c.other == word) }); i >= 0 {
		return all[i].name, strings.TrimSpace(args), "", true
	}
	return word, strings.TrimSpace(args), "", true
}

// known reports whether there is such a command.
func known(name string) bool {
	return slices.ContainsFunc(commands(), func(c command) bool { return c.name == name })
}

// unknownCommand says what to do about a command that there is none of.
func unknownCommand(name string) string {
	best, least := "", 3
	for _, c := range commands() {
		if d := distance(c.name, name); d < least {
			best, least = c.name, d
		}
	}
	hint := "/help lists them; to send text that begins with a slash, type two: //" + name
	if best != "" {
		hint = "did you mean /" + best + "? " + hint
	}
	return "There is no command /" + cmp.Or(name, " ") + ": " + hint
}

// distance is how many letters are to be changed, added or left out to make b of a (Levenshtein).
func distance(a, b string) int {
	if len(b) > 32 {
		return len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			keep := diagonal
			if a[i] != b[j] {
				keep++
			}
			diagonal = row[j+1]
			row[j+1] = min(keep, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
