// Command cluster runs the control plane of a Kubernetes cluster in a folder
// until it is interrupted, for the pages under docs/ and for trying things out:
//
//	cluster FOLDER [PROGRAM]
//
// It prints the path of the kubeconfig once the API server is ready. With the
// path of the program muniment, it also runs the Pods of the namespace
// muniment, which requires root in a network and mount namespace of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"muniment.dev/muniment/internal/peers/clusterrig"
	"muniment.dev/muniment/internal/peers/noderig"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		return errors.New("usage: cluster FOLDER [PROGRAM]")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cluster, err := clusterrig.Start(ctx, os.Args[1])
	if err != nil {
		return err
	}
	defer cluster.Stop()
	fmt.Println(cluster.Kubeconfig)
	if len(os.Args) == 3 {
		node := noderig.Node{Cluster: cluster, Namespace: "muniment", Program: os.Args[2], Dir: filepath.Join(os.Args[1], "node")}
		return node.Run(ctx)
	}
	<-ctx.Done()
	return nil
}
