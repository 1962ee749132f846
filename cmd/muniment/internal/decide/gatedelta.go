package decide

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/fieldrules"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/facts"
)

// deltaFlags make the gate decide from files, without the ledger.
type deltaFlags struct {
	Delta     []string `help:"Decide offline, from delta files: the first from size 0, and each further one from where the one before ends. Requires --policy, --stream-key, and --spool or --dry-run." placeholder:"FILE" predictor:"file" sep:"none"`
	Bundle    string   `help:"Decide offline, from an evidence bundle. Requires --policy, --stream-key, and --spool or --dry-run." placeholder:"FILE" predictor:"file"`
	StreamKey string   `help:"With --delta or --bundle: the tenant's stream key, which proves that nothing is missing." env:"MUNIMENT_STREAM_KEY" placeholder:"FILE" predictor:"file" type:"path"`
}

// byFile decides from delta files or a bundle. It reads them into a replica in
// a temporary folder, so the decision takes the same path as that of a server.
func (c *gateCmd) byFile(a *term.App, request *munimentv1.DecideRequest) (report *gateReport, err error) {
	keeps := !c.DryRun && request.At == nil
	flag := "--delta"
	if c.Bundle != "" {
		flag = "--bundle"
	}
	switch {
	case c.Bundle != "" && len(c.Delta) > 0:
		return nil, errors.New("--bundle and --delta cannot be used together")
	case c.Policy == "" || c.StreamKey == "":
		return nil, fmt.Errorf("%s: requires --policy and --stream-key, which prove that the file is genuine and complete", flag)
	case keeps && c.Spool == "":
		return nil, fmt.Errorf("%s: specify --spool, a folder that keeps the decision until it is submitted to the ledger, or use --dry-run", flag)
	}
	c.Offline = true
	// leaves the rest of 256 MiB for what the store keeps outside Go's heap
	datadir.TuneMemoryTo(100, 96<<20)
	r, err := c.openFiles(a)
	if err != nil {
		return nil, fmt.Errorf("could not decide: %w", err)
	}
	defer func() { err = errors.Join(err, r.close()) }()
	tenant, err := r.tenant(a.Ctx, c.Tenant)
	if err != nil {
		return nil, err
	}
	gate := newOfflineGate(r.log, r.stream, time.Now)
	if c.Bundle != "" {
		gate.reads = decide.GateBundle
	}
	if keeps {
		if gate.spool, err = spool.Make(c.Spool); err != nil {
			return nil, fmt.Errorf("--spool: %w", err)
		}
		defer gate.spool.Close()
	}
	return c.ask(a, &muniment.Client{Tenant: tenant, Gate: gate}, request)
}

// A tempReplica is a replica in a temporary folder.
type tempReplica struct {
	dir    string
	policy *receipt.TrustPolicy
	stream *ledger.Stream
	store  store.Store // nil until it is open
	ledger *ledger.Ledger
	log    gateLog // the ledger, or the content of a bundle
}

