package client_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/internal/servertest"
)

// The typed calls over a real Client: both encodings, requests and replies without anything in them, refusals, and
// replies of several pages.
func TestTypedCallsOverAClient(t *testing.T) {
	s := callServer(t)
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("json=%v", asJSON), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
			defer cancel()
			user := fmt.Sprintf("ana-%v", asJSON)
			c, err := client.Open(ctx, client.Options{Server: "mqtt://" + s.Addr("mqtt"), User: user, Store: memory.New(), JSON: asJSON})
			need(t, err)
			defer func() { need(t, c.Close(ctx)) }()

			conv, err := c.Groups().Create(ctx, client.NewGroup{GroupSettings: client.GroupSettings{Title: new("Crew"), Visibility: new("public")}})
			need(t, err)
			g, err := c.Groups().Get(ctx, conv)
			if err != nil || g.Title != "Crew" || g.Role != "owner" {
				t.Errorf("%+v %v", g, err)
			}
			_, err = c.Groups().Get(ctx, "nowhere")
			refused(t, err, chat.NotFound)
			_, err = c.Admin().UsersPage(ctx, client.ListOptions{})
			refused(t, err, chat.NotAuthorized)
			if key, err := c.Push().Key(ctx); err != nil || key.Key == "" { // a request without parameters
				t.Errorf("%+v %v", key, err)
			}

			names := []string{"a", "b", "c", "d", "e"}
			for _, name := range names {
				_, err := c.Settings().Set(ctx, name, map[string]any{"of": name})
				need(t, err)
			}
			page, err := c.Settings().ListPage(ctx, client.ListOptions{Limit: 2})
			if err != nil || !page.More || len(page.Items) != 2 {
				t.Errorf("%+v %v", page, err)
			}
			var got []string
			for _, set := range all(t, c.Settings().List(ctx)) {
				got = append(got, set.Value.String())
			}
			if want := []string{`{"of":"a"}`, `{"of":"b"}`, `{"of":"c"}`, `{"of":"d"}`, `{"of":"e"}`}; !slices.Equal(got, want) {
				t.Error(got)
			}
			events := all(t, c.History().After(ctx, conv, 0))
			if len(events) != 1 || events[0].Kind != chat.KindCreate || events[0].From != user {
				t.Errorf("%+v", events)
			}
			need(t, c.Groups().Delete(ctx, conv)) // a reply that nobody wants
			if d := all(t, c.Devices().List(ctx)); len(d) != 1 || !d[0].Current {
				t.Errorf("%+v", d)
			}
		})
	}
}
