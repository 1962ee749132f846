package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// faultTry is the time limit of a call of a client when servers and the
// database fail.
const faultTry = 8 * time.Second

// faultClients are the clients of a log with faults, and what they were
// promised.
type faultClients struct {
	t       *testing.T
	log     *faultLog
	seed    uint64
	history *logHistory
	http    *http.Client  // to the servers by their addresses
	first   uint64        // size of the log when they began
	try     time.Duration // time limit of a call
	// planned is set if servers only end as they should. Then calls may only
	// fail because a server is unavailable.
	planned bool
	stop    context.CancelFunc
	stopped context.Context
	workers sync.WaitGroup
	faults  []string     // of the goroutine that injects them
	refused atomic.Int64 // calls that failed because a server was unavailable

	mu         sync.Mutex // guards what follows
	acked      map[uint64]acknowledged
	unknown    []*attempt
	unanswered int
	erased     map[uint64]bool   // their erasure was acknowledged
	policies   map[uint64]string // digests, by the index that was acknowledged

	size uint64 // of the log at the end
}

// An acknowledged append has a receipt.
type acknowledged struct {
	payload, receipt []byte
	leaf             entry.Hash
}

// An attempt is an append that may have no answer yet.
type attempt struct {
	client  int
	payload []byte
	call    int64
}

