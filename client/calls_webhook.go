package client

import (
	"context"
	"iter"
)

// WebhookCalls are the calls about webhooks, programs that speak HTTP: see [Caller]. They are for those who may change the
// conversation's settings, and in the direct conversation with a bot of one's own (not-authorized).
type WebhookCalls struct{ Via Caller }

// NewWebhook is a webhook to be made.
type NewWebhook struct {
	Conv   string   `json:"conv"`
	Kind   string   `json:"kind"`             // in: what is posted to it becomes a message; out: it gets the events
	Name   string   `json:"name,omitempty"`   // for people
	Bot    string   `json:"bot,omitempty"`    // in: who posts, a bot of the caller's that is a member; "": one is made and added
	URL    string   `json:"url,omitempty"`    // out: https://…, at a public address
	Events []string `json:"events,omitempty"` // out: kinds of events; nil: post
}

// WebhookSecret is what only the maker of a webhook sees, and only this once.
type WebhookSecret struct {
	ID     string `json:"id"`
	URL    string `json:"url,omitempty"`    // in: where to post to; whoever knows it can
	Secret string `json:"secret,omitempty"` // out: what signs
	Bot    string `json:"bot,omitempty"`    // in: who posts
}

// Webhook is a webhook in a list.
type Webhook struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind"` // in, out
	Name    string   `json:"name,omitempty"`
	By      string   `json:"by"` // whose it is
	Created Millis   `json:"created"`
	Bot     string   `json:"bot,omitempty"`
	URL     string   `json:"url,omitempty"`
	Events  []string `json:"events,omitempty"`
	Off     Millis   `json:"off,omitempty"`    // since when it is off; 0: it is on
	Why     string   `json:"why,omitempty"`    // why it is off
	Next    uint64   `json:"next,omitempty"`   // out: seq that is delivered next
	Failed  int      `json:"failed,omitempty"` // out: failures in a row
	Last    string   `json:"last,omitempty"`   // out: what the last failure was
}

// Create makes a webhook. A conversation has at most 16, a user at most 256 (conflict).
func (w WebhookCalls) Create(ctx context.Context, hook NewWebhook) (WebhookSecret, error) {
	return call[WebhookSecret](ctx, w.Via, "webhook.create", &hook)
}

// List goes through the webhooks of a conversation.
func (w WebhookCalls) List(ctx context.Context, conv string) iter.Seq2[Webhook, error] {
	return each(ctx, func(ctx context.Context, o ListOptions) (PageOf[Webhook], error) { return w.ListPage(ctx, conv, o) })
}

// ListPage is one page of [WebhookCalls.List], as many as fit; Limit means nothing.
func (w WebhookCalls) ListPage(ctx context.Context, conv string, o ListOptions) (PageOf[Webhook], error) {
	type list struct {
		Webhooks []Webhook `json:"webhooks"`
		More     bool      `json:"more"`
	}
	reply, err := call[list](ctx, w.Via, "webhook.list", wireConvAfter{conv, o.After})
	return pagedBy(reply.Webhooks, reply.More, func(h *Webhook) string { return h.ID }), err
}

// Rotate gives a webhook a new URL or secret. The old one is void at once.
func (w WebhookCalls) Rotate(ctx context.Context, id string) (WebhookSecret, error) {
	return call[WebhookSecret](ctx, w.Via, "webhook.rotate", wireID{id})
}

// Enable switches a webhook on again, as the caller's; an outgoing one goes on where it stopped.
func (w WebhookCalls) Enable(ctx context.Context, id string) error {
	return w.Via.Call(ctx, "webhook.enable", wireID{id}, nil)
}

// Delete removes a webhook, and the bot that was made for it.
func (w WebhookCalls) Delete(ctx context.Context, id string) error {
	return w.Via.Call(ctx, "webhook.delete", wireID{id}, nil)
}
