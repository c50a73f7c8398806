// Command petrel is the chat server and its tools: "petrel serve --dev" starts one to try, and
// "petrel help" lists the rest.
//
// It exits with 0 when all went well, 1 when something was refused or failed, and 2 when the command
// line or the configuration is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/cmd/petrel/internal/bench"
)

// version is set by the Makefile.
var version = "unknown"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

type cli struct {
	Serve       serveCmd   `cmd:"" help:"Run the server."`
	User        userCmd    `cmd:"" help:"Manage the accounts of the running server."`
	Token       tokenCmd   `cmd:"" help:"Manage device tokens of the running server."`
	Audit       auditCmd   `cmd:"" help:"Show or export the audit trail of the running server."`
	Pub         pubCmd     `cmd:"" help:"Publish one message, and wait until it is stored."`
	Sub         subCmd     `cmd:"" help:"Print what is published."`
	CheckConfig checkCmd   `cmd:"" help:"Say whether a configuration is right, and what is not."`
	Backup      backupCmd  `cmd:"" help:"Copy the store, of a running server too."`
	Restore     restoreCmd `cmd:"" help:"Make a data directory from a backup."`
	Verify      verifyCmd  `cmd:"" help:"Check every invariant of a stopped server's store."`
	Bench       bench.Cmd  `cmd:"" help:"Measure this server, and others beside it."`
	Version     versionCmd `cmd:"" help:"Print the version."`
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
		kong.Description("A durable chat server that any MQTT client can use. Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration."),
		kong.Exit(func(code int) { exit = code; panic(exited{}) }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(con), kong.BindTo(con.out, (*io.Writer)(nil)))
	if err != nil {
		fmt.Fprintln(con.err, "petrel:", err)
		return exitUsage
	}
	k, err := parse(parser, args)
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintf(con.err, "petrel: %v\nTry: petrel --help\n", err)
		return exitUsage
	}
	return report(con.err, k.Run())
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
	var faults config.Faults
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &faults):
		fmt.Fprintln(w, faults)
		return exitUsage
	case errors.As(err, &usage):
		fmt.Fprintf(w, "petrel: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(w, "petrel: %v\n", err)
	return exitFailed
}