func newFaultClients(t *testing.T, l *faultLog, seed uint64) *faultClients {
	c := &faultClients{
		t: t, log: l, seed: seed, history: newLogHistory(), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
		try: faultTry, acked: map[uint64]acknowledged{}, erased: map[uint64]bool{}, policies: map[uint64]string{},
	}
	c.stopped, c.stop = context.WithCancel(context.Background())
	t.Cleanup(func() { c.stop(); c.workers.Wait(); c.http.CloseIdleConnections() })
	res, err := c.client(l.servers[0].url).GetCheckpoint(t.Context(), connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	c.first = res.Msg.TreeSize
	return c
}

// client returns a new client of a server.
func (c *faultClients) client(url string) *muniment.Client {
	return c.clientOver(url, c.http.Transport)
}

// balanced returns a new client whose calls go to servers at random.
func (c *faultClients) balanced() *muniment.Client {
	return c.clientOver(c.log.servers[0].url, c.balancer())
}

func (c *faultClients) balancer() *balancer {
	b := &balancer{next: c.http.Transport}
	for _, s := range c.log.servers {
		b.servers = append(b.servers, strings.TrimPrefix(s.url, "http://"))
	}
	return b
}

func (c *faultClients) clientOver(url string, transport http.RoundTripper) *muniment.Client {
	client, err := muniment.New(muniment.Options{Server: url, Token: c.log.token, Policy: c.log.policy, StreamKey: c.log.key, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		panic(err) // its options are valid
	}
	return client
}

const faultWorkers = 6

// start starts the clients.
func (c *faultClients) start() {
	for id := range faultWorkers {
		c.workers.Go(func() {
			(&faultWorker{faultClients: c, id: id, client: c.balanced(), rng: rand.New(rand.NewPCG(c.seed, uint64(id)))}).run()
		})
	}
}

// A faultWorker is a client that makes one call after the other.
type faultWorker struct {
	*faultClients
	id     int
	client *muniment.Client // its session reads what it has written
	rng    *rand.Rand
	own    []uint64 // indexes of its entries, which are not erased
	n      int
}

func (w *faultWorker) run() {
	for w.stopped.Err() == nil {
		switch n := w.rng.IntN(100); {
		case n < 60:
			w.append()
		case n < 72:
			w.readCheckpoint()
		case n < 80:
			w.readCheckpointFile()
		case n < 96 || w.id > 1:
			w.readEntry()
		case w.id == 0:
			w.erase()
		default:
			w.setPolicy()
		}
		select {
		case <-w.stopped.Done():
		case <-time.After(time.Duration(w.rng.IntN(30)) * time.Millisecond):
		}
	}
}

// call makes a call within its time limit.
func call[T any](c *faultClients, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.try)
	defer cancel()
	return do(ctx)
}

// insist repeats a call until it succeeds, returns an error that final accepts,
// or the clients stop.
func insist[T any](w *faultWorker, what string, final func(error) bool, do func(context.Context) (T, error)) (T, error) {
	for {
		v, err := call(w.faultClients, do)
		if err == nil || final(err) || w.stopped.Err() != nil {
			return v, err
		}
		w.judge(what, err)
		select {
		case <-w.stopped.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// judge checks that an error is one that faults explain.
func (c *faultClients) judge(what string, err error) {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable:
		c.refused.Add(1)
		return
	case connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown:
		if !c.planned {
			return
		}
	}
	c.t.Errorf("%s: %v", what, err)
}

// append appends an entry. Some appends are given up after the first error, so
// that it is unknown whether they are recorded.
func (w *faultWorker) append() {
	w.n++
	a := &attempt{client: w.id, payload: fmt.Appendf(nil, "seed %d, client %d, entry %d%s", w.seed, w.id, w.n, strings.Repeat(".", w.rng.IntN(2000))), call: w.history.now()}
	once := w.rng.IntN(10) < 3
	r, err := insist(w, "append", func(error) bool { return once }, func(ctx context.Context) (muniment.Result, error) { return w.client.Append(ctx, a.submission()) })
	if err != nil {
		w.judge("append", err)
		w.mu.Lock()
		w.unknown = append(w.unknown, a)
		w.unanswered++
		w.mu.Unlock()
		return
	}
	if w.keep(a, r, w.history.now()) {
		w.own = append(w.own, r.Index)
	}
}

func (a *attempt) submission() muniment.Submission {
	return muniment.Submission{Kind: "attestation", MediaType: "text/plain", Payload: a.payload}
}

// keep keeps an acknowledged append.
func (c *faultClients) keep(a *attempt, r muniment.Result, answer int64) bool {
	if r.Err != nil {
		c.t.Errorf("append: %v", r.Err)
		return false
	}
	s, err := receipt.Verify(r.Receipt, []*receipt.TrustPolicy{c.log.policy}, receipt.Options{Payload: a.payload, StreamKey: c.log.key})
	if err != nil || s.Index != r.Index {
		c.t.Errorf("the receipt of entry %d does not verify: %v", r.Index, err)
		return false
	}
	c.see(r.Receipt)
	c.history.add(a.client, logOperation{appended, r.Index}, a.call, answer)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.acked[r.Index]; ok {
		c.t.Errorf("entry %d was acknowledged for %q and for %q", r.Index, old.payload, a.payload)
		return false
	}
	c.acked[r.Index] = acknowledged{a.payload, r.Receipt, s.LeafHash}
	return true
}

// see keeps the checkpoint of a receipt.
func (c *faultClients) see(data []byte) {
	rec, err := receipt.Parse(data)
	if err == nil {
		var proof *receipt.Proof
		if proof, err = receipt.ParseProof(string(rec.Proof)); err == nil {
			c.history.see(c.t, c.log.policy, []byte(proof.Checkpoint))
			return
		}
	}
	c.t.Error(err)
}

// readCheckpoint reads the checkpoint without a session, from any server.
func (w *faultWorker) readCheckpoint() {
	begun := w.history.now()
	res, err := call(w.faultClients, func(ctx context.Context) (*connect.Response[munimentv1.GetCheckpointResponse], error) {
		return w.balanced().GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
	})
	if err != nil {
		w.judge("read the checkpoint", err)
		return
	}
	answer := w.history.now()
	w.history.add(w.id, logOperation{sized, w.history.see(w.t, w.log.policy, res.Msg.Checkpoint)}, begun, answer)
}

// readCheckpointFile reads the checkpoint as auditors do.
func (w *faultWorker) readCheckpointFile() {
	begun := w.history.now()
	signed, err := call(w.faultClients, func(ctx context.Context) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.log.servers[0].url+"/tlog/checkpoint", nil)
		if err != nil {
			return nil, err
		}
		res, err := w.balancer().RoundTrip(req)
		if err != nil {
			return nil, connect.NewError(connect.CodeUnavailable, err)
		}
		defer res.Body.Close()
		switch res.StatusCode {
		case http.StatusOK:
			return io.ReadAll(io.LimitReader(res.Body, 1<<16))
		case http.StatusServiceUnavailable:
			return nil, connect.NewError(connect.CodeUnavailable, errors.New(res.Status))
		}
		return nil, errors.New(res.Status)
	})
	if err != nil {
		w.judge("read the checkpoint's file", err)
		return
	}
	answer := w.history.now()
	w.history.add(w.id, logOperation{sized, w.history.see(w.t, w.log.policy, signed)}, begun, answer)
}

// readEntry reads an entry that the client has written, from any server.
func (w *faultWorker) readEntry() {
	if len(w.own) == 0 {
		return
	}
	index, begun := w.own[w.rng.IntN(len(w.own))], w.history.now()
	e, err := w.entry(w.client, index)
	if err != nil {
		w.judge("read an own entry", err)
		return
	}
	w.history.add(w.id, logOperation{found, index}, begun, w.history.now())
	w.mu.Lock()
	defer w.mu.Unlock()
	if leaf := w.acked[index].leaf; entry.Hash(e.Entry.LeafHash) != leaf {
		w.t.Errorf("entry %d has the leaf hash %x, want %s", index, e.Entry.LeafHash, leaf)
	}
}

func (c *faultClients) entry(client *muniment.Client, index uint64) (*munimentv1.GetEntryResponse, error) {
	res, err := call(c, func(ctx context.Context) (*connect.Response[munimentv1.GetEntryResponse], error) {
		return client.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: client.Tenant, Index: index, IncludePayload: true}))
	})
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// erase erases an entry of the client, and reads it from any server.
func (w *faultWorker) erase() {
	if len(w.own) == 0 {
		return
	}
	i, begun := w.rng.IntN(len(w.own)), w.history.now()
	index := w.own[i]
	w.own = slices.Delete(w.own, i, i+1)
	done := func(err error) bool { return strings.Contains(err.Error(), "already erased") }
	res, err := insist(w, "erase", done, func(ctx context.Context) (*connect.Response[munimentv1.EraseResponse], error) {
		return w.client.Admin.Erase(ctx, connect.NewRequest(&munimentv1.EraseRequest{Tenant: w.client.Tenant, Index: index, Scope: munimentv1.ErasureScope_ERASURE_SCOPE_PAYLOAD, Reason: "test"}))
	})
	switch {
	case err == nil:
		w.history.add(w.id, logOperation{appended, res.Msg.Appended.Index}, begun, w.history.now())
		w.see(res.Msg.Appended.Receipt)
	case !done(err):
		w.judge("erase", err)
		return
	}
	w.mu.Lock()
	w.erased[index] = true
	w.mu.Unlock()
	if err := w.isErased(w.client, index); err != nil {
		w.judge("read an erased payload", err)
	}
}

