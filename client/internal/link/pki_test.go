package link_test

import (
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/internal/petreltest"
)

// withTLS is the setting of a listener with a new certificate of the authority's.
func withTLS(a *petreltest.Authority) config.TLS {
	a.Issue("server", "server")
	return config.TLS{Cert: a.Path("server.pem"), Key: a.Path("server.key")}
}
