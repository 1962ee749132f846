package operate

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/pods"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/proto/kinds"
)

type admissionReconcileCmd struct {
	clusterFlags
	Kubeconfig string        `help:"Kubeconfig of the cluster. Default: that of kubectl, or the cluster in which the program runs." placeholder:"FILE" predictor:"file" type:"path"`
	Context    string        `help:"Context in the kubeconfig." placeholder:"NAME"`
	Key        string        `help:"File with a private key, in PEM, that is registered to a person and signs the requests. Without it the submitter must be a person: use --identity-token." placeholder:"FILE" predictor:"file" type:"path"`
	Expires    time.Duration `help:"How long each exception lasts after the use, unless it is rejected." default:"24h" placeholder:"DURATION"`
	Once       bool          `help:"Record the uses that the cluster has now, and exit."`
	Listen     string        `help:"Serve /healthz, /readyz and /metrics on this address, in plain HTTP." placeholder:"HOST:PORT"`
}

func (admissionReconcileCmd) Help() string {
	return `Watches the Pods with the label muniment.dev/break-glass, which admission does not decide, and records each use once: as a request for break-glass in the
ledger, which another person must confirm or reject (muniment exception list --break-glass). The configuration maps the user who has created the Pod to a
person, who cannot confirm it; if it does not, no one can. Requests that a person has signed, in the annotation muniment.dev/break-glass-requests, are
recorded as they are. While the ledger is down, it tries again.

The ledger accepts requests from persons only, so the process needs --identity-token, or --key for a key that 'muniment signer register' has registered. It
needs the permission to list and watch Pods, and the role of an appender with the kind exception-request, which can also read.

Exit codes: 0 stopped by a signal, or with --once all uses are recorded; 1 with --once, some are refused; 2 could not start, or no answer.

Examples:
  muniment admission reconcile --admission-config admission.yaml --server https://ledger:7480 --token-file acme.token --key reconciler.key
  muniment admission reconcile --admission-config admission.yaml --server https://ledger:7480 --identity-token /var/run/secrets/muniment/token --tenant acme --once`
}

// retryInterval is the time between two attempts to record uses.
const retryInterval = 10 * time.Second

// maxPending is the number of uses that wait for the ledger. A later list
// finds the others again, while their Pods exist.
const maxPending = 10_000

// A reconciler records the uses of the label. The fields above mu are set
// before it runs.
type reconciler struct {
	*admissionReconcileCmd
	log     *slog.Logger
	cluster *pods.Cluster
	servers []*connection
	key     crypto.Signer // nil: the submitter is the person
	keyRead string        // state of its file
	uses    *prometheus.CounterVec
	wake    chan struct{}

	mu      sync.Mutex // guards what follows
	pending map[types.UID]*pendingUse
	done    map[types.UID]bool // recorded by this process
	contact error              // of the last call of the API server
	listed  bool
}

// A pendingUse is a Pod whose use of the label is not recorded yet.
type pendingUse struct {
	pod *corev1.Pod
	why string // the last attempt has failed
}

// Results of uses.
const (
	useRecorded = "recorded"
	useKnown    = "known"   // by an earlier run
	useNothing  = "nothing" // no control is enforced there, so it is exempt from none
	useRefused  = "refused"
	useFailed   = "failed" // to be tried again
)

