package admission

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/crash"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A decider decides about images, from its cache or by asking. Equal questions
// at the same time are asked once.
type decider struct {
	*asker
	cache   *cache
	refresh time.Duration
	timeout time.Duration
	// base ends with the process, and not with the request that asks first.
	base    context.Context
	calls   *semaphore.Weighted // that are under way, and can be
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	flights map[flightKey]*flight
	set     *controlSetAnswer
	asking  *controlSetAnswer // the one under way; nil: none
}

type flightKey struct {
	question
	records bool
}

// A flight is a question that is asked. done is closed with the result.
type flight struct {
	done   chan struct{}
	result *decided
	err    error
}

// batch is the number of images that one call asks about, which the API
// explains.
const batch = decide.MaxExplained

// maxCalls is the number of calls that ask about images at a time. A server
// refuses further ones of a tenant at about 15, and several processes share it.
const maxCalls = 4

// decide returns the decision about each question. records asks the log or the
// replica to record those that it has not recorded. All questions have the same
// stage and environment.
func (d *decider) decide(ctx context.Context, all []question, records bool) ([]*decided, error) {
	out := make([]*decided, len(all))
	flights := make([]*flight, len(all))
	var mine []question
	now := d.now()
	d.mu.Lock()
	for i, q := range all {
		if one := d.cache.get(q, now); one != nil && one.usable(now, d.refresh) && (!records || one.recorded(now)) {
			out[i] = one
			d.metrics.decided(one, "cache")
			continue
		}
		flights[i] = d.underWay(q, records)
		if flights[i] == nil {
			flights[i] = &flight{done: make(chan struct{})}
			d.flights[flightKey{q, records}] = flights[i]
			mine = append(mine, q)
		}
	}
	for len(mine) > 0 {
		n := min(batch, len(mine))
		group := mine[:n]
		mine = mine[n:]
		d.running.Go(func() {
			defer crash.Report()
			ctx, cancel := context.WithTimeout(d.base, d.timeout)
			defer cancel()
			d.land(ctx, group, records)
		})
	}
	d.mu.Unlock()
	for i, f := range flights {
		if f == nil {
			continue
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, &silence{[]string{"no answer in time"}}
		}
		if f.err != nil {
			return nil, f.err
		}
		out[i] = f.result
	}
	return out, nil
}

// underWay returns the flight that answers a question, or nil. One that records
// answers those that need not.
func (d *decider) underWay(q question, records bool) *flight {
	if f := d.flights[flightKey{q, records}]; f != nil || records {
		return f
	}
	return d.flights[flightKey{q, true}]
}

// land asks a group of questions and ends their flights.
func (d *decider) land(ctx context.Context, group []question, records bool) {
	results, err := d.ask(ctx, group, !records)
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, q := range group {
		key := flightKey{q, records}
		f := d.flights[key]
		delete(d.flights, key)
		if f.err = err; err == nil {
			f.result = d.cache.put(results[i], now)
			d.metrics.decided(f.result, "replica")
		}
		close(f.done)
	}
}

// ask asks about images with the same stage and environment.
func (d *decider) ask(ctx context.Context, group []question, dryRun bool) ([]*decided, error) {
	if err := d.calls.Acquire(ctx, 1); err != nil {
		return nil, &silence{[]string{"no answer in time, because too many images are decided"}}
	}
	defer d.calls.Release(1)
	subjects := make([]*munimentv1.GateSubject, len(group))
	for i, q := range group {
		alg, value, _ := strings.Cut(q.digest, ":")
		subjects[i] = &munimentv1.GateSubject{Type: artifact.Image, Artifact: &munimentv1.Artifact{Name: q.name, Digest: map[string]string{alg: value}}}
	}
	res, err := d.asker.decide(ctx, group[0].stage, group[0].environment, subjects, dryRun)
	if err != nil {
		return nil, err
	}
	out := make([]*decided, len(group))
	for i, q := range group {
		one := res.Decisions[i]
		out[i] = &decided{question: q, asked: res.at, asOf: res.asOf, treeSize: one.Decision.GetTreeSize(), decision: one, subject: answer.NewSubject(subjects[i], nil, one)}
		if one.Index != nil || one.Spooled != "" {
			out[i].recordedUntil = one.Decision.ValidUntil.AsTime()
		}
	}
	return out, nil
}

