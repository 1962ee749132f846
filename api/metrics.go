package api

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	grpccodes "google.golang.org/grpc/codes"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/notify"
	"muniment.dev/muniment/api/portal"
	"muniment.dev/muniment/api/rpc"
	"muniment.dev/muniment/clients/go/adaptivecache/cachemetrics"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/offload"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Metrics are the metrics of a server. No label contains a tenant, a token or
// anything from a payload.
type Metrics struct {
	registry  *prometheus.Registry
	calls     *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	entries   prometheus.Counter
	batch     prometheus.Histogram
	commit    prometheus.Histogram
	sign      prometheus.Histogram
	refused   *prometheus.CounterVec
	decided   *prometheus.CounterVec // by admission policies
	gated     *prometheus.CounterVec // by gates
	glass     prometheus.Counter     // broken
	reports   *prometheus.CounterVec // of verifications
	turned    *prometheus.CounterVec // away
	limited   *prometheus.CounterVec
	waiting   prometheus.Gauge
	delayed   prometheus.Counter
	forwarded prometheus.Counter
	rekor     *prometheus.CounterVec
	replica   *prometheus.CounterVec
	follow    *prometheus.CounterVec
	// why a replica cannot follow its log at present; nil: it can
	followError atomic.Pointer[string]
	shared      atomic.Pointer[sharedConfiguration] // nil: no other server shares the configuration
	witnesses   atomic.Pointer[witnessMetrics]      // nil: there is no watch
	// the state of the copy of the log in a bucket; nil: there is none
	copied   atomic.Pointer[func() offload.Status]
	events   *prometheus.CounterVec // tried to be delivered to webhooks
	signins  *prometheus.CounterVec // of people
	portal   atomic.Pointer[portal.Portal]
	notifier atomic.Pointer[notify.Notifier]

	// recorded is called by the ledger for what it records; nil until there is
	// a server.
	recorded atomic.Pointer[func(stream entry.Hash, entries int, bytes int64)]
	// books count what callers of a server hold; nil until there is one.
	book, rekorBook atomic.Pointer[limit.Book]
}