// isErased checks that a payload cannot be read.
func (c *faultClients) isErased(client *muniment.Client, index uint64) error {
	_, err := call(c, func(ctx context.Context) (int64, error) { return client.ReadPayload(ctx, index, io.Discard) })
	switch {
	case err == nil:
		c.t.Errorf("the erased payload of entry %d was read", index)
		return nil
	case strings.Contains(err.Error(), "erased"):
		return nil
	}
	return err
}

// setPolicy puts another admission policy in force, which admits the same.
func (w *faultWorker) setPolicy() {
	w.n++
	policy := fmt.Appendf(nil, "version: 1\nmode: enforce\nrules:\n  - name: everything %d\n    unsigned: true\n", w.n)
	begun := w.history.now()
	set := func(err error) bool { return connect.CodeOf(err) == connect.CodeFailedPrecondition }
	res, err := insist(w, "set the policy", set, func(ctx context.Context) (*connect.Response[munimentv1.SetPolicyResponse], error) {
		return w.client.Admin.SetPolicy(ctx, connect.NewRequest(&munimentv1.SetPolicyRequest{Tenant: w.client.Tenant, Policy: policy, Reason: "test"}))
	})
	if err != nil {
		w.judge("set the policy", err)
		return
	}
	w.see(res.Msg.Appended.Receipt)
	w.history.add(w.id, logOperation{appended, res.Msg.Appended.Index}, begun, w.history.now())
	if want := policyDigest(policy); res.Msg.Digest != want {
		w.t.Errorf("the policy has the digest %s, want %s", res.Msg.Digest, want)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policies[res.Msg.Appended.Index] = res.Msg.Digest
}

func policyDigest(policy []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(policy)) }

// works reports whether a server records an entry after an event.
func (c *faultClients) works(s *faultServer, event string) bool {
	a := &attempt{client: faultWorkers + slices.Index(c.log.servers[:], s), payload: []byte(event + ": " + s.url), call: c.history.now()}
	r, err := call(c, func(ctx context.Context) (muniment.Result, error) { return c.client(s.url).Append(ctx, a.submission()) })
	if err != nil {
		c.judge("append", err)
		return false
	}
	if r.Duplicate {
		a.call = 0 // of an earlier call
	}
	return c.keep(a, r, c.history.now())
}

// finish stops the clients, and asks for the entries whose appends had no
// answer by appending them again.
func (c *faultClients) finish() {
	c.stop()
	c.workers.Wait()
	for _, a := range c.unknown {
		again := c.history.now()
		r, err := call(c, func(ctx context.Context) (muniment.Result, error) { return c.balanced().Append(ctx, a.submission()) })
		if err != nil {
			c.t.Errorf("append without faults: %v", err)
			continue
		}
		if !r.Duplicate {
			a.call = again
		}
		c.keep(a, r, never)
	}
}
