package sim

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Toxiproxy controls the proxies before the origins of one gateway.
type Toxiproxy interface {
	SetEnabled(ctx context.Context, proxy string, enabled bool) error
	AddToxic(ctx context.Context, proxy, kind string, toxicity float64, attributes map[string]int) error
	RemoveToxics(ctx context.Context, proxy string) error
}

// A Scene is a gateway with its origin, its proxies and its clients.
type Scene struct {
	Gateway *Gateway
	Files   *Files
	Origin  *Origin
	Proxies Toxiproxy
	Pattern Pattern
	Seed    uint64
}

// Play applies the faults of the pattern in their order of time, and calls
// began at the first one. It returns when the last one has ended, or the
// context.
func (s *Scene) Play(ctx context.Context, began func()) error {
	random := rand.New(rand.NewPCG(s.Seed, 2))
	within := func(r [2]float64) float64 { return r[0] + random.Float64()*(r[1]-r[0]) }
	start, strength := within(s.Pattern.Jitter.Start), within(s.Pattern.Jitter.Strength)
	type change struct {
		at    float64
		fault *Fault
		end   bool
	}
	var changes []change
	for i := range s.Pattern.Faults {
		f := &s.Pattern.Faults[i]
		changes = append(changes, change{f.At, f, false}, change{f.At + f.For, f, true})
	}
	slices.SortStableFunc(changes, func(a, b change) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	zero := time.Now().Add(seconds(start))
	for i, ch := range changes {
		if err := sleepUntil(ctx, zero.Add(seconds(ch.at))); err != nil {
			return err
		}
		if i == 0 {
			began()
		}
		if err := s.change(ctx, ch.fault, strength, ch.end); err != nil {
			return err
		}
	}
	return nil
}

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// change begins or ends a fault.
func (s *Scene) change(ctx context.Context, f *Fault, strength float64, end bool) error {
	switch f.Kind {
	case "toxic", "partition":
		return s.network(ctx, f, strength, end)
	case "limit":
		if !end { // it stays, like a limit that was forgotten
			if err := s.Files.setLimit(f.PerSecond); err != nil {
				return err
			}
		}
	case "capacity":
		if end {
			s.Origin.SetCapacity(0)
		} else {
			s.Origin.SetCapacity(f.PerSecond)
		}
	case "deployment":
		s.Gateway.metrics.deployment.Set(map[bool]float64{false: 1}[end])
	}
	s.Gateway.mu.Lock()
	defer s.Gateway.mu.Unlock()
	if end {
		delete(s.Gateway.faults, f)
	} else {
		s.Gateway.faults[f] = strength
	}
	return nil
}

func (s *Scene) network(ctx context.Context, f *Fault, strength float64, end bool) error {
	for _, proxy := range f.Proxies {
		var err error
		switch {
		case f.Kind == "partition":
			err = s.Proxies.SetEnabled(ctx, proxy, end)
		case end:
			err = s.Proxies.RemoveToxics(ctx, proxy)
		default:
			err = s.Proxies.AddToxic(ctx, proxy, f.Toxic, f.Toxicity*strength, f.Attributes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Drive sends the requests of the clients at a constant rate, whatever the
// answers are, until the context ends.
func (s *Scene) Drive(ctx context.Context) {
	const keys = 40
	random := rand.New(rand.NewPCG(s.Seed, 3))
	var requests sync.WaitGroup
	defer requests.Wait()
	next := time.Now()
	for {
		search, key := random.Float64() < s.Pattern.Traffic.Search, random.IntN(keys)
		requests.Go(func() { s.client(ctx, search, key) })
		next = next.Add(seconds(1 / (s.Pattern.Traffic.PerSecond * s.Gateway.factor())))
		if sleepUntil(ctx, next) != nil {
			return
		}
		s.Gateway.noise()
	}
}

// client sends a request, and repeats it while a fault makes clients do so.
func (s *Scene) client(ctx context.Context, search bool, key int) {
	times, forget := s.Gateway.retries()
	for range 1 + times {
		if s.Gateway.Request(ctx, search, key) == nil {
			return
		}
		if forget {
			s.Gateway.cache.remove(key)
		}
	}
}

// active calls a function for each fault in effect of a kind.
func (g *Gateway) active(kind string, each func(f *Fault, strength float64)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for f, strength := range g.faults {
		if f.Kind == kind {
			each(f, strength)
		}
	}
}

func (g *Gateway) ratio(kind string) (r float64) {
	g.active(kind, func(f *Fault, strength float64) { r = max(r, f.Ratio*strength) })
	return r
}

func (g *Gateway) defect(flag string) (errs float64, latency time.Duration) {
	g.active("feature", func(f *Fault, strength float64) {
		if f.Flag == flag {
			errs, latency = f.Errors*strength, time.Duration(f.LatencyMillis*float64(time.Millisecond))
		}
	})
	return errs, latency
}

func (g *Gateway) factor() float64 {
	factor := 1.0
	g.active("surge", func(f *Fault, _ float64) { factor = f.Factor })
	return factor
}

func (g *Gateway) retries() (times int, forget bool) {
	g.active("retry", func(f *Fault, _ float64) { times, forget = int(f.Times), f.Forget })
	return times, forget
}

// noise sets the metric of an alert that has nothing to do with incidents.
func (g *Gateway) noise() {
	value := 0.0
	g.active("noise", func(f *Fault, _ float64) {
		phase := time.Duration(time.Now().UnixNano()) % seconds(f.Period)
		if phase < seconds(f.Period*f.Ratio) {
			value = 0.4
		}
	})
	g.metrics.throttled.Set(value)
}

// An Origin answers requests for assets and searches, up to its capacity.
type Origin struct {
	mu       sync.Mutex
	capacity *rate.Limiter
}

// NewOrigin returns an origin without a limit.
func NewOrigin() *Origin { return &Origin{capacity: rate.NewLimiter(rate.Inf, 0)} }

// SetCapacity limits the requests per second that the origin answers. Above
// that it is overloaded, and answers with 503. 0 is no limit.
func (o *Origin) SetCapacity(perSecond float64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.capacity = rate.NewLimiter(rate.Inf, 0)
	if perSecond > 0 {
		o.capacity = rate.NewLimiter(rate.Limit(perSecond), 3)
	}
}

// ServeHTTP implements http.Handler.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	allowed := o.capacity.Allow()
	o.mu.Unlock()
	if !allowed {
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "asset "+r.URL.Path[1:])
}

// fetch returns the body and the status of an answer.
func fetch(ctx context.Context, client *http.Client, address string) (string, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	return string(body), res.StatusCode, err
}
