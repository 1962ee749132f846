package adaptivecache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the vectors of docs/spec/vectors/adaptive-cache")

// compareVectors compares a file of vectors with what the implementation
// computes for the same inputs.
func compareVectors(t *testing.T, name string, vectors any) {
	t.Helper()
	compact, err := json.Marshal(vectors)
	if err != nil {
		t.Fatal(err)
	}
	have := append(bytes.ReplaceAll(compact, []byte("},{"), []byte("},\n{")), '\n')
	file := filepath.Join("../../../docs/spec/vectors/adaptive-cache", name)
	if *update {
		if err := os.WriteFile(file, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(have, want) {
		return
	}
	h, w := strings.Split(string(have), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(h), len(w)) {
		if h[i] != w[i] {
			t.Fatalf("%s:%d: %s; the implementation has %s", name, i+1, w[i], h[i])
		}
	}
	t.Fatalf("%s has %d lines, the implementation %d", name, len(w), len(h))
}

func TestNameVectors(t *testing.T) {
	type nameVector struct {
		Resolver  string `json:"resolver"`
		Session   string `json:"session,omitempty"` // of private values
		Arguments string `json:"arguments"`
		Name      string `json:"name"`
		Tag       string `json:"tag"`
		Hash      uint32 `json:"hash"` // of the tag, with seed 0
	}
	var vectors []nameVector
	for _, v := range []nameVector{
		{Resolver: "product", Arguments: `{"id":"17"}`},
		{Resolver: "product", Session: "alice", Arguments: `{"id":"17"}`},
		{Resolver: "product", Session: "0", Arguments: ""},
		{Resolver: "", Arguments: ""},
		{Resolver: "größe", Arguments: "日本語 😀"},
		{Resolver: "r", Arguments: strings.Repeat("a", 252)},
		{Resolver: "r", Arguments: strings.Repeat("a", 251)},
		{Resolver: strings.Repeat("long", 100), Session: "bob", Arguments: "x"},
	} {
		scope, _ := Private(v.Session)
		v.Name = Name(v.Resolver, scope, v.Arguments)
		v.Tag = shortTag(v.Name)
		v.Hash = hash(v.Tag, 0)
		vectors = append(vectors, v)
	}
	compareVectors(t, "names.json", vectors)
}

func TestNumberVectors(t *testing.T) {
	type observation struct {
		Age    int64 `json:"age"`
		Change int64 `json:"change"`
	}
	type ttlVector struct {
		Least        int64         `json:"minTTL"`
		Initial      int64         `json:"initialTTL"`
		Most         int64         `json:"maxTTL"`
		Risk         int64         `json:"risk"`
		P95          int64         `json:"p95"`
		Draw         uint32        `json:"draw"`
		Observations []observation `json:"observations"`
		TTL          int64         `json:"ttl"`
	}
	var v struct {
		Exponential [][2]int64 `json:"exponential"` // draw, E
		Buckets     [][3]int64 `json:"buckets"`     // duration, bucket, its upper end
		Quantiles   []struct {
			Durations []int64 `json:"durations"`
			P95       int64   `json:"p95"`
			P99       int64   `json:"p99"`
		} `json:"quantiles"`
		Refreshes []struct {
			Remaining int64  `json:"remaining"` // expires - now
			Delta     int64  `json:"delta"`
			Beta      int64  `json:"beta"`
			Draw      uint32 `json:"draw"`
			Refreshes bool   `json:"refreshes"`
			Draws     int    `json:"draws"`
		} `json:"refreshes"`
		Lifetimes []ttlVector `json:"lifetimes"`
	}
	rng := rand.New(rand.NewPCG(1, 2))
	draws := []uint32{0, 1, 2, 3, 1<<16 - 1, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 2, 1<<32 - 1}
	for range 30 {
		draws = append(draws, rng.Uint32()>>rng.IntN(32))
	}
	for _, d := range draws {
		v.Exponential = append(v.Exponential, [2]int64{int64(d), exponential(d)})
	}
	for _, d := range []int64{0, 1, 15, 16, 17, 18, 31, 32, 33, 1000, 65535, 65536, 1_000_000, 1<<36 - 1, 1 << 36, 1 << 50} {
		v.Buckets = append(v.Buckets, [3]int64{d, int64(bucket(d)), upperEnd(bucket(d))})
	}
	for _, n := range []int{0, 1, 19, 20, 100, 1023, 1200} {
		var h histogram
		durations := make([]int64, n)
		for i := range durations {
			durations[i] = int64(rng.Uint64() >> (30 + rng.IntN(32)))
			h.add(durations[i])
		}
		v.Quantiles = append(v.Quantiles, struct {
			Durations []int64 `json:"durations"`
			P95       int64   `json:"p95"`
			P99       int64   `json:"p99"`
		}{durations, h.quantile(95), h.quantile(99)})
	}
	for range 60 {
		delta, beta, draw := rng.Int64N(maxDelta)>>rng.IntN(26), int64([]int{64, 256, 4096}[rng.IntN(3)]), rng.Uint32()>>rng.IntN(32)
		remaining := 1 + rng.Int64N(1+delta*beta/64)>>rng.IntN(4)
		taken := 0
		r := refreshes(1_000_000, 1_000_000+remaining, delta, beta, func() uint32 { taken++; return draw })
		v.Refreshes = append(v.Refreshes, struct {
			Remaining int64  `json:"remaining"`
			Delta     int64  `json:"delta"`
			Beta      int64  `json:"beta"`
			Draw      uint32 `json:"draw"`
			Refreshes bool   `json:"refreshes"`
			Draws     int    `json:"draws"`
		}{remaining, delta, beta, draw, r, taken})
	}
	for i := range 40 {
		l := ttlVector{Least: 1000, Initial: 10_000_000, Most: 86_400_000_000, Risk: 1 + rng.Int64N(500), Draw: rng.Uint32(), Observations: []observation{}}
		if i%4 == 0 {
			l.P95 = rng.Int64N(1e9)
		}
		if i%5 == 0 {
			l.Least, l.Most = 1_000_000, 300_000_000
		}
		var r record
		changing := rng.IntN(4)
		for range []int{0, 7, 8, 40, 255, 256, 300}[rng.IntN(7)] {
			o := observation{Age: rng.Int64N(1e8) >> rng.IntN(20)}
			switch {
			case changing == 3:
				o.Change = rng.Int64N(one + 1)
			case rng.IntN(10) < changing*changing:
				o.Change = one
			}
			l.Observations = append(l.Observations, o)
			r.observe(o.Age, o.Change)
		}
		l.TTL = shortened(lifetime{l.Least, l.Initial, l.Most, l.Risk}.base(r, l.P95), l.Draw)
		v.Lifetimes = append(v.Lifetimes, l)
	}
	compareVectors(t, "numbers.json", v)
}

func TestSketchVectors(t *testing.T) {
	type sketchVector struct {
		Width     int            `json:"width"`
		Added     []string       `json:"added"`
		Aged      []int          `json:"aged"` // which additions halved the counters, from 1
		Estimates map[string]int `json:"estimates"`
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var vectors []sketchVector
	for _, width := range []int{16, 64} {
		s := newSketch(width)
		v := sketchVector{Width: width, Aged: []int{}, Estimates: map[string]int{}}
		for i := range 600 {
			name := fmt.Sprint("key", int(rng.ExpFloat64()*6))
			v.Added = append(v.Added, name)
			if s.add(hash(name, 0)) {
				v.Aged = append(v.Aged, i+1)
			}
		}
		for _, name := range append(slices.Clone(v.Added), "absent") {
			v.Estimates[name] = s.estimate(hash(name, 0))
		}
		vectors = append(vectors, v)
	}
	compareVectors(t, "sketch.json", vectors)
}

// TestMemberVectors covers each rule for grants, with slots as observable
// state.
func TestMemberVectors(t *testing.T) {
	type state struct {
		Renewed  bool              `json:"renewed"`
		Epoch    string            `json:"epoch"`
		Applied  uint64            `json:"applied"`
		S        uint64            `json:"s"`
		Floor    uint64            `json:"floor"`
		Slots    map[uint32]uint64 `json:"slots"` // those that are not 0
		LeaseEnd int64             `json:"leaseEnd"`
		Attached [3]bool           `json:"attached"` // at sent - 1, sent, leaseEnd
	}
	type step struct {
		Sent  int64 `json:"sent"`
		Now   int64 `json:"now"`
		Grant Grant `json:"grant"`
		State state `json:"state"`
	}
	long := strings.Repeat("x", 257)
	many := make([]string, 65)
	for i := range many {
		many[i] = "t"
	}
	messages := func(from uint64, tags ...[]string) (m []Message) {
		for i, t := range tags {
			m = append(m, Message{from + uint64(i), t})
		}
		return m
	}
	a, b := []string{"a"}, []string{"a", "b"}
	steps := []step{
		{Sent: 1000, Grant: Grant{Epoch: "", Head: 3, Reset: true}},
		{Sent: 2000, Grant: Grant{Epoch: "e1", Head: 3, Reset: true}},
		{Sent: 3000, Grant: Grant{Epoch: "e1", Head: 5, Messages: messages(4, a, b)}},
		{Sent: 4000, Grant: Grant{Epoch: "e1", Head: 5, Messages: messages(4, a, b)}},
		{Sent: 5000, Grant: Grant{Epoch: "e1", Head: 6, Messages: messages(4, a, b, b)}},
		{Sent: 6000, Grant: Grant{Epoch: "e1", Head: 8, Messages: messages(8, a)}},
		{Sent: 7000, Grant: Grant{Epoch: "e1", Head: 7}},
		{Sent: 8000, Grant: Grant{Epoch: "e1", Head: 6}},
		{Sent: 9000, Grant: Grant{Epoch: "e1", Head: 9, Messages: messages(7, a)}},
		{Sent: 10000, Grant: Grant{Epoch: "e1", Head: 7, Messages: []Message{{7, nil}}}},
		{Sent: 11000, Grant: Grant{Epoch: "e1", Head: 8, Messages: messages(8, []string{long})}},
		{Sent: 12000, Grant: Grant{Epoch: "e1", Head: 9, Messages: messages(9, many)}},
		{Sent: 13000, Grant: Grant{Epoch: "e1", Head: 10, Messages: messages(10, []string{""})}},
		{Sent: 14000, Now: 20000, Grant: Grant{Epoch: "e2", Head: 1, Messages: messages(1, a)}},
		{Sent: 15000, Now: 21000, Grant: Grant{Epoch: "e1", Head: 11, Messages: messages(11, a)}},
		{Sent: 22000, Grant: Grant{Epoch: "e2", Head: 2, Messages: messages(2, a)}},
		{Sent: 23000, Grant: Grant{Epoch: "e2", Head: 90, Reset: true}},
		{Sent: 24000, Grant: Grant{Epoch: strings.Repeat("e", 65), Head: 90, Reset: true}},
		{Sent: 25000, Grant: Grant{Epoch: "e3", Head: 0}},
		{Sent: 26000, Grant: Grant{Epoch: "e3", Head: 1, Messages: []Message{{0, a}, {1, a}}}},
	}
	now := int64(0)
	m, err := NewMember(silentBus{}, MemberOptions{
		Lease: 16 * time.Millisecond, Slots: 16, Seed: new(uint32),
		Now: func() time.Duration { return time.Duration(now) * time.Microsecond },
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Close() // the test takes the place of its goroutine
	for i := range steps {
		s := &steps[i]
		if s.Now == 0 {
			s.Now = s.Sent + 500
		}
		now = s.Now
		s.State.Renewed = m.grant(s.Grant, s.Sent)
		s.State.Epoch, s.State.Applied = m.epoch, m.applied
		s.State.S, s.State.Floor, s.State.LeaseEnd = m.generations.token(), m.generations.floor.Load(), m.leaseEnd.Load()
		s.State.Slots = map[uint32]uint64{}
		for slot := range m.generations.slots {
			if n := m.generations.slots[slot].Load(); n > 0 {
				s.State.Slots[uint32(slot)] = n
			}
		}
		s.State.Attached = [3]bool{m.attached(s.Sent - 1), m.attached(s.Sent), m.attached(s.State.LeaseEnd)}
	}
	compareVectors(t, "members.json", map[string]any{"lease": 16000, "slots": 16, "steps": steps})
}

// A silentBus never answers.
type silentBus struct{}

func (silentBus) Poll(ctx context.Context, _ Poll) (Grant, error) {
	<-ctx.Done()
	return Grant{}, ctx.Err()
}

func (silentBus) Invalidate(ctx context.Context, _ []string) error { return errors.New("no bus") }
