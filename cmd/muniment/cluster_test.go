package main

import (
	"bufio"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/clusterrig"
	"muniment.dev/muniment/internal/peers/link"
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
	ts.Setenv("KUBE_AUDIT", c.Audit)
	clusters.Store(ts, c)
	chart, err := filepath.Abs("../../deploy/helm")
	ts.Check(err)
	ts.Setenv("CHART", chart)
	for _, name := range []string{"kubectl", "helm"} {
		bin, err := peers.Find(name)
		ts.Check(err)
		ts.Setenv("PATH", filepath.Dir(bin)+string(filepath.ListSeparator)+ts.Getenv("PATH"))
	}
}

var clusters sync.Map // *testscript.TestScript → *clusterrig.Cluster

// restartcluster restarts the API server, which then answers no watch from an
// earlier version.
func restartClusterScript(ts *testscript.TestScript, neg bool, args []string) {
	c, ok := clusters.Load(ts)
	if !ok {
		ts.Fatalf("no cluster is running")
	}
	ts.Check(c.(*clusterrig.Cluster).Restart(context.Background()))
}

// link NAME URL: forwards connections to the server of a URL, or of one in a
// file, and sets NAME to the URL of the link.
func linkScript(ts *testscript.TestScript, neg bool, args []string) {
	target := args[1]
	if !strings.Contains(target, "://") {
		target = strings.TrimSpace(ts.ReadFile(target))
	}
	u, err := url.Parse(target)
	ts.Check(err)
	l, err := link.New(u.Host)
	ts.Check(err)
	ts.Defer(l.Close)
	links.Store(linkKey{ts, args[0]}, l)
	u.Host = l.Address()
	ts.Setenv(args[0], u.String())
}

// cut NAME: cuts a link.
func cutScript(ts *testscript.TestScript, neg bool, args []string) { linkOf(ts, args[0]).Cut() }

// join NAME: undoes cut.
func joinScript(ts *testscript.TestScript, neg bool, args []string) { linkOf(ts, args[0]).Join() }

type linkKey struct {
	script *testscript.TestScript
	name   string
}

var links sync.Map // linkKey → *link.Link

func linkOf(ts *testscript.TestScript, name string) *link.Link {
	l, ok := links.Load(linkKey{ts, name})
	if !ok {
		ts.Fatalf("no link %s", name)
	}
	return l.(*link.Link)
}

// startLogged starts a program of the script that runs until the script ends or
// stop is called. It appends its log to NAME.log. The lines are its output.
func startLogged(ts *testscript.TestScript, name string, args []string, env ...string) (lines *bufio.Scanner, stop func()) {
	bin, err := exec.LookPath("muniment")
	ts.Check(err)
	log, err := os.OpenFile(ts.MkAbs(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	cmd := exec.Command(bin, args...)
	cmd.Dir, cmd.Stderr = ts.Getenv("WORK"), log
	cmd.Env = append(append(os.Environ(), "MUNIMENT_TOKEN_FILE="+ts.MkAbs(ts.Getenv("MUNIMENT_TOKEN_FILE"))), env...)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
	})
	ts.Defer(stop)
	return bufio.NewScanner(out), stop
}

// replica NAME FLAGS...: serves the replica in the folder NAME until the script
// ends. It writes its URL to NAME.url, and appends its log to NAME.log.
func replicaScript(ts *testscript.TestScript, neg bool, args []string) {
	lines, _ := startLogged(ts, args[0], append([]string{"serve", "--data", args[0], "--listen", "127.0.0.1:0"}, args[1:]...))
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok {
			ts.Check(os.WriteFile(ts.MkAbs(args[0]+".url"), []byte(url), 0o600))
			return
		}
	}
	ts.Fatalf("the replica ended")
}

// reconciler FLAGS...: records the uses of break-glass in a cluster until the
// script ends or killreconciler, and appends its log to reconciler.log.
func reconcilerScript(ts *testscript.TestScript, neg bool, args []string) {
	lines, stop := startLogged(ts, "reconciler", append([]string{"admission", "reconcile", "--listen", "127.0.0.1:0"}, args...), "KUBECONFIG="+ts.Getenv("KUBECONFIG"))
	reconcilers.Store(ts, stop)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "health checks on "); ok {
			ts.Setenv("RECONCILER", url)
			return
		}
	}
	ts.Fatalf("the reconciler ended")
}

var reconcilers sync.Map // *testscript.TestScript → func()

// killreconciler kills the process of reconciler.
func killReconcilerScript(ts *testscript.TestScript, neg bool, args []string) {
	stop, ok := reconcilers.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no reconciler is running")
	}
	stop.(func())()
}

// admitter FLAGS...: answers the webhooks of a cluster until the script ends
// or killadmitter. It sets ADMISSION_URL and ADMISSION_HEALTH, and appends its
// log to admitter.log.
func admitterScript(ts *testscript.TestScript, neg bool, args []string) {
	lines, stop := startLogged(ts, "admitter", append([]string{"admission", "--listen", "127.0.0.1:0"}, args...), "MUNIMENT_SERVER="+ts.Getenv("MUNIMENT_SERVER"))
	admitters.Store(ts, stop)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "health checks on "); ok {
			ts.Setenv("ADMISSION_HEALTH", url)
		}
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