// NewMetrics returns metrics with a registry of their own. Every counter that
// an alert may be written for exists from the start, at 0: a rate over a series
// that appears with its first event misses that event.
func NewMetrics(version string) *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{
		registry: r,
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_rpc_total",
			Help: "Calls by procedure and code."}, []string{"procedure", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "muniment_rpc_seconds",
			Help: "Duration of calls, streams excepted.", Buckets: prometheus.ExponentialBuckets(0.0002, 2.5, 12)}, []string{"procedure"}),
		entries: prometheus.NewCounter(prometheus.CounterOpts{Name: "muniment_entries_total",
			Help: "Entries committed by this process."}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "muniment_batch_entries",
			Help: "Entries in one commit.", Buckets: prometheus.ExponentialBuckets(1, 4, 8)}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "muniment_commit_seconds",
			Help: "Duration of one durable commit.", Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12)}),
		sign: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "muniment_publish_seconds",
			Help: "Duration of signing and publishing a checkpoint.", Buckets: prometheus.ExponentialBuckets(0.00001, 2.5, 10)}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_refused_entries_total",
			Help: "Entries that were refused, by reason."}, []string{"reason"}),
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_admission_decisions_total",
			Help: "Decisions of admission policies, by result and class of reason."}, []string{"result", "reason"}),
		gated: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_gate_decisions_total",
			Help: "Decisions of gates, by decision and whether an entry was recorded for it."}, []string{"decision", "recorded"}),
		glass: prometheus.NewCounter(prometheus.CounterOpts{Name: "muniment_break_glass_total",
			Help: "Requests for exceptions by break-glass that were recorded."}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_verification_reports_total",
			Help: "Verification reports of tenants that were recorded, by verdict and verifier."}, []string{"verdict", "verifier"}),
		turned: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_refused_requests_total",
			Help: "Requests that were refused before they reached a procedure, by code."}, []string{"code"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_limited_calls_total",
			Help: "Calls that were refused because of a tenant's limit, by limit."}, []string{"limit"}),
		forwarded: prometheus.NewCounter(prometheus.CounterOpts{Name: "muniment_forwarded_calls_total",
			Help: "Calls that were forwarded to the server of the log that commits."}),
		delayed: prometheus.NewCounter(prometheus.CounterOpts{Name: "muniment_delayed_calls_total",
			Help: "Calls that waited because many calls of the same caller had failed."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "muniment_limit_waiting_calls",
			Help: "Calls that wait because of a tenant's limit."}),
		replica: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_replica_updates_total",
			Help: "Attempts of a replica to follow its log, by result."}, []string{"result"}),
		follow: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_replica_follow_failures_total",
			Help: "Failures of a replica to follow its log, by reason."}, []string{"reason"}),
		rekor: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_rekor_requests_total",
			Help: "Requests for an entry of the Rekor log, by code."}, []string{"code"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_webhook_attempts_total",
			Help: "Attempts to deliver an event to a webhook, by result."}, []string{"result"}),
		signins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_portal_signins_total",
			Help: "Attempts of people to sign in to the portal, by method and outcome."}, []string{"method", "outcome"}),
	}
	m.initialize(version)
	r.MustRegister(m.calls, m.seconds, m.entries, m.batch, m.commit, m.sign, m.refused, m.decided, m.gated, m.glass, m.reports, m.turned, m.limited, m.waiting, m.delayed, m.forwarded, m.rekor, m.events, m.signins,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchHolds adds a gauge for each resource that callers of a server hold.
func (m *Metrics) watchHolds() {
	for server, book := range map[string]*atomic.Pointer[limit.Book]{"api": &m.book, "rekor": &m.rekorBook} {
		for _, r := range limit.All() {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_held", ConstLabels: prometheus.Labels{"server": server, "resource": r.Label()},
				Help: "What all callers hold of a bounded resource, by server."}, func() float64 {
				if b := book.Load(); b != nil {
					return float64(b.Total(r))
				}
				return 0
			}))
		}
	}
}

// procedures yields the RPCs of the API.
func procedures(yield func(string) bool) {
	for route := range apiRoutes {
		if strings.HasPrefix(route, "/muniment.v1.") && !yield(route) {
			return
		}
	}
}

// initialize creates the series whose labels are known beforehand.
func (m *Metrics) initialize(version string) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "muniment_build_info",
		Help: "1; the labels describe the program."}, []string{"version", "go"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(build)
	m.watchHolds()
	for procedure := range procedures {
		m.calls.WithLabelValues(procedure, codeLabel(nil))
		m.seconds.WithLabelValues(procedure)
	}
	for _, reason := range refusalReasons() {
		m.refused.WithLabelValues(reason)
	}
	for _, result := range policy.Results {
		for _, class := range policy.Classes {
			if admitted := result == entry.Admitted; admitted == (class == policy.ByRule) {
				m.decided.WithLabelValues(result, class)
			}
		}
	}
	for _, o := range evaluate.Outcomes {
		for _, recorded := range rpc.RecordedLabels {
			m.gated.WithLabelValues(string(o), recorded)
		}
	}
	for _, verdict := range verdicts {
		for _, verifier := range verifiers {
			m.reports.WithLabelValues(verdict, verifier)
		}
	}
	for code := connect.CodeCanceled; code <= connect.CodeUnauthenticated; code++ {
		m.turned.WithLabelValues(code.String())
	}
	for code := grpccodes.OK; code <= grpccodes.Unauthenticated; code++ {
		m.rekor.WithLabelValues(code.String())
	}
	for _, delivered := range []bool{true, false} {
		m.events.WithLabelValues(attemptLabel(delivered))
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_webhook_waiting_events",
		Help: "Events that have happened and that a webhook has not received."}, func() float64 {
		if n := m.notifier.Load(); n != nil {
			return float64(n.Waiting())
		}
		return 0
	}))
	for _, method := range portal.Methods {
		for _, outcome := range portal.Outcomes {
			m.signins.WithLabelValues(method, string(outcome))
		}
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_portal_sessions",
		Help: "Sessions of browsers in the portal."}, func() float64 {
		if p := m.portal.Load(); p != nil {
			return float64(p.Sessions())
		}
		return 0
	}))
	for _, label := range limit.Labels {
		m.limited.WithLabelValues(label)
	}
	for _, r := range limit.All() {
		m.limited.WithLabelValues(r.HeldLabel())
	}
}

