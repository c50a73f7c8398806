package servertest

import (
	"context"

	"github.com/petrelchat/petrel/client"
)

// Hurry makes a client try at once where it would wait: tests have no time for back-off. It ends with the client.
func Hurry(c *client.Client) {
	for range c.Updates(context.Background()) {
		if s := c.Status(); s.State == client.Offline && !s.Retry.IsZero() {
			c.NetworkChanged()
		}
	}
}
