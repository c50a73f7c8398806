package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/petrelchat/petrel/chat"
)

// Client calls a running server. It may be used from any goroutine.
type Client struct {
	http http.Client
}

// Dial connects to the socket, so that a server that isn't there is an error now. Close the client
// after use.
func Dial(path string) (*Client, error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	conn, err := dial(context.Background())
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("control: no server runs on this data directory: nobody answers at %s", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("control: %s belongs to another user: run this as the user that the server runs as", path)
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	}
	conn.Close()
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}}, nil
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call carries out a method: in is encoded as JSON (nil: an empty request), the reply is decoded into
// out unless that is nil. What the server declines is a *chat.Refusal.
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("control: the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://petrel/rpc/"+url.PathEscape(method), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("control: the server did not answer: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("control: the reply was cut off: %w", err)
	}
	var reply struct {
		OK    json.RawMessage `json:"ok"`
		Error *wireError      `json:"error"`
	}
	if err := json.Unmarshal(data, &reply); err != nil || reply.Error == nil && resp.StatusCode != http.StatusOK {
		return fmt.Errorf("control: the server answered %s with something that is no reply", resp.Status)
	}
	if reply.Error != nil {
		return &chat.Refusal{Code: reply.Error.Code, Reason: reply.Error.Reason}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(reply.OK, out); err != nil {
		return fmt.Errorf("control: the reply: %w", err)
	}
	return nil
}
