package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

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

// admitter FLAGS...: answers the webhooks of a cluster until the script ends
// or killadmitter. It sets ADMISSION_URL.
func admitterScript(ts *testscript.TestScript, neg bool, args []string) {
	bin, err := exec.LookPath("muniment")
	ts.Check(err)
	cmd := exec.Command(bin, append([]string{"admission", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir, cmd.Stderr = ts.Getenv("WORK"), ts.Stderr()
	cmd.Env = append(os.Environ(), "MUNIMENT_SERVER="+ts.Getenv("MUNIMENT_SERVER"), "MUNIMENT_TOKEN_FILE="+ts.MkAbs(ts.Getenv("MUNIMENT_TOKEN_FILE")))
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ts.Defer(stop)
	admitters.Store(ts, stop)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok && strings.HasPrefix(url, "https://") {
			ts.Setenv("ADMISSION_URL", url)
			return
		}
	}
	ts.Fatalf("the admission server ended")
}

var admitters sync.Map // *testscript.TestScript → func()

// killadmitter kills the server of admitter.
func killAdmitterScript(ts *testscript.TestScript, neg bool, args []string) {
	stop, ok := admitters.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no admission server is running")
	}
	stop.(func())()
}
