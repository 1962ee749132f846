package adaptivecache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A scenario is one cache and its events.
type scenario struct {
	Name       string         `json:"name"`
	Parameters map[string]int `json:"parameters"` // of sections 8 to 12; others have their defaults
	Draws      []uint32       `json:"draws"`
	Events     []*event       `json:"events"`
}

// An event advances the clock, and then reads or invalidates.
type event struct {
	Wait       int64    `json:"wait"`
	Invalidate []string `json:"invalidate,omitempty"` // tags; names are written as key:ARGUMENTS
	Get        string   `json:"get,omitempty"`        // the arguments of a key

	// Loads are those that the read causes, in order: its own, and background
	// ones.
	Loads   []*loadVector `json:"loads,omitempty"`
	Outcome string        `json:"outcome,omitempty"` // hit, late, miss or error
	Value   int           `json:"value,omitempty"`
	Absent  bool          `json:"absent,omitempty"`
	TTL     int64         `json:"ttl,omitempty"` // of the latest value stored
	Hot     []string      `json:"hot,omitempty"`
}

type loadVector struct {
	Key      string   `json:"key"`
	Duration int64    `json:"duration"`
	Value    int      `json:"value,omitempty"`
	Absent   bool     `json:"absent,omitempty"`
	Fails    bool     `json:"fails,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	Edges    []string `json:"edges,omitempty"`
	Weight   uint32   `json:"weight,omitempty"`
}

// A player runs a scenario. Its origin is random, and recorded in the events.
type player struct {
	now    int64
	drawn  int
	rng    *rand.Rand
	cache  *Cache[string, *loadVector]
	event  *event
	values map[string]int
	faults int // how many loads in 20 fail
	edges  bool
}

func (p *player) load(_ context.Context, key string) (r Result[string, *loadVector], err error) {
	l := &loadVector{Key: key, Duration: 1 + p.rng.Int64N(200_000)>>p.rng.IntN(10), Weight: 1 + uint32(p.rng.IntN(3))}
	p.event.Loads = append(p.event.Loads, l)
	p.now += l.Duration
	if p.rng.IntN(4) == 0 {
		p.values[key]++
	}
	n, fault := p.values[key], p.rng.IntN(20)
	switch {
	case fault < p.faults:
		l.Fails = true
		return r, errors.New("failed")
	case key[0] == 'n':
		l.Absent = true
		r.Tags, l.Tags = []string{"type:n"}, []string{"type:n"}
		return r, ErrNotFound
	}
	l.Value = n
	l.Tags = []string{"type:t", fmt.Sprint("group:", len(key)%3)}
	if p.edges {
		l.Edges = []string{"e1", "e2"}
	}
	return Result[string, *loadVector]{Value: l, Tags: l.Tags, Edges: l.Edges}, nil
}

func (p *player) play(t *testing.T, s *scenario, events int, keys func() string) {
	m, err := NewMember(nil, MemberOptions{Slots: 1024, Seed: new(uint32), Now: func() time.Duration { return time.Duration(p.now) * time.Microsecond }})
	if err != nil {
		t.Fatal(err)
	}
	micros := func(name string) time.Duration { return time.Duration(s.Parameters[name]) * time.Microsecond }
	p.values = map[string]int{}
	p.cache, err = New(m, Options[string, *loadVector]{
		Resolver: "r", Load: p.load, Key: func(k string) string { return Name("r", "", k) },
		MaxWeight: uint64(s.Parameters["maxWeight"]), Weigh: func(_ string, l *loadVector) uint32 { return l.Weight },
		Change: func(old, new *loadVector) uint32 { return Changed(old.Value, new.Value) },
		MinTTL: micros("minTTL"), InitialTTL: micros("initialTTL"), MaxTTL: micros("maxTTL"), Grace: micros("grace"), NegativeTTL: micros("negativeTTL"),
		Beta: s.Parameters["beta"], SketchWidth: s.Parameters["width"], MaxHot: s.Parameters["maxHot"],
		Random: func() uint32 { p.drawn++; return s.Draws[(p.drawn-1)%len(s.Draws)] },
		spawn:  func(f func()) { f() },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range events {
		e := &event{Wait: p.rng.Int64N(2_000_000) >> p.rng.IntN(16)}
		p.now += e.Wait
		p.event = e
		s.Events = append(s.Events, e)
		switch p.rng.IntN(40) {
		case 0:
			e.Invalidate = []string{[]string{"type:t", "type:n", "group:1", "resolver:r"}[p.rng.IntN(4)]}
			err = m.Invalidate(t.Context(), e.Invalidate...)
		case 1, 2:
			key := keys()
			e.Invalidate = []string{"key:" + key}
			err = p.cache.Invalidate(t.Context(), key)
		default:
			p.get(e, keys())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (p *player) get(e *event, key string) {
	e.Get = key
	before := p.cache.Stats()
	v, err := p.cache.Get(context.Background(), key)
	after := p.cache.Stats()
	e.Outcome = "hit"
	switch {
	case after.Misses > before.Misses:
		e.Outcome = "miss"
	case after.LateHits > before.LateHits:
		e.Outcome = "late"
	}
	switch {
	case errors.Is(err, ErrNotFound):
		e.Absent = true
	case err != nil:
		e.Outcome = "error"
	default:
		e.Value = v.Value
	}
	e.TTL = after.TTLMicros
	for name := range p.cache.hot.keys {
		e.Hot = append(e.Hot, name)
	}
	slices.Sort(e.Hot)
}

func TestScenarioVectors(t *testing.T) {
	type shape struct {
		name       string
		parameters map[string]int
		faults     int
		edges      bool
		keys       func(*rand.Rand) string
	}
	few := func(rng *rand.Rand) string { return string(rune('a' + rng.IntN(4))) }
	skewed := func(rng *rand.Rand) string { return fmt.Sprint("k", int(rng.ExpFloat64()*2)) }
	var scenarios []*scenario
	for i, sh := range []shape{
		{"defaults", map[string]int{"maxWeight": 1000}, 0, false, few},
		{"short lifetimes and early refresh", map[string]int{"maxWeight": 1000, "minTTL": 50_000, "initialTTL": 400_000, "maxTTL": 3_000_000, "beta": 1024}, 0, false, few},
		{"grace and failing loads", map[string]int{"maxWeight": 1000, "minTTL": 50_000, "initialTTL": 300_000, "maxTTL": 1_000_000, "grace": 2_000_000}, 6, false, few},
		{"absence", map[string]int{"maxWeight": 1000, "negativeTTL": 1_000_000}, 1, false, func(rng *rand.Rand) string { return fmt.Sprint("n", rng.IntN(6)) }},
		{"hot keys with edges", map[string]int{"maxWeight": 1000, "width": 64, "maxHot": 2, "maxTTL": 3_600_000_000, "initialTTL": 600_000_000}, 0, true, skewed},
		{"hot keys that weigh too much", map[string]int{"maxWeight": 64, "width": 16, "maxHot": 64, "maxTTL": 3_600_000_000, "initialTTL": 600_000_000}, 1, false,
			func(rng *rand.Rand) string { return fmt.Sprint("k", int(rng.ExpFloat64())%5) }},
	} {
		rng := rand.New(rand.NewPCG(uint64(i), 5))
		s := &scenario{Name: sh.name, Parameters: sh.parameters, Draws: make([]uint32, 61)}
		for j := range s.Draws {
			s.Draws[j] = rng.Uint32() >> rng.IntN(8)
		}
		p := &player{now: 1_000_000, rng: rng, faults: sh.faults, edges: sh.edges}
		p.play(t, s, 500, func() string { return sh.keys(rng) })
		scenarios = append(scenarios, s)
	}
	compareVectors(t, "scenarios.json", scenarios)
}
