// Database runs a PostgreSQL server with a synchronous standby, for pages about
// logs in databases.
//
//	database [-for TIME]
//
// It prints "listening on URL", where the URL has both servers, and stops on a
// signal or after the time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/peers/postgresrig"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "database:", err)
		os.Exit(2)
	}
}

func run() error {
	limit := flag.Duration("for", 30*time.Minute, "how long to run at most")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := postgresrig.StartPair(ctx)
	if err != nil {
		return err
	}
	defer p.Stop()
	fmt.Printf("listening on %s\n", p.URL(postgresrig.User))
	select {
	case <-ctx.Done():
	case <-time.After(*limit):
	}
	return nil
}
