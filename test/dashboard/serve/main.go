// Command serve shows the dashboard with releases that are made up and move by themselves, to look at it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/sluice-delivery/sluice/test/dashboard/world"
)

func main() {
	address := flag.String("address", "127.0.0.1:8091", "where to listen")
	count := flag.Int("canaries", 1000, "how many there are")
	move := flag.Duration("move", 0, "how often the releases that are under way move; 0 for never")
	people := flag.Bool("people", false, "have people log in, with token-of-alice, token-of-bob or token-of-eve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	w, err := world.New(*count)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	if *move > 0 {
		go w.Move(ctx, *move)
	}
	handler := w.Own
	if *people {
		handler = w.People
	}
	fmt.Println("http://" + *address)
	server := &http.Server{Addr: *address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}