// Observer returns the observer for the ledger.
func (m *Metrics) Observer() ledger.Observer {
	return ledger.Observer{
		Committed: func(entries int, commit, sign time.Duration) {
			m.entries.Add(float64(entries))
			m.batch.Observe(float64(entries))
			m.commit.Observe(commit.Seconds())
			m.sign.Observe(sign.Seconds())
		},
		Recorded: func(stream entry.Hash, entries int, bytes int64) {
			if count := m.recorded.Load(); count != nil {
				(*count)(stream, entries, bytes)
			}
		},
		Refused: func(reason error) {
			m.refused.WithLabelValues(reasonLabel(reason)).Inc()
		},
	}
}

// eventTried counts an attempt to deliver an event.
func (m *Metrics) eventTried(delivered bool) { m.events.WithLabelValues(attemptLabel(delivered)).Inc() }

func attemptLabel(delivered bool) string {
	if delivered {
		return "delivered"
	}
	return "failed"
}

// decision counts a decision of an admission policy.
func (m *Metrics) gateDecision(decision, recorded string) {
	m.gated.WithLabelValues(decision, recorded).Inc()
}

func (m *Metrics) decision(d *policy.Decision) { m.decided.WithLabelValues(d.Result, d.Class()).Inc() }

// Watch adds gauges that are read from the ledger.
func (m *Metrics) Watch(l *ledger.Ledger, freeBytes func() (uint64, error)) {
	gauge := func(name, help string, f func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	gauge("muniment_tree_size", "Entries in the published log.", func() float64 { return float64(l.Published().Size) })
	gauge("muniment_pending_entries", "Entries waiting to be sequenced.", func() float64 { return float64(l.Pending()) })
	gauge("muniment_pending_rows", "Rows of the index that these will have.", func() float64 { return float64(l.PendingRows()) })
	gauge("muniment_unpurged_erasures", "Erased entries whose bytes may still lie in the store's files.", func() float64 { return float64(l.Unpurged()) })
	if member, c := l.Cache(); c != nil {
		m.registry.MustRegister(cachemetrics.New(member, map[string]cachemetrics.Cache{ledger.EntryCache: c}))
	}
	gauge("muniment_ready", "1 if appends are taken.", func() float64 {
		if l.Ready() != nil {
			return 0
		}
		return 1
	})
	gauge("muniment_disk_free_bytes", "Free space where the store lies.", func() float64 {
		n, err := freeBytes()
		if err != nil {
			return -1
		}
		return float64(n)
	})
}

// WatchReplica exports how well the replica knows its log.
func (m *Metrics) WatchReplica(l *ledger.Ledger) {
	m.registry.MustRegister(m.replica, m.follow, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_replica_as_of_timestamp_seconds", Help: "Time up to which the replica knows the log."},
		func() float64 { return float64(l.AsOf().UnixMilli()) / 1000 }))
	for _, result := range []string{"imported", "current", "failed"} {
		m.replica.WithLabelValues(result)
	}
	for _, reason := range followReasons {
		m.follow.WithLabelValues(reason)
	}
}

