package cachereport

import (
	"bytes"
	"context"
	"encoding/csv"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// The windows that the company of the demo records are those of a simulation,
// which this command repeats:
//
//	go test ./clients/go/adaptivecache/cachereport -run TestTwoWeeks -weeks FILE
var weeksFile = flag.String("weeks", "", "file for the windows of two simulated weeks, which is cmd/muniment/internal/demo/caches.csv")

// A service reads one cache for two weeks. Deployments restart it.
type service struct {
	name, resolver string
	keys           int
	skew           float64       // of the reads towards few keys
	answer         time.Duration // of the origin, half of the times
	deployed       []time.Duration
	slow           time.Duration // when the origin begins to take 40 times as long, for two hours

	start    time.Time
	mu       sync.Mutex // guards what follows
	random   *rand.Rand
	versions []int
}

// TestTwoWeeks records the windows of two caches of a company: load that
// follows the time of day, deployments, and an origin that is slow for two
// hours.
func TestTwoWeeks(t *testing.T) {
	if *weeksFile == "" {
		t.Skip("no file for the windows: use -weeks FILE")
	}
	at := func(day int, clock time.Duration) time.Duration { return time.Duration(14+day)*24*time.Hour + clock }
	const h, m = time.Hour, time.Minute
	ledger := &fakeLedger{}
	synctest.Test(t, func(t *testing.T) {
		var all sync.WaitGroup
		for _, s := range []*service{
			{name: "search", resolver: "Query.suggest", keys: 400, skew: 1.1, answer: 24 * time.Millisecond,
				deployed: []time.Duration{at(-12, 11*h+40*m), at(-7, 12*h+50*m), at(-2, 15*h+45*m)}},
			{name: "checkout", resolver: "Query.price", keys: 250, skew: 1.3, answer: 60 * time.Millisecond, slow: at(-5, 13*h),
				deployed: []time.Duration{at(-13, 12*h+5*m), at(-9, 17*h+40*m), at(-3, 11*h+5*m)}},
		} {
			all.Go(func() { s.run(t, ledger) })
		}
		all.Wait()
	})
	var file bytes.Buffer
	w := csv.NewWriter(&file)
	head := []string{"service", "from", "to", "reads"}
	for _, m := range ledger.payloads[0].Metrics {
		head = append(head, m.Name+" "+m.Unit)
	}
	rows := [][]string{head}
	for _, s := range ledger.payloads {
		row := []string{s.Service, s.Window.From.Format(time.RFC3339), s.Window.To.Format(time.RFC3339), s.Metrics[0].Samples}
		for _, m := range s.Metrics {
			row = append(row, strconv.FormatFloat(m.Value, 'g', -1, 64))
		}
		rows = append(rows, row)
	}
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*weeksFile, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *service) run(t *testing.T, ledger Ledger) {
	s.start, s.random, s.versions = time.Now(), rand.New(rand.NewPCG(17, uint64(s.keys))), make([]int, s.keys)
	zipf := rand.NewZipf(s.random, s.skew, 1, uint64(s.keys-1))
	time.Sleep(8 * time.Hour) // the first windows begin in the morning
	cache, reporter := s.boot(t, ledger)
	var reads sync.WaitGroup
	for deployed := s.deployed; s.since() < 15*24*time.Hour; {
		// Most reads in the afternoon.
		rate := 0.55 - 0.45*math.Cos(2*math.Pi*(s.since().Hours()-3)/24)
		time.Sleep(time.Duration(s.random.ExpFloat64() / rate * float64(time.Second)))
		if len(deployed) > 0 && s.since() > deployed[0] {
			deployed = deployed[1:]
			s.close(t, reporter)
			cache, reporter = s.boot(t, ledger)
		}
		s.mu.Lock()
		key, change := int(zipf.Uint64()), s.random.IntN(500)
		if change == 0 {
			s.versions[key]++
		}
		s.mu.Unlock()
		if change == 0 {
			if err := cache.Invalidate(t.Context(), key); err != nil {
				t.Error(err)
			}
		}
		reads.Go(func() {
			if _, err := cache.Get(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	reads.Wait()
	s.close(t, reporter)
	time.Sleep(time.Hour) // background loads end
}

func (s *service) since() time.Duration { return time.Since(s.start) }

func (s *service) boot(t *testing.T, ledger Ledger) (*adaptivecache.Cache[int, int], *Reporter) {
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{Now: s.since})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := adaptivecache.New(member, adaptivecache.Options[int, int]{
		Resolver: s.resolver, Key: func(key int) string { return adaptivecache.Name(s.resolver, "", strconv.Itoa(key)) },
		Load: s.load, MaxWeight: uint64(2 * s.keys), Change: adaptivecache.Changed[int],
		MinTTL: 10 * time.Second, InitialTTL: time.Minute, MaxTTL: 10 * time.Minute, Grace: 6 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	reporter, err := Start(Options{Ledger: ledger, Service: s.name, Caches: map[string]Cache{s.resolver: cache}, Window: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return cache, reporter
}

func (s *service) close(t *testing.T, r *Reporter) {
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// load reads the origin.
func (s *service) load(ctx context.Context, key int) (r adaptivecache.Result[int, int], err error) {
	s.mu.Lock()
	took := time.Duration(float64(s.answer) * math.Exp(0.4*s.random.NormFloat64()))
	r.Value = s.versions[key]
	s.mu.Unlock()
	if slow := s.since() - s.slow; s.slow > 0 && slow > 0 && slow < 2*time.Hour {
		took *= 40
	}
	select {
	case <-time.After(took):
		return r, nil
	case <-ctx.Done():
		return r, ctx.Err()
	}
}
