package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/cmd/petrel/internal/profile"
	"github.com/petrelchat/petrel/cmd/petrel/internal/termtext"
)

type rpcCmd struct {
	talkFlags
	Method string `arg:"" help:"A method of the contract: conv.mute, contact.request, device.list …"`
	Params string `arg:"" optional:"" help:"Its parameters, a JSON object. -: from standard input, where no other user of this machine can read them." placeholder:"JSON"`
}

// paramsMax bounds what is read from standard input: more than any server takes.
const paramsMax = 1 << 20

// Run makes a request for which there is no command of its own, and prints the reply, a line of JSON; without --json
// it is indented.
func (c rpcCmd) Run(ctx context.Context, con console) (err error) {
	params, err := c.params(ctx, con)
	if err != nil {
		return err
	}
	t, err := c.openUse(ctx, con, profile.Use{Store: profile.Nothing, Tune: inJSON})
	if err != nil {
		return err
	}
	defer t.close(ctx, &err)
	ctx, stop := t.bounded(ctx)
	defer stop()
	if err := t.online(ctx); err != nil {
		return err
	}
	var reply json.RawMessage
	if err := t.Call(ctx, c.Method, params, &reply); err != nil {
		return err
	}
	return c.print(con.out, reply)
}

// inJSON is for replies that are shown as they are.
func inJSON(o *client.Options) {
	invisible(o)
	o.JSON = true
}

func (c rpcCmd) params(ctx context.Context, con console) (json.RawMessage, error) {
	text := []byte(c.Params)
	if c.Params == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(interruptible(ctx, con.in), paramsMax+1)); err != nil {
			return nil, err
		}
	}
	switch text = bytes.TrimSpace(text); {
	case len(text) > paramsMax:
		return nil, usagef("the parameters are longer than %d bytes", paramsMax)
	case len(text) == 0:
		return json.RawMessage("{}"), nil
	case text[0] != '{' || !json.Valid(text):
		return nil, usagef(`the parameters are a JSON object, as in '{"conv":"crew"}'`)
	}
	return text, nil
}

func (c rpcCmd) print(w io.Writer, reply json.RawMessage) error {
	if c.JSON {
		return writeJSON(w, reply)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, reply, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, termtext.Block(escapeC1(b.String())))
	return err
}
