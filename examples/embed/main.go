// Embed is a program that has a whole petrel server in it, and a bot that lives there.
//
//	go run ./examples/embed
//
// Then write /roll 2d6 in the group general, or to the user dice, with any client of the other examples.
//
// The server is package broker: New, Run, and methods to post and to ask from within. The bot is package client, over
// the network like everybody: it would work as well from another machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/broker/control"
	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
)

const (
	owner = "host" // the account that the bot belongs to
	bot   = "dice"
)

func main() {
	data := flag.String("data", "petrel-embed-data", "directory of everything that survives")
	mqtt := flag.String("mqtt", "127.0.0.1:1883", "address for MQTT")
	http := flag.String("http", "127.0.0.1:8080", "address for WebSockets")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *data, *mqtt, *http); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, data, mqtt, http string) error {
	// What a file of settings would say, docs/petrel.yaml. Dev is for trying out: anybody may be anybody, on
	// loopback only. Without it accounts come from `petrel user add`, JWTs or certificates.
	cfg := config.Default()
	cfg.Dev, cfg.Data = true, data
	cfg.MQTT[0].Addr, cfg.HTTP.Addr = mqtt, http

	ready := make(chan struct{})
	server, err := broker.New(broker.Options{
		Config:  cfg,
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		OnReady: func() { close(ready) },
	})
	if err != nil {
		return err
	}
	// The server ends after the bot, which takes its leave over the network; and the bot ends if the server does.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- server.Run(serving)
	}()
	select {
	case <-ready:
		fmt.Printf("petrel is ready: mqtt://%s and ws://%s/mqtt\n", server.Addr("mqtt"), server.Addr("http"))
		err = withBot(ctx, server, data)
	case <-ctx.Done():
	}
	stop()
	return errors.Join(err, <-ended)
}

// withBot runs the bot until ctx ends.
func withBot(ctx context.Context, server *broker.Server, data string) error {
	if err := makeOwner(ctx, data); err != nil {
		return err
	}
	token, err := makeBot(ctx, server)
	if err != nil {
		return err
	}
	fmt.Println("dice is there: write /roll 2d6 or /uptime in the group general")
	c, err := client.Open(ctx, client.Options{
		Server: "mqtt://" + server.Addr("mqtt"), User: bot, Device: "embed", Credentials: token, Path: filepath.Join(data, "dice.db"),
	})
	if err != nil {
		return err
	}
	err = serve(ctx, c)
	leave, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	return errors.Join(err, c.Close(leave))
}

// makeOwner makes the account of the bot's owner. Accounts are for administrators: whoever can open the server's control
// socket is one, as the command petrel user add does.
func makeOwner(ctx context.Context, data string) error {
	c, err := control.Dial(broker.SocketPath(data))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = client.AdminCalls{Via: c}.AddUser(ctx, client.NewAccount{User: owner})
	if isConflict(err) {
		return nil // since an earlier run
	}
	return err
}

func isConflict(err error) bool {
	var refusal *chat.Refusal
	return errors.As(err, &refusal) && refusal.Code == chat.Conflict
}

// within asks the server as a user, without a connection. It is what the typed calls of package client need.
type within struct {
	server *broker.Server
	user   string
}

var _ client.Caller = within{}

// Call implements client.Caller.
func (w within) Call(ctx context.Context, method string, req, reply any) error {
	payload, err := json.Marshal(req)
	if err != nil {
		return err
	}
	var answer struct {
		OK    json.RawMessage
		Error *struct{ Code, Reason string }
	}
	if err := json.Unmarshal(w.server.Call(ctx, w.user, method, payload), &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return &chat.Refusal{Code: chat.Code(answer.Error.Code), Reason: answer.Error.Reason}
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(answer.OK, reply)
}

// makeBot makes the bot, or, if it is there since an earlier run, gives it a new token: so no secret has to be kept.
func makeBot(ctx context.Context, server *broker.Server) (client.Token, error) {
	bots := client.BotCalls{Via: within{server, owner}}
	made, err := bots.Create(ctx, client.NewBot{User: bot, Name: "Dice"})
	if isConflict(err) {
		made, err = bots.NewToken(ctx, bot, client.TokenScope{})
	}
	if err != nil {
		return "", fmt.Errorf("the bot: %w", err)
	}
	// Posts that begin with one of these mention the bot.
	err = bots.SetCommands(ctx, bot, []client.SlashCommand{
		{Name: "roll", About: "Throws dice: /roll 2d6"},
		{Name: "uptime", About: "Since when the server runs"},
	})
	if err != nil {
		return "", fmt.Errorf("the commands of the bot: %w", err)
	}
	// Everybody is to find it in the group that is there for everybody.
	if _, err := (client.GroupCalls{Via: within{server, bot}}).Join(ctx, "general", ""); err != nil {
		return "", fmt.Errorf("the bot is not let into general: %w", err)
	}
	return client.Token(made.Token), nil
}
