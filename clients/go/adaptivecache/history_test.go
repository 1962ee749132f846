package adaptivecache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"muniment.dev/muniment/internal/soak"
)

// TestHistories runs members over a network that loses, delays, repeats and
// damages messages, with slow loaders, crashes of members and restarts of the
// bus, and checks with porcupine that no read is stale.
func TestHistories(t *testing.T) {
	soak.WithoutRace(t)
	check(t, 0, soak.Length(t, "histories", 500, 10_000))
}

// TestHistoriesForRaces runs a few histories under the race detector.
func TestHistoriesForRaces(t *testing.T) { check(t, 1_000_000, 30) }

// check runs n histories from a seed on.
func check(t *testing.T, first, n int) {
	total := 0
	for i := range n {
		h := newHistory(soak.Seed(t)<<32 | uint64(first+i))
		synctest.Test(t, h.run)
		total += len(h.ops)
		if h.result != porcupine.Ok {
			t.Fatalf("seed %d: the history is not linearizable: %s", h.seed, h.result)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d operations", total)
}

// TestHistoriesFindFaults checks that the histories reveal members that break
// the protocol.
func TestHistoriesFindFaults(t *testing.T) {
	for name, change := range map[string]func(*history){
		"leases four times as long as the bus grants": func(h *history) { h.memberLease *= 4 },
		"use of old loads while detached":             func(h *history) { h.detachedAge = 10 * h.lease },
		"loads that return an old state":              func(h *history) { h.oldReads = true },
		"invalidation before the change":              func(h *history) { h.early = true },
	} {
		found := false
		for i := 0; i < 200 && !found; i++ {
			h := newHistory(uint64(i))
			change(h)
			synctest.Test(t, h.run)
			found = h.result == porcupine.Illegal
		}
		if !found {
			t.Errorf("200 histories have not revealed %s", name)
		}
	}
}

// TestDetachedBound checks the stated bound of staleness of members that use
// loads while they are detached.
func TestDetachedBound(t *testing.T) {
	stale := 0
	for i := range soak.Length(t, "histories with cached loads while detached", 100, 2000) {
		h := newHistory(soak.Seed(t)<<32 | uint64(i))
		h.detachedAge = 3 * h.lease
		synctest.Test(t, h.run)
		if h.result != porcupine.Ok {
			stale++
		}
		bound := h.detachedAge + h.detachedAge/8
		for _, read := range h.ops {
			for _, op := range h.ops {
				r, isRead := read.Output.(readResult)
				in, _ := op.Input.(operation)
				if isRead && in.action == invalidate && in.key == read.Input.(operation).key &&
					op.Metadata.(time.Duration)+bound <= r.began && !h.current(in.key, in.version, r) {
					t.Fatalf("seed %d: a read at %v returned a value that was invalidated at %v", h.seed, r.began, op.Metadata)
				}
			}
		}
	}
	t.Logf("%d histories with stale reads within the bound", stale)
}

const historyKeys = 3

// A history is one seeded run and what happened in it.
type history struct {
	seed        uint64
	lease       time.Duration
	memberLease time.Duration
	detachedAge time.Duration
	oldReads    bool // loaders return the state before the last change
	early       bool // writers invalidate before the change
	loss        float64

	start time.Time
	tick  atomic.Int64 // orders operations

	mu       sync.Mutex // guards what follows
	rng      *rand.Rand
	versions [historyKeys]int
	previous [historyKeys]int
	ops      []porcupine.Operation
	bus      *LocalBus
	alive    context.Context // of the bus
	kill     context.CancelFunc
	result   porcupine.CheckResult
}

func newHistory(seed uint64) *history {
	h := &history{seed: seed, rng: rand.New(rand.NewPCG(seed, 17)), lease: 96 * time.Millisecond}
	h.memberLease = h.lease
	h.loss = []float64{0, 0.05, 0.3}[h.rng.IntN(3)]
	return h
}

func (h *history) int(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.IntN(n)
}

func (h *history) chance(p float64) bool { return float64(h.int(1_000_000)) < p*1e6 }

// pause waits for up to most.
func (h *history) pause(most time.Duration) { time.Sleep(time.Duration(h.int(int(most)))) }

func (h *history) run(t *testing.T) {
	h.start = time.Now()
	h.startBus(true)
	end, cancel := context.WithCancel(t.Context())
	var clients, disturbers sync.WaitGroup
	for i := range 2 + h.int(3) {
		p := &process{h: h, id: i}
		p.boot()
		for j := range 4 {
			clients.Go(func() { p.client(4*i + j) })
		}
		disturbers.Go(func() { p.disturb(end) })
	}
	disturbers.Go(func() {
		for h.sleep(end, 2*time.Second) && h.chance(0.5) {
			h.startBus(false)
		}
	})
	clients.Wait()
	cancel()
	disturbers.Wait()
	time.Sleep(time.Minute) // repeated messages end
	h.kill()
	synctest.Wait()
	h.result = porcupine.CheckOperationsTimeout(model, h.ops, 0)
}

// sleep waits for up to most, and reports whether ctx is still going on.
func (h *history) sleep(ctx context.Context, most time.Duration) bool {
	select {
	case <-time.After(time.Duration(h.int(int(most)))):
		return true
	case <-ctx.Done():
		return false
	}
}

// startBus replaces the bus by one without its state. Calls of the old one
// fail.
func (h *history) startBus(first bool) {
	bus, err := NewLocalBus(BusOptions{Lease: h.lease, Window: 8, Now: func() time.Duration { return time.Since(h.start) }})
	if err != nil {
		panic(err)
	}
	if !first {
		h.kill()
		bus.seq.opened = bus.micros() + longer(h.lease.Microseconds())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bus = bus
	h.alive, h.kill = context.WithCancel(context.Background())
}

// A network is the bus as a member sees it. It is cut until a time.
type network struct {
	h   *history
	cut *atomic.Int64
}

var errLost = errors.New("no answer")

// send passes a message in one direction.
func (n network) send(ctx context.Context) error {
	if n.h.chance(0.5) {
		n.h.sleep(ctx, n.h.lease*time.Duration(1+n.h.int(2))/4)
	}
	if n.h.chance(n.h.loss) || int64(time.Since(n.h.start)) < n.cut.Load() {
		<-ctx.Done()
		return errLost
	}
	return nil
}

// call runs f against the present bus, at times twice. A bus that stops does
// not answer.
func (n network) call(ctx context.Context, f func(context.Context, *LocalBus) error) error {
	if err := n.send(ctx); err != nil {
		return err
	}
	n.h.mu.Lock()
	bus, alive := n.h.bus, n.h.alive
	n.h.mu.Unlock()
	if n.h.chance(n.h.loss) {
		go func() {
			n.h.pause(n.h.lease)
			late, cancel := context.WithTimeout(alive, n.h.lease)
			defer cancel()
			_ = f(late, bus)
		}()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(alive, func() { cancel(errLost) })()
	if err := f(ctx, bus); err != nil {
		return err
	}
	if alive.Err() != nil {
		return errLost
	}
	return n.send(ctx)
}

func (n network) Poll(ctx context.Context, p Poll) (Grant, error) {
	var answer Grant
	ended := false // the answer to a late copy is lost
	err := n.call(ctx, func(ctx context.Context, bus *LocalBus) error {
		g, err := bus.Poll(ctx, p)
		n.h.mu.Lock()
		defer n.h.mu.Unlock()
		if err == nil && !ended {
			answer = g
		}
		return err
	})
	n.h.mu.Lock()
	ended = true
	g := answer
	n.h.mu.Unlock()
	if err == nil && n.h.chance(n.h.loss/4) {
		n.damage(&g)
	}
	return g, err
}

// damage makes a grant one that a broken bus could send. A grant with reset
// keeps its head, which is all that a member learns then, and cannot check.
func (n network) damage(g *Grant) {
	g.Messages = append([]Message(nil), g.Messages...)
	switch k := n.h.int(5); {
	case k == 0:
		g.Epoch = ""
	case k == 1 && !g.Reset:
		g.Head++
	case len(g.Messages) == 0:
	case k == 2:
		g.Messages = g.Messages[1:]
	case k == 3:
		g.Messages[0].Tags = nil
	default:
		g.Messages[0].Tags = []string{string(make([]byte, 1<<20))}
	}
}

func (n network) Invalidate(ctx context.Context, tags []string) error {
	return n.call(ctx, func(ctx context.Context, bus *LocalBus) error { return bus.Invalidate(ctx, tags) })
}

// A process is a member with a cache, which crashes at times.
type process struct {
	h  *history
	id int

	mu    sync.Mutex
	cache *Cache[int, int]
	life  int
	cut   atomic.Int64
}

func (p *process) boot() {
	rate := 1 + (float64(p.h.int(100))-50)/1000 // of its clock
	seed := uint32(p.h.int(1 << 30))
	m, err := NewMember(network{p.h, &p.cut}, MemberOptions{
		Lease: p.h.memberLease, DetachedAge: p.h.detachedAge, Slots: 16, Seed: &seed,
		Now: func() time.Duration { return time.Duration(float64(time.Since(p.h.start)) * rate) },
	})
	if err != nil {
		panic(err)
	}
	cache, err := New(m, Options[int, int]{
		Resolver: "r", Load: p.h.load, Key: historyName, MaxWeight: 16, MinTTL: 10 * time.Millisecond,
		InitialTTL: time.Second, Grace: time.Second, Beta: 4096, MaxLoads: 16, LoadTimeout: 300 * time.Millisecond, SketchWidth: 16,
	})
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cache = cache
	p.life++
}

func historyName(key int) string { return Name("r", "", fmt.Sprint(key)) }

// disturb cuts the process off and replaces it at times, until ctx ends.
func (p *process) disturb(ctx context.Context) {
	for p.h.sleep(ctx, 10*p.h.lease) {
		if p.h.chance(0.3) {
			p.cut.Store(int64(time.Since(p.h.start)) + int64(p.h.int(int(5*p.h.lease))))
		}
		if p.h.chance(0.1) {
			p.mu.Lock()
			old := p.cache
			p.mu.Unlock()
			p.boot()
			old.member.Close()
		}
	}
	p.cache.member.Close()
}

func (p *process) current() (*Cache[int, int], int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cache, p.life
}

// load reads the origin after a while, and returns after another. Absent keys
// have odd versions.
func (h *history) load(_ context.Context, key int) (r Result[int, int], err error) {
	if h.chance(0.5) {
		h.pause(h.lease / 2)
	}
	version := 0
	h.mu.Lock()
	if h.oldReads {
		version = h.previous[key]
	} else {
		version = h.versions[key]
	}
	h.mu.Unlock()
	if h.chance(0.2) {
		h.pause(2 * h.lease)
	}
	switch h.int(50) {
	case 0:
		panic("a loader that panics")
	case 1:
		return r, errors.New("a loader that fails")
	case 2:
		h.pause(10 * h.lease)
	}
	r.Tags = []string{"type:t"}
	r.Edges = []int{(key + 1) % historyKeys}
	if version%2 == 1 {
		return r, ErrNotFound
	}
	r.Value = version
	return r, nil
}

func (p *process) client(id int) {
	for range 16 {
		p.h.pause(p.h.lease / 2)
		if p.h.chance(0.25) {
			p.write(id)
		} else {
			p.read(id, p.h.int(historyKeys))
		}
	}
}

func (p *process) read(id, key int) {
	cache, life := p.current()
	call, began := p.h.tick.Add(1), time.Since(p.h.start)
	version, err := cache.Get(context.Background(), key)
	if _, now := p.current(); now != life {
		return // it ended with its process
	}
	result := readResult{version: version, began: began}
	if errors.Is(err, ErrNotFound) {
		result.absent = true
	} else if err != nil {
		return
	}
	p.h.record(id, call, operation{action: read, key: key}, result)
}

// write changes a key and invalidates it, or a tag that covers it, until the
// bus confirms it. Some writers give up.
func (p *process) write(id int) {
	h := p.h
	key := h.int(historyKeys)
	cache, life := p.current()
	change := func() int {
		call := h.tick.Add(1)
		h.mu.Lock()
		h.previous[key] = h.versions[key]
		h.versions[key] += 1 + h.rng.IntN(2)
		version := h.versions[key]
		h.mu.Unlock()
		h.record(id, call, operation{change_, key, version}, nil)
		return version
	}
	version := 0
	if !h.early {
		version = change()
		h.pause(h.lease / 4)
	}
	call := h.tick.Add(1)
	tag := []string{historyName(key), "type:t", ResolverTag("r")}[h.int(3)]
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 3*h.lease)
		err := cache.member.Invalidate(ctx, tag)
		cancel()
		if _, now := p.current(); now != life || h.chance(0.05) {
			return
		}
		if err == nil {
			break
		}
	}
	if h.early {
		version = change()
	}
	h.record(id, call, operation{invalidate, key, version}, nil)
}

func (h *history) record(client int, call int64, in operation, out any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{
		ClientId: client, Input: in, Call: call, Output: out, Return: h.tick.Add(1), Metadata: time.Since(h.start),
	})
}

const (
	read       = iota
	change_    // of the origin
	invalidate // completed: no later read returns a version below
)

type operation struct{ action, key, version int }

type readResult struct {
	version int
	absent  bool
	began   time.Duration
}

// A versions is the state of a key: what a read may return.
type versions struct{ floor, current int }

func (v versions) allows(r readResult) bool {
	if r.absent {
		return v.floor%2 == 1 || v.floor+1 <= v.current
	}
	return v.floor <= r.version && r.version <= v.current
}

// current reports whether a read has returned a version that is not below the
// given one.
func (h *history) current(key, version int, r readResult) bool {
	return versions{version, h.versions[key]}.allows(r)
}

// model is the definition of staleness: section 2 of the specification.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		keys := make([][]porcupine.Operation, historyKeys)
		for _, op := range history {
			key := op.Input.(operation).key
			keys[key] = append(keys[key], op)
		}
		return keys
	},
	Init: func() any { return versions{} },
	Step: func(state, input, output any) (bool, any) {
		s, in := state.(versions), input.(operation)
		switch in.action {
		case change_:
			return in.version >= s.current, versions{s.floor, in.version}
		case invalidate:
			return in.version <= s.current, versions{max(s.floor, in.version), s.current}
		}
		return s.allows(output.(readResult)), s
	},
}
