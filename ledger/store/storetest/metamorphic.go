package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
)

// Sequences is how many random sequences Run tries of each kind of log, unless
// the campaign runs in full. Tests of slow engines reduce it.
var Sequences = 20

const steps = 40 // of each sequence of the metamorphic test

// testMetamorphic runs random sequences of operations on a store and on the
// model. After each of them the two must agree. A failure prints the sequence
// up to it; the seed is the name of the subtest.
func testMetamorphic(t *testing.T, newDisk func(*testing.T) Disk, raw bool) {
	sample := Sequences
	if RaceDetector {
		sample = min(sample, 5)
	}
	first := soak.Seed(t)
	for i := range soak.Length(t, "random sequences", sample, 500) {
		seed := first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			run := &sequence{
				rng:   rand.New(rand.NewPCG(seed, 1)),
				src:   NewSource(seed),
				model: NewModel(),
				disk:  newDisk(t),
			}
			if raw {
				run.src, run.model = NewRawSource(seed), NewRawModel()
			}
			if err := run.all(); err != nil {
				t.Fatalf("%v\nafter:\n%s", err, strings.Join(run.trace, "\n"))
			}
		})
	}
}

type sequence struct {
	rng   *rand.Rand
	src   *Source
	model *Model
	disk  Disk
	s     store.Store
	trace []string
}

func (q *sequence) all() (err error) {
	if q.s, err = q.disk(); err != nil {
		return err
	}
	for range steps {
		if err := q.step(); err != nil {
			return err
		}
	}
	if err := q.model.Check(context.Background(), q.s); err != nil {
		return err
	}
	return q.s.Close()
}

func (q *sequence) step() error {
	switch n := q.rng.IntN(100); {
	case n < 60:
		return q.commit()
	case n < 65:
		return q.conflict()
	case n < 80:
		return q.reopen()
	case n < 83:
		return q.replace()
	case n < 86 && !q.model.raw:
		return q.erase()
	case n < 88 && !q.model.raw:
		return q.purge()
	default:
		return q.read()
	}
}

func (q *sequence) commit() error {
	n := 1 + q.rng.IntN(5)
	if q.rng.IntN(4) == 0 {
		n = 1 + q.rng.IntN(100)
	}
	q.trace = append(q.trace, fmt.Sprintf("commit %d at %d", n, q.model.Size()))
	c := q.src.Next(n)
	if !q.model.raw {
		every := 1 + q.rng.IntN(20)
		if err := Spool(context.Background(), q.s, c, func(i int) bool { return every < 10 && i%every == 0 }); err != nil {
			return err
		}
		if q.rng.IntN(3) == 0 {
			c.Erase = q.model.erasures(q.rng)
		}
	}
	q.model.Commit(Clone(c))
	c = Unspooled(c)
	err := q.s.Commit(context.Background(), c)
	scribble(c)
	return err
}

func (q *sequence) conflict() error {
	other := NewSource(q.rng.Uint64())
	c := other.Next(1 + q.rng.IntN(10))
	for c.From == q.model.Size() {
		c.From = q.rng.Uint64N(q.model.Size() + 10)
	}
	q.trace = append(q.trace, fmt.Sprintf("conflict at %d of %d", c.From, q.model.Size()))
	if err := q.s.Commit(context.Background(), c); !errors.Is(err, store.ErrLost) {
		return fmt.Errorf("got error %v, want a conflict", err)
	}
	return nil
}

func (q *sequence) reopen() error {
	q.trace = append(q.trace, "reopen")
	if err := q.s.Close(); err != nil {
		return err
	}
	var err error
	if q.s, err = q.disk(); err != nil {
		return err
	}
	st, err := q.s.Follow(context.Background(), 0)
	if err != nil {
		return err
	}
	return errors.Join(q.model.CheckState(st), q.model.checkHeads(context.Background(), q.s))
}

func (q *sequence) erase() error {
	e := q.model.erasures(q.rng)
	q.trace = append(q.trace, fmt.Sprintf("erase %v", e))
	q.model.Erase(e)
	return q.s.Erase(context.Background(), e)
}

func (q *sequence) purge() error {
	q.trace = append(q.trace, "purge")
	q.model.Purge()
	return q.s.Purge(context.Background())
}

// replace drops some projections and brings the rest in another order.
func (q *sequence) replace() error {
	p := q.model.Projections()
	q.rng.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	p = p[:len(p)-q.rng.IntN(len(p)/4+1)]
	q.trace = append(q.trace, fmt.Sprintf("replace projections by %d", len(p)))
	var heads []store.StreamHead
	for _, h := range q.model.heads {
		heads = append(heads, h)
	}
	q.model.ReplaceProjections(p, heads)
	return q.s.ReplaceProjections(context.Background(), all(p), heads)
}

func (q *sequence) read() error {
	ctx := context.Background()
	reads := []struct {
		name string
		read func(context.Context, store.Store) error
	}{
		{"entries", q.model.checkEntries},
		{"tiles", q.model.checkTiles},
		{"checkpoints", q.model.checkCheckpoints},
		{"keys", q.model.checkKeys},
		{"postings", q.model.checkPostings},
		{"facts", q.model.checkFacts},
		{"projections", q.model.checkProjections},
		{"a range of skeletons", q.readRange},
	}
	if q.model.raw {
		reads = reads[:len(reads)-1]
	}
	r := reads[q.rng.IntN(len(reads))]
	q.trace = append(q.trace, "read "+r.name)
	return r.read(ctx, q.s)
}

func (q *sequence) readRange(ctx context.Context, s store.Store) error {
	from := q.rng.Uint64N(q.model.Size() + 1)
	to := from + q.rng.Uint64N(q.model.Size()-from+1)
	got, err := s.Skeletons(ctx, from, to)
	if err != nil {
		return err
	}
	if uint64(len(got)) != to-from {
		return fmt.Errorf("skeletons %d to %d: got %d", from, to, len(got))
	}
	for i := range got {
		if got[i] != q.model.entries[from+uint64(i)].Skeleton {
			return fmt.Errorf("skeletons %d to %d: %d is wrong", from, to, from+uint64(i))
		}
	}
	return nil
}
