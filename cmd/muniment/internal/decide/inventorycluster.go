package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/controls/pods"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type inventoryClusterCmd struct {
	recordFlags
	Dump       string        `help:"Read a dump instead: the output of 'kubectl get pods --all-namespaces --output json', or yaml, or - for standard input." placeholder:"FILE" predictor:"file"`
	Kubeconfig string        `help:"Kubeconfig of the cluster. Default: that of kubectl, or the cluster in which this program runs." placeholder:"FILE" predictor:"file"`
	Context    string        `help:"Context of the kubeconfig. Default: the current one." placeholder:"NAME"`
	Watch      bool          `help:"Follow the cluster until interrupted, and record what ran since the last inventory, also if it has ended."`
	Every      time.Duration `help:"With --watch: the shortest time between two inventories. One is recorded if something has changed, and once in 12 hours." default:"15m" placeholder:"DURATION"`
}

func (inventoryClusterCmd) Help() string {
	return `Lists the Pods of all namespaces, which requires the right to list Pods, and for --watch to watch them. The digest of what runs is the one that the node
reports in a container's status, or else the digest in the Pod's specification. Init and ephemeral containers and image volumes count as well. What has
neither digest is recorded without one, and is never attested. Pods that have ended run nothing.

Static Pods, which the kubelet starts by itself, are marked: no admission webhook has decided about them.

Without --source the inventory is named after the UID of the namespace kube-system, so that each cluster replaces its own. A dump is named "kubernetes".

Exit code: 0 recorded; 1 refused; 2 the cluster or the server did not answer.

Examples:
  muniment inventory cluster --environment production/eu
  muniment inventory cluster --environment production/eu --watch
  kubectl get pods --all-namespaces --output json | muniment inventory cluster --environment production/eu --dump -`
}

// sameFor is how long an inventory that has not changed stands for itself.
const sameFor = 12 * time.Hour

func (c *inventoryClusterCmd) Run(a *term.App) error {
	switch {
	case c.Dump != "" && (c.Watch || c.Kubeconfig != "" || c.Context != ""):
		return errors.New("--dump: cannot be used with --watch, --kubeconfig or --context")
	case c.Watch && c.DryRun:
		return errors.New("--watch: cannot be used with --dry-run")
	case c.Watch && c.Every < time.Second:
		return errors.New("--every: must be at least 1s")
	}
	var client *muniment.Client
	if !c.DryRun {
		var err error
		if client, err = c.Client(nil, nil); err != nil {
			return err
		}
	}
	if c.Dump != "" {
		return c.dump(a, client)
	}
	cluster, err := pods.Connect(c.Kubeconfig, c.Context)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	if c.Source == "" {
		c.Source = "kubernetes " + cluster.ID(a.Ctx)
	}
	if c.Watch {
		return c.watch(a, client, cluster)
	}
	at := time.Now()
	tally, err := cluster.Count(a.Ctx)
	if err != nil {
		return err
	}
	return c.print(a, client, at, tally)
}

func (c *inventoryClusterCmd) dump(a *term.App, client *muniment.Client) error {
	if c.Source == "" {
		c.Source = "kubernetes"
	}
	in, at := a.Stdin, time.Now()
	if c.Dump != "-" {
		f, err := interrupt.Open(c.Dump)
		if err != nil {
			return fmt.Errorf("--dump: %w", err)
		}
		defer f.Close()
		// the cluster was like this when the file was written
		if info, err := f.Stat(); err == nil && info.ModTime().Before(at) {
			at = info.ModTime()
		}
		in = f
	}
	tally := &pods.Tally{}
	if err := pods.ReadDump(in, tally.Add); err != nil {
		return fmt.Errorf("--dump: %w", err)
	}
	return c.print(a, client, at, tally)
}

func (c *inventoryClusterCmd) print(a *term.App, client *muniment.Client, at time.Time, tally *pods.Tally) error {
	o := &observed{scope: scopeRuns, at: at}
	o.items, o.unidentified = tally.Items()
	o.notes = append(o.notes, podCounts(tally))
	report, err := c.record(a.Ctx, client, o)
	if err != nil {
		return err
	}
	return c.Print(a, report)
}

func podCounts(t *pods.Tally) string {
	text := term.Count(t.Pods, "Pod")
	if t.Static > 0 {
		text += fmt.Sprintf(", %d static", t.Static)
	}
	if t.Terminated > 0 {
		text += fmt.Sprintf(", and %d that have ended", t.Terminated)
	}
	return text
}

// watch follows the cluster until the command is interrupted.
func (c *inventoryClusterCmd) watch(a *term.App, client *muniment.Client, cluster *pods.Cluster) error {
	follower := pods.NewFollower()
	ctx, cancel := context.WithCancel(a.Ctx)
	done := make(chan struct{})
	go func() {
		defer crash.Report()
		defer close(done)
		follower.Run(ctx, cluster, func(err error) { fmt.Fprintf(a.Stderr, "muniment: %s: trying again\n", term.Quoted(err.Error())) })
	}()
	defer func() { cancel(); <-done }()
	select {
	case <-a.Ctx.Done():
		return a.Ctx.Err()
	case <-follower.Synced():
	}
	every := time.NewTicker(c.Every)
	defer every.Stop()
	w := &watching{cmd: c, app: a, client: client, follower: follower}
	for {
		if err := w.look(); err != nil {
			return err
		}
		select {
		case <-a.Ctx.Done():
			return a.Ctx.Err()
		case <-every.C:
		}
	}
}

// A watching records a cluster from time to time.
type watching struct {
	cmd      *inventoryClusterCmd
	app      *term.App
	client   *muniment.Client
	follower *pods.Follower

	last     *observed // recorded
	unsaved  *pods.Tally
	recorded time.Time
}

// look records what ran since the last inventory, if it differs from it or that
// is old. What could not be recorded is recorded the next time.
func (w *watching) look() error {
	at := time.Now()
	tally, err := w.follower.Take()
	if err != nil {
		fmt.Fprintf(w.app.Stderr, "muniment: not recorded, because the cluster does not answer: %s\n", term.Quoted(err.Error()))
		return nil
	}
	if w.unsaved != nil {
		if err := tally.Merge(w.unsaved); err != nil {
			return err
		}
	}
	o := &observed{scope: scopeRuns, at: at}
	o.items, o.unidentified = tally.Items()
	if w.last != nil && w.last.same(o) && at.Sub(w.recorded) < sameFor {
		return nil
	}
	o.notes = append(o.notes, podCounts(tally))
	report, err := w.cmd.record(w.app.Ctx, w.client, o)
	if exit := (*term.ExitError)(nil); errors.As(err, &exit) || w.app.Ctx.Err() != nil {
		return err
	}
	if err != nil {
		w.unsaved = tally
		fmt.Fprintf(w.app.Stderr, "muniment: not recorded: %s: trying again\n", term.Quoted(err.Error()))
		return nil
	}
	w.last, w.recorded, w.unsaved = o, at, nil
	return w.cmd.Print(w.app, report)
}

// same reports whether two observations list the same.
func (o *observed) same(other *observed) bool {
	return slices.EqualFunc(o.items, other.items, func(a, b *munimentv1.InventoryItem) bool { return proto.Equal(a, b) }) &&
		slices.EqualFunc(o.unidentified, other.unidentified, func(a, b *munimentv1.UnidentifiedItem) bool { return proto.Equal(a, b) })
}
