package e2e_test

import (
	"os/exec"
	"testing"

	"github.com/petrelchat/petrel/internal/petreltest"
)

// TestMQTTjs lets MQTT.js talk, over WebSocket as in a browser and over TCP.
func TestMQTTjs(t *testing.T) {
	node := petreltest.Tool(t, "node")
	petreltest.Installed(t, "js/node_modules/mqtt")
	s := startServer(t)
	for name, url := range map[string]string{"websocket": "ws://" + s.HTTP + "/mqtt", "tcp": "mqtt://" + s.MQTT} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(node, "conversation.mjs", url)
			cmd.Dir = "js"
			script(t, s, "node", cmd)
		})
	}
}
