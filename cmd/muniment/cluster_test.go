package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/clusterrig"
)

// cluster: starts the control plane of a cluster, whose contexts are admin,
// platform, developer and oncall. It sets KUBECONFIG, KUBE_SERVER and CHART,
// the folder of the Helm chart, and puts kubectl and helm on the path.
func clusterScript(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs("cluster")
	ts.Check(os.Mkdir(dir, 0o700))
	c, err := clusterrig.Start(context.Background(), dir)
	ts.Check(err)
	ts.Defer(c.Stop)
	ts.Setenv("KUBECONFIG", c.Kubeconfig)
	ts.Setenv("KUBE_SERVER", c.URL)
	chart, err := filepath.Abs("../../deploy/helm")
	ts.Check(err)
	ts.Setenv("CHART", chart)
	for _, name := range []string{"kubectl", "helm"} {
		bin, err := peers.Find(name)
		ts.Check(err)
		ts.Setenv("PATH", filepath.Dir(bin)+string(filepath.ListSeparator)+ts.Getenv("PATH"))
	}
}
