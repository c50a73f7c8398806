package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/petrelchat/petrel/broker"
	"github.com/petrelchat/petrel/broker/config"
	"github.com/petrelchat/petrel/chat"
)

// A server inside a program: it speaks MQTT to the outside, and the program posts and reads without
// a connection.
func Example() {
	dir, err := os.MkdirTemp("", "petrel-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	cfg := config.Default()
	cfg.Dev, cfg.Data = true, dir
	cfg.MQTT[0].Addr, cfg.HTTP.Addr = "127.0.0.1:0", ""
	ready := make(chan struct{})
	s, err := broker.New(broker.Options{Config: cfg, OnReady: func() { close(ready) }})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-ready // clients can connect to s.Addr("mqtt") now

	s.Call(ctx, "ann", "group.join", []byte(`{"conv":"general"}`))
	seq, err := s.Post("general", "ann", chat.Event{Text: "hello from the program"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored as", seq) // and synced to disk

	var reply struct {
		OK struct {
			Events []struct{ From, Text string }
		}
	}
	if err := json.Unmarshal(s.Call(ctx, "ann", "history", []byte(`{"conv":"general","limit":1}`)), &reply); err != nil {
		log.Fatal(err)
	}
	for _, e := range reply.OK.Events {
		fmt.Printf("%s: %s\n", e.From, e.Text)
	}

	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// stored as 3
	// ann: hello from the program
}
