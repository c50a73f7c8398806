package e2e_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestMQTTjs lets MQTT.js talk, over WebSocket as in a browser and over TCP.
func TestMQTTjs(t *testing.T) {
	node := tool(t, "node")
	if _, err := os.Stat("js/node_modules/mqtt"); err != nil {
		missing(t, "MQTT.js is not installed: make e2e-deps installs it")
	}
	s := startServer(t)
	for name, url := range map[string]string{"websocket": "ws://" + s.http + "/mqtt", "tcp": "mqtt://" + s.mqtt} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(node, "conversation.mjs", url)
			cmd.Dir = "js"
			script(t, s, "node", cmd)
		})
	}
}
