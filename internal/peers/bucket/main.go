// Bucket runs an object storage with an empty bucket, for pages about logs that
// keep large payloads in one.
//
//	bucket [-for TIME]
//
// It prints "listening on URL", the URL of a part of the bucket, "tiles at
// URL", that of a part that everybody can read, and "public at URL", where they
// read it. It stops on a signal or after the time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/peers/bucketrig"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bucket:", err)
		os.Exit(2)
	}
}

func run() error {
	limit := flag.Duration("for", 30*time.Minute, "how long to run at most")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := bucketrig.Start(ctx)
	if err != nil {
		return err
	}
	defer r.Stop()
	if err := r.Publish(ctx, "public"); err != nil {
		return err
	}
	const tiles = "public/ledger"
	fmt.Printf("tiles at %s\npublic at %s\nlistening on %s\n", r.URL(tiles), r.Public(tiles), r.URL("ledger"))
	select {
	case <-ctx.Done():
	case <-time.After(*limit):
	}
	return nil
}