// close removes the replica, which contains the tenant's evidence.
func (r *tempReplica) close() error {
	if r.ledger != nil {
		r.ledger.Close()
	}
	var err error
	if r.store != nil {
		err = r.store.Close()
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

// importReserve is the disk space in bytes that an import leaves free.
const importReserve = 64 << 20

// openFiles verifies the deltas or the bundle, and imports them into a
// temporary folder.
func (c *gateCmd) openFiles(a *term.App) (_ *tempReplica, err error) {
	policy, err := datadir.ReadPolicyFile(c.Policy)
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	if policy.PostQuantum() && c.Bundle == "" {
		return nil, errors.New("--policy: specify the policy with the log's Ed25519 key, which signs deltas")
	}
	key, err := datadir.ReadStreamKey(c.StreamKey)
	if err != nil {
		return nil, fmt.Errorf("--stream-key: %w", err)
	}
	r, err := newTempReplica(a, policy, key)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if c.Bundle != "" {
		return r, r.openBundle(a, c.Bundle)
	}
	for _, path := range c.Delta {
		if err := r.importDelta(a, path); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	err = r.open(a)
	r.log = r.ledger
	return r, err
}

// newTempReplica returns an empty replica, for the stream of a key or for none
// that is known. It has the streams of what is imported.
func newTempReplica(a *term.App, policy *receipt.TrustPolicy, key *entry.StreamKey) (_ *tempReplica, err error) {
	r := &tempReplica{policy: policy}
	if key != nil {
		r.stream = ledger.NewStream(*key)
	}
	if r.dir, err = os.MkdirTemp("", "muniment-gate-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := mark.Create(filepath.Join(r.dir, datadir.StoreDir)); err != nil {
		return nil, err
	}
	r.store, err = datadir.OpenStore(a.Ctx, r.dir, datadir.ReplicaOf(policy.Origin()), a.StoreLogger(slog.LevelWarn))
	return r, err
}

// options returns the options of imports.
func (r *tempReplica) options() ledger.ImportOptions {
	o := ledger.ImportOptions{Policy: r.policy, Derive: facts.Derive, ReserveBytes: importReserve}
	if r.stream != nil {
		o.Streams = []*ledger.Stream{r.stream}
	}
	return o
}

// open opens what was imported.
func (r *tempReplica) open(a *term.App) (err error) {
	r.ledger, err = ledger.OpenReplica(a.Ctx, ledger.Config{Store: r.store, Logger: a.StoreLogger(slog.LevelWarn)}, r.policy)
	return err
}

// importDelta verifies and imports a delta.
func (r *tempReplica) importDelta(a *term.App, path string) error {
	o := r.options()
	show, finish := a.ProgressFunc("verify " + filepath.Base(path))
	defer finish()
	o.Progress = show
	f, size, err := interrupt.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = ledger.Import(a.Ctx, r.store, f, size, o)
	return err
}

// openBundle verifies a bundle, imports and opens it.
func (r *tempReplica) openBundle(a *term.App, path string) error {
	f, size, err := interrupt.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, _, err := verifyBundle(a, f, size, filepath.Base(path), []*receipt.TrustPolicy{r.policy}, bundlefile.Options{StreamKey: &r.stream.Key})
	if err == nil {
		r.log, err = r.importBundle(a, b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// importBundle imports a verified bundle, and returns its content.
func (r *tempReplica) importBundle(a *term.App, b *bundlefile.Bundle) (*bundle.Log, error) {
	open := func() (ledger.Growth, error) { return bundle.OpenGrowth(a.Ctx, b) }
	_, err := ledger.ImportGrowth(a.Ctx, r.store, open, r.options())
	if err == nil {
		err = r.open(a)
	}
	if err != nil {
		return nil, err
	}
	return bundle.NewLog(a.Ctx, r.ledger, b)
}

// tenant returns the tenant of the stream, which its entries name.
func (r *tempReplica) tenant(ctx context.Context, given string) (string, error) {
	for q := (ledger.Query{Limit: 100}); ; {
		page, err := r.ledger.List(ctx, r.stream, q)
		if err != nil {
			return "", err
		}
		for i := range page.Entries {
			h := page.Entries[i].Header
			switch {
			case h == nil: // erased
			case given != "" && given != h.Tenant:
				return "", fmt.Errorf("--tenant: the stream key is that of the tenant %s", h.Tenant)
			default:
				return h.Tenant, nil
			}
		}
		if q.Token = page.Next; q.Token == "" {
			break
		}
	}
	if given == "" {
		return "", errors.New("no entry of the stream names its tenant: use --tenant")
	}
	return given, nil
}

// localUser names the user of this machine.
func localUser() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// An offlineGate answers as the API's gate, without recording decisions. It
// spools them instead, if it has a spool.
type offlineGate struct {
	munimentv1connect.GateServiceClient // nil: it has no other calls

	decider *decide.Decider
	stream  *ledger.Stream
	log     string
	reads   string // as spooled decisions name it
	caller  string
	spool   *spool.Spool
}

// A gateLog is what an offline gate decides from.
type gateLog interface {
	decide.Log
	decide.FactsLog
	Origin() string
}

// newOfflineGate returns a gate that decides from a replica.
func newOfflineGate(l gateLog, s *ledger.Stream, now func() time.Time) *offlineGate {
	exceptions := &exception.Projection{Log: l, Now: now}
	d := &decide.Decider{Log: l, Facts: decide.StoredFacts{Log: l}, Exceptions: exceptions, Now: now}
	return &offlineGate{decider: d, stream: s, log: l.Origin(), reads: decide.GateDelta, caller: localUser()}
}

// GetControlSet implements munimentv1connect.GateServiceClient.
func (g *offlineGate) GetControlSet(ctx context.Context, _ *connect.Request[munimentv1.GetControlSetRequest]) (*connect.Response[munimentv1.GetControlSetResponse], error) {
	in, err := g.decider.InForce(ctx, g.stream)
	var res *munimentv1.GetControlSetResponse
	if err == nil {
		res, err = in.Response()
	}
	switch {
	case errors.Is(err, decide.ErrNoSet):
		return nil, connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, decide.ErrUnreadableSet):
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	case err != nil:
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// Decide implements munimentv1connect.GateServiceClient.
func (g *offlineGate) Decide(ctx context.Context, req *connect.Request[munimentv1.DecideRequest]) (*connect.Response[munimentv1.DecideResponse], error) {
	if err := fieldrules.Validate(req.Msg); err != nil {
		return nil, err
	}
	q := &decide.Question{Stage: req.Msg.Stage, Environment: req.Msg.Environment}
	switch at := req.Msg.At.(type) {
	case *munimentv1.DecideRequest_TreeSize:
		if q.At.Size = at.TreeSize; at.TreeSize == 0 {
			return nil, errors.New("--at: a tree size must be at least 1")
		}
	case *munimentv1.DecideRequest_Time:
		q.At.Time = at.Time.AsTime()
	}
	if len(req.Msg.ControlSet) > 0 {
		var err error
		if q.Candidate, err = decide.Candidate(req.Msg.ControlSet, req.Msg.Controls); err != nil {
			return nil, err
		}
	}
	artifacts := make([]decide.Artifact, len(req.Msg.Subjects))
	for i, s := range req.Msg.Subjects {
		artifacts[i] = decide.ArtifactOf(s)
	}
	res := &munimentv1.DecideResponse{Log: g.log, AsOf: timestamppb.New(time.UnixMilli(int64(g.decider.Log.Published().Time)))}
	var results [][]evaluate.Result
	err := g.decider.Decide(ctx, req.Msg.Tenant, g.stream, q, artifacts, func(i int, d *evaluate.Decision) error {
		res.TreeSize = d.Size
		res.Decisions = append(res.Decisions, &munimentv1.SubjectDecision{Decision: decide.Message(d, q, &artifacts[i])})
		if req.Msg.Explain {
			results = append(results, d.Results)
		}
		return nil
	})
	if err == nil && g.spool != nil && q.Candidate == nil {
		err = g.keep(ctx, req.Msg, res.Decisions)
	}
	if err == nil && req.Msg.Explain {
		err = g.decider.Explain(ctx, g.stream, res.Decisions, results)
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// keep writes the decisions to the spool.
func (g *offlineGate) keep(ctx context.Context, req *munimentv1.DecideRequest, decisions []*munimentv1.SubjectDecision) error {
	for i, d := range decisions {
		document, err := decide.SpooledDocument(g.log, req.Tenant, g.reads, g.caller, req.Subjects[i], d.Decision)
		if err != nil {
			return err
		}
		if d.Spooled, err = g.spool.Put(document); err != nil {
			return fmt.Errorf("--spool: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
