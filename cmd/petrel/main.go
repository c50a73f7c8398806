// Command petrel is the chat server and its tools: "petrel serve --dev" starts one to try, and
// "petrel help" lists the rest.
//
// It exits with 0 when all went well, 1 when something was refused or failed, 2 when the command line, the
// configuration or the profile is wrong, 3 when the server is away or a message is still queued, so that the
// same may work later, and 4 when the credentials are wrong or something is not allowed. Of calls, 5 means declined, 6 not
// answered and 7 busy.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/cmd/petrel/internal/bench"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

// version is set by the Makefile.
var version = "unknown"

type cli struct {
	Serve       serveCmd      `cmd:"" help:"Run the server."`
	User        userCmd       `cmd:"" help:"Manage the accounts of the running server."`
	Token       tokenCmd      `cmd:"" help:"Manage device tokens of the running server."`
	Audit       auditCmd      `cmd:"" help:"Show or export the audit trail of the running server."`
	Pub         pubCmd        `cmd:"" help:"Publish one message, and wait until it is stored."`
	Sub         subCmd        `cmd:"" help:"Print what is published."`
	CheckConfig checkCmd      `cmd:"" help:"Say whether a configuration is right, and what is not."`
	Backup      backupCmd     `cmd:"" help:"Copy the store, of a running server too."`
	Restore     restoreCmd    `cmd:"" help:"Make a data directory from a backup."`
	Verify      verifyCmd     `cmd:"" help:"Check every invariant of a stopped server's store."`
	Bench       bench.Cmd     `cmd:"" help:"Measure this server, and others beside it."`
	Login       loginCmd      `cmd:"" help:"Save as whom and where the following commands talk." group:"As a user"`
	Logout      logoutCmd     `cmd:"" help:"Forget it." group:"As a user"`
	Chat        chatCmd       `cmd:"" help:"The messenger in the terminal." group:"As a user"`
	Send        sendCmd       `cmd:"" help:"Send a message, an edit, a reaction; without a connection it is queued." group:"As a user"`
	Outbox      outboxCmd     `cmd:"" help:"What is queued: list, flush, cancel, retry, discard." group:"As a user"`
	Listen      listenCmd     `cmd:"" help:"Print what is written, as JSON lines." group:"As a user"`
	History     historyCmd    `cmd:"" help:"Print a conversation." group:"As a user"`
	Search      searchCmd     `cmd:"" help:"Find messages." group:"As a user"`
	RPC         rpcCmd        `cmd:"" name:"rpc" help:"Make any request of the contract, for what has no command of its own." group:"As a user"`
	Who         whoCmd        `cmd:"" help:"Who people are, and who is there." group:"As a user"`
	Call        callCmd       `cmd:"" help:"Call somebody, with files or a tone for what they hear and see." group:"As a user"`
	Answer      answerCmd     `cmd:"" help:"Wait for calls and answer them." group:"As a user"`
	Groups      groupsCmd     `cmd:"" help:"Groups, their settings, members and requests." group:"As a user"`
	Invite      inviteCmd     `cmd:"" help:"Invitations to groups." group:"As a user"`
	Completion  completionCmd `cmd:"" help:"Print a script that completes commands and flags in your shell."`
	Version     versionCmd    `cmd:"" help:"Print the version."`
}

// console is what a command reads from and writes to.
type console struct {
	in       io.Reader
	out, err io.Writer
	env      []string
}

type versionCmd struct{}

func (versionCmd) Run(io console) error {
	_, err := fmt.Fprintln(io.out, "petrel", version)
	return err
}

// usageError is a fault of the command line that the parser can't see.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], console{os.Stdin, os.Stdout, os.Stderr, os.Environ()})
	stop()
	os.Exit(code)
}

// run carries out a command line and returns the exit code.
func run(ctx context.Context, args []string, con console) int {
	var c cli
	exit := -1
	parser, err := kong.New(&c, kong.Name("petrel"), kong.Writers(con.out, con.err), kong.UsageOnError(),
		kong.Description("A durable chat server that any MQTT client can use. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, configuration or profile, 3 not now (the server is away, a message is queued), 4 not let in or not allowed; of calls 5 declined, 6 not answered, 7 busy."),
		kong.Exit(func(code int) { exit = code; panic(exited{}) }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(con), kong.BindTo(con.out, (*io.Writer)(nil)))
	if err != nil {
		fmt.Fprintln(con.err, "petrel:", err)
		return exitUsage
	}
	k, err := parse(parser, joinFrom(args))
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintf(con.err, "petrel: %v\nTry: petrel --help\n", err)
		return exitUsage
	}
	return report(con.err, k.Run())
}

// joinFrom makes --from=-5 of --from -5, which looks like two flags.
func joinFrom(args []string) []string {
	args = slices.Clone(args)
	for i := 0; i+1 < len(args) && args[i] != "--"; i++ {
		if n, err := strconv.Atoi(args[i+1]); args[i] == "--from" && err == nil && n < 0 {
			args = slices.Replace(args, i, i+2, args[i]+"="+args[i+1])
		}
	}
	return args
}

// exited unwinds the parser after --help: it would go on to find commands missing.
type exited struct{}

func parse(p *kong.Kong, args []string) (k *kong.Context, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exited); !ok {
				panic(r)
			}
		}
	}()
	return p.Parse(args)
}

// report prints an error and returns the exit code that it means.
func report(w io.Writer, err error) int {
	code := exitCode(err)
	var faults config.Faults
	switch {
	case code == exitOK:
	case errors.As(err, &faults):
		fmt.Fprintln(w, faults)
	default:
		// Servers choose the words of their refusals, and whoever answers in their place those of a certificate.
		fmt.Fprintf(w, "petrel: %s\n", termtext.Block(err.Error()))
	}
	return code
}