// follow keeps the decisions in use fresh until the context ends.
func (d *decider) follow(ctx context.Context) {
	tick := time.NewTicker(max(d.refresh/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = d.controlSetWithin(ctx, d.refresh/3) // requests report errors
			d.renew(ctx)
		}
	}
}

// renew asks again about the images in use, as dry runs. While the log has not
// grown, the decisions stay as they are until they expire.
func (d *decider) renew(ctx context.Context) {
	now := d.now()
	groups := map[[2]string][]*decided{}
	for _, one := range d.cache.inUse(now.Add(-2 * d.refresh)) {
		if now.Sub(one.asked) >= d.refresh/3 {
			key := [2]string{one.stage, one.environment}
			groups[key] = append(groups[key], one)
		}
	}
	for _, group := range groups {
		d.renewGroup(ctx, group)
	}
}

// renewGroup asks about one image, and about those whose decision can differ
// from a tree of the size that it learns. Requests report errors.
func (d *decider) renewGroup(ctx context.Context, group []*decided) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	results, err := d.askAll(ctx, group[:1])
	if err != nil {
		return
	}
	newest := results[0]
	var left []*decided
	for _, one := range group[1:] {
		if one.treeSize == newest.treeSize && newest.asked.Before(one.decision.Decision.ValidUntil.AsTime()) {
			same := *one
			same.asked, same.asOf = newest.asked, newest.asOf
			d.cache.put(&same, time.Time{})
			continue
		}
		left = append(left, one)
	}
	for some := range slices.Chunk(left, batch) {
		if _, err := d.askAll(ctx, some); err != nil {
			return
		}
	}
}

// askAll asks again, as a dry run, and keeps the answers.
func (d *decider) askAll(ctx context.Context, some []*decided) ([]*decided, error) {
	questions := make([]question, len(some))
	for i, one := range some {
		questions[i] = one.question
	}
	results, err := d.ask(ctx, questions, true)
	for i, one := range results {
		results[i] = d.cache.put(one, time.Time{})
	}
	return results, err
}

// A controlSetAnswer is what the control set specifies about images.
type controlSetAnswer struct {
	done        chan struct{}
	asked       time.Time
	paths       []images.Path
	warnUnknown bool
	err         error
}

// lastControlSet returns what the control set specified when it was last read.
func (d *decider) lastControlSet() *controlSetAnswer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.set == nil {
		return &controlSetAnswer{}
	}
	return d.set
}

// controlSet returns what the control set in force specifies about images.
func (d *decider) controlSet(ctx context.Context) (*controlSetAnswer, error) {
	return d.controlSetWithin(ctx, d.refresh)
}

// controlSetWithin asks for the control set if the last answer is older.
func (d *decider) controlSetWithin(ctx context.Context, age time.Duration) (*controlSetAnswer, error) {
	d.mu.Lock()
	if d.set != nil && d.now().Sub(d.set.asked) <= age {
		defer d.mu.Unlock()
		return d.set, nil
	}
	if d.asking == nil {
		one := &controlSetAnswer{done: make(chan struct{}), asked: d.now()}
		d.asking = one
		d.running.Go(func() {
			defer crash.Report()
			ctx, cancel := context.WithTimeout(d.base, d.timeout)
			defer cancel()
			set, err := d.asker.controlSet(ctx)
			one.paths, one.warnUnknown, one.err = images.PathsOf(set), set.GetUnknownImageFields() == "warn", err
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.asking = nil; err == nil {
				d.set = one
			}
			close(one.done)
		})
	}
	one := d.asking
	d.mu.Unlock()
	select {
	case <-one.done:
		return one, one.err
	case <-ctx.Done():
		return nil, &silence{[]string{"no answer in time"}}
	}
}
