// Command cluster runs the control plane of a Kubernetes cluster in a folder
// until it is interrupted, for the pages under docs/ and for trying things out.
// It prints the path of the kubeconfig once the API server is ready.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"muniment.dev/muniment/internal/peers/clusterrig"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: cluster FOLDER")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cluster, err := clusterrig.Start(ctx, os.Args[1])
	if err != nil {
		return err
	}
	defer cluster.Stop()
	fmt.Println(cluster.Kubeconfig)
	<-ctx.Done()
	return nil
}
