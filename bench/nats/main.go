// Command nats runs nats-server's MQTT listener, alone on loopback, as a peer for `petrel bench`.
//
// It is a module of its own so that nats-server is never linked into petrel's binary. `petrel bench
// --peers nats,nats-sync` builds it with `go build` and starts it; by hand:
//
//	nats --data DIR --mqtt 127.0.0.1:1884 [--sync]
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	data := flag.String("data", "", "JetStream's store directory (required)")
	addr := flag.String("mqtt", "127.0.0.1:1884", "MQTT listener, host:port")
	syncAlways := flag.Bool("sync", false, "JetStream `sync: always`: fsync each write")
	cert := flag.String("cert", "", "PEM certificate: the listener speaks TLS")
	key := flag.String("key", "", "PEM key of the certificate")
	flag.Parse()
	if err := run(*data, *addr, *cert, *key, *syncAlways); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

// run serves until SIGINT or SIGTERM and then shuts JetStream down in order.
func run(data, addr, cert, key string, syncAlways bool) error {
	if data == "" {
		return fmt.Errorf("--data is required: the directory of JetStream's files")
	}
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	opts := &server.Options{
		ServerName: "bench",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   data,
		SyncAlways: syncAlways,
		NoSigs:     true,
		MQTT:       server.MQTTOpts{Host: host, Port: port},
	}
	// MQTT sessions are JetStream consumers and need this many acknowledgements in flight to drain well.
	opts.MQTT.MaxAckPending = 0xFFFF
	opts.JetStreamLimits.DefaultMaxConsumers = -1 // the default allows 1,000 sessions
	if cert != "" {
		tc, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: cert, KeyFile: key})
		if err != nil {
			return err
		}
		opts.MQTT.TLSConfig = tc
		opts.MQTT.TLSTimeout = 10
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.ConfigureLogger() // to stderr: the bench shows its end when the server fails
	srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		srv.Shutdown()
		return fmt.Errorf("not ready within 30 s")
	}
	fmt.Fprintln(os.Stderr, "nats: ready on", addr)
	<-stop
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil
}
