package relay

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/stretchr/testify/require"
)

// Debian's coturn takes the credentials that Servers makes, and relays.
func TestCoturn(t *testing.T) {
	program, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("coturn is not installed: make tools installs it")
	}
	probe := peerAt(t, "127.0.0.1")
	at := probe.LocalAddr().String()
	_, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	const secret = "shared with coturn"
	cmd := exec.Command(program, "-n", "--use-auth-secret", "--static-auth-secret="+secret, "--realm=petrel", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1",
		"--listening-port="+port, "--min-port=30000", "--max-port=30999", "--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--log-file=stdout",
		"--pidfile="+filepath.Join(t.TempDir(), "pid"), "--userdb="+filepath.Join(t.TempDir(), "db"))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", at)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}, patience, 10*time.Millisecond)

	r, err := New(Options{Credentials: time.Minute, External: []External{{URLs: []string{"turn:" + at}, Secret: []byte(secret)}}})
	require.NoError(t, err)
	list, _, err := r.Servers("alice", "call1")
	require.NoError(t, err)
	require.Len(t, list, 1)
	uri, err := stun.ParseURI(list[0].URLs[0])
	require.NoError(t, err)
	server := fmt.Sprintf("%s:%d", uri.Host, uri.Port)

	client := pionClient(t, peerAt(t, "127.0.0.1"), server, list[0].Username, list[0].Credential)
	relayed, err := client.Allocate()
	require.NoError(t, err)
	peer := echo(t, "127.0.0.1")
	_, err = relayed.WriteTo([]byte("through coturn"), peer.LocalAddr())
	require.NoError(t, err)
	require.NoError(t, relayed.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, mtu)
	n, _, err := relayed.ReadFrom(buf)
	require.NoError(t, err)
	require.Equal(t, "through coturn", string(buf[:n]))
	require.NoError(t, relayed.Close())

	for name, with := range map[string]string{
		"forged":  list[0].Username,
		"expired": username{time.Now().Add(-time.Minute).Unix(), "alice", "call1"}.String(),
	} {
		pass := password([]byte(secret), with)
		if name == "forged" {
			pass = password([]byte("another secret"), with)
		}
		_, err := pionClient(t, peerAt(t, "127.0.0.1"), server, with, pass).Allocate()
		require.Error(t, err, name)
	}
}