func (c *admissionReconcileCmd) Run(a *term.App) error {
	if c.Expires <= 0 || c.Expires > kinds.MaxBreakGlass {
		return errors.New("--expires: break-glass lasts at most 24 hours")
	}
	if _, err := c.readConfig(); err != nil {
		return err
	}
	r := &reconciler{admissionReconcileCmd: c, log: a.ServiceLogger(c.LogFormat), wake: make(chan struct{}, 1), pending: map[types.UID]*pendingUse{}, done: map[types.UID]bool{},
		uses: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_break_glass_uses_total", Help: "Uses of the break-glass label, by the result of recording them."}, []string{"result"})}
	for _, result := range []string{useRecorded, useKnown, useNothing, useRefused, useFailed} {
		r.uses.WithLabelValues(result)
	}
	if c.Key == "" && c.IdentityToken == "" {
		return errors.New("the ledger accepts requests for exceptions from persons only: use --identity-token, or --key with a registered key")
	}
	err := r.readKey()
	if err != nil {
		return err
	}
	if r.servers, err = c.connect(a.Ctx, r.log); err != nil {
		return err
	}
	if r.cluster, err = pods.Connect(c.Kubeconfig, c.Context); err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	if c.Once {
		return r.once(a.Ctx)
	}
	return r.serve(a)
}

// readKey reads the key if its file has changed.
func (r *reconciler) readKey() error {
	state := filesState(r.Key)
	if r.Key == "" || state == r.keyRead {
		return nil
	}
	r.keyRead = state // an unusable file is reported once
	key, err := datadir.ReadPrivateKey(r.Key)
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	r.key = key
	return nil
}

// refresh applies changed files.
func (r *reconciler) refresh(ctx context.Context) {
	for _, c := range r.servers {
		_, _ = c.refresh(ctx) // it logs what it cannot apply
	}
	if err := r.readKey(); err != nil {
		r.log.Error("changed key not applied; the old one stays in force", "err", err)
	}
}

// once records what the cluster has now.
func (r *reconciler) once(ctx context.Context) error {
	if err := r.cluster.EachLabeled(ctx, labelBreakGlass, r.visit); err != nil {
		return err
	}
	refused, failed := r.round(ctx)
	switch {
	case failed > 0:
		return fmt.Errorf("%s not recorded: see the log for the reasons, and run the command again", term.Count(failed, "use"))
	case refused > 0:
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s refused by the ledger: see the log for the reasons", term.Count(refused, "use")))
	}
	return nil
}

// visit notes a Pod with the label.
func (r *reconciler) visit(p *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := p.Labels[labelBreakGlass]; !ok || r.done[p.UID] || r.pending[p.UID] == nil && len(r.pending) == maxPending {
		return
	}
	p.ManagedFields = nil
	if one := r.pending[p.UID]; one != nil {
		one.pod = p
	} else {
		r.pending[p.UID] = &pendingUse{pod: p}
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// round tries to record everything that is pending.
func (r *reconciler) round(ctx context.Context) (refused, failed int) {
	r.mu.Lock()
	var all []*corev1.Pod
	for _, one := range r.pending {
		all = append(all, one.pod)
	}
	r.mu.Unlock()
	for _, p := range all {
		if ctx.Err() != nil {
			return refused, failed + 1
		}
		result, err := r.record(ctx, p)
		r.uses.WithLabelValues(result).Inc()
		at := []any{"namespace", p.Namespace, "pod", p.Name, "user", p.Annotations[annotationBy]}
		switch result {
		case useFailed:
			failed++
			if r.failedAnew(p.UID, err) {
				r.log.Error("use of break-glass not recorded yet", append(at, "err", err)...)
			}
			continue
		case useNothing:
			r.log.Warn("use of break-glass where no control is enforced for images: there is nothing to record", at...)
		case useRefused:
			refused++
			r.log.Error("use of break-glass refused by the ledger", append(at, "err", err)...)
		case useRecorded:
			r.log.Warn("use of break-glass recorded: another person must confirm or reject it", at...)
		}
		r.mu.Lock()
		delete(r.pending, p.UID)
		if len(r.done) >= maxPending {
			clear(r.done) // the ledger knows them
		}
		r.done[p.UID] = true
		r.mu.Unlock()
	}
	return refused, failed
}

// failedAnew notes why a use is not recorded, and reports whether the reason is
// new.
func (r *reconciler) failedAnew(id types.UID, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, why := r.pending[id], err.Error()
	if one == nil || one.why == why {
		return false
	}
	one.why = why
	return true
}

// serve records uses until the context ends.
func (r *reconciler) serve(a *term.App) error {
	ctx, stop := context.WithCancel(a.Ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	var failed chan error
	if r.Listen != "" {
		site := sites["monitor"]
		site.Handler, site.Errors = r.handler(), HTTPErrors(r.log)
		l, err := edge.Listen(r.Listen, site)
		if err != nil {
			return err
		}
		defer l.Close()
		failed = l.Failed
		a.Listening("reconcile", "health checks on", l.URL)
	}
	running.Go(func() {
		defer crash.Report()
		r.cluster.FollowLabeled(ctx, labelBreakGlass, r.visit, func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.contact, r.listed = err, r.listed || err == nil; err != nil && ctx.Err() == nil {
				r.log.Warn("the API server gave no answer", "err", err)
			}
		})
	})
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	for {
		select {
		case <-a.Ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case <-r.wake:
		case <-tick.C:
		}
		r.refresh(ctx)
		r.round(ctx)
	}
}

// handler serves health checks and metrics.
func (r *reconciler) handler() http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(r.uses, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_break_glass_uses_pending", Help: "Pods whose use of the break-glass label is not recorded yet."}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(len(r.pending))
	}))
	h, _ := health("reconcile", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}), func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.listed {
			return ""
		}
		return "the Pods of the cluster are not listed yet"
	})
	return h
}