// Reasons why a replica cannot follow its log.
const (
	FollowUnreachable = "unreachable"  // no connection
	FollowStalled     = "stalled"      // the server sends nothing, or too slowly
	FollowAnswer      = "answer"       // not the answer of a ledger
	FollowRefused     = "refused"      // the server refuses the credentials
	FollowServer      = "server"       // the server reports another error
	FollowReplica     = "replica"      // the server is a replica
	FollowRolledBack  = "rolled_back"  // the log is smaller than the replica
	FollowForked      = "forked"       // the log has two histories
	FollowNotVerified = "not_verified" // the checkpoint or the delta
	FollowDisk        = "disk"         // no room, or an error of the file system
	FollowSpool       = "spool"        // the log does not take the decisions
	FollowOther       = "other"
)

var followReasons = []string{FollowUnreachable, FollowStalled, FollowAnswer, FollowRefused, FollowServer, FollowReplica, FollowRolledBack, FollowForked, FollowNotVerified, FollowDisk, FollowSpool, FollowOther}

// ReplicaUpdate counts an attempt of a replica to follow its log, by result:
// imported, current or failed.
func (m *Metrics) ReplicaUpdate(result string) { m.replica.WithLabelValues(result).Inc() }

// ReplicaFailed counts a failure, and keeps its text for operators until an
// attempt succeeds. See FollowError of Health.
func (m *Metrics) ReplicaFailed(reason, text string) {
	if m.follow.WithLabelValues(reason).Inc(); reason != FollowSpool { // an update has come first
		m.ReplicaUpdate("failed")
	}
	m.followError.Store(&text)
}

// ReplicaFollows reports that an attempt has succeeded.
func (m *Metrics) ReplicaFollows() { m.followError.Store(nil) }

// RekorObserver returns the function that counts answers of the Rekor log.
func (m *Metrics) RekorObserver() func(code string) {
	return func(code string) { m.rekor.WithLabelValues(code).Inc() }
}

// Delayed counts a call that waited because others of its caller had failed.
func (m *Metrics) Delayed() { m.delayed.Inc() }

// WatchRekor adds the size of the Rekor log, and what its callers hold.
func (m *Metrics) WatchRekor(l *ledger.Ledger, book *limit.Book) {
	m.rekorBook.Store(book)
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_rekor_tree_size", Help: "Entries in the published Rekor log."},
		func() float64 { return float64(l.Published().Size) }))
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *Metrics) interceptor() connect.Interceptor {
	i := &metricsInterceptor{m: m, ok: map[string]succeeded{}}
	for procedure := range procedures {
		i.ok[procedure] = succeeded{m.calls.WithLabelValues(procedure, codeLabel(nil)), m.seconds.WithLabelValues(procedure)}
	}
	return i
}

type metricsInterceptor struct {
	m  *Metrics
	ok map[string]succeeded // by procedure
}

// succeeded are the series of a procedure's successful calls, which are most.
type succeeded struct {
	calls   prometheus.Counter
	seconds prometheus.Observer
}

func (i *metricsInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		start := time.Now()
		res, err := next(ctx, req)
		series := i.ok[req.Spec().Procedure]
		if series.seconds.Observe(time.Since(start).Seconds()); err == nil {
			series.calls.Inc()
		} else {
			i.m.calls.WithLabelValues(req.Spec().Procedure, codeLabel(err)).Inc()
		}
		return res, err
	}
}

func (i *metricsInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i *metricsInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		i.m.calls.WithLabelValues(conn.Spec().Procedure, codeLabel(err)).Inc()
		return err
	}
}

func codeLabel(err error) string {
	if err == nil {
		return "ok"
	}
	return connect.CodeOf(err).String()
}

// healthChecker answers gRPC health checks.
type healthChecker struct{ s *Server }

func (h healthChecker) Check(_ context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && req.Service != munimentv1connect.LedgerServiceName {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("unknown service %q", req.Service))
	}
	if h.s.ready() != nil {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}
