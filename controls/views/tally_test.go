package views

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/export"
)

// at returns an entry with attributes.
func at(index uint64, when time.Time, attributes map[string]string) *ledger.Entry {
	return &ledger.Entry{Index: index, Skeleton: entry.Skeleton{Time: uint64(when.UnixMilli())}, Header: &entry.Header{Attributes: attributes}}
}

// TestTallyIsBounded checks that a tenant cannot grow a tally with the texts of
// its entries, and that what is counted stays right.
func TestTallyIsBounded(t *testing.T) {
	d := newStreamTallies().decisions
	d.keys, d.buckets = map[string]string{}, map[int64]*bucket{}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	const stages = 5000
	for i := range stages {
		for j, decision := range []string{"pass", "blocked", "undecided"} {
			d.add(at(uint64(3*i+j), now.Add(-time.Duration(i%48)*time.Hour), map[string]string{"decision": decision, "stage": fmt.Sprint(i, strings.Repeat("ü", 4000))}))
		}
	}
	keys, bytes := 0, 0
	for key := range d.keys {
		keys++
		bytes += len(key)
	}
	if keys > maxTallyKeys+3 || bytes > keys*maxTallyKey {
		t.Errorf("%d keys of %d bytes", keys, bytes)
	}
	counts := map[string]uint64{}
	for key, n := range d.since(now.Add(-50 * time.Hour)) {
		decision, stage, ok := strings.Cut(key, "\n")
		if !ok || strings.ToValidUTF8(stage, "") != stage {
			t.Errorf("the key %q", key)
		}
		counts[decision] += n
	}
	if counts["pass"] != stages || counts["blocked"] != stages || counts["undecided"] != stages {
		t.Errorf("counted: %v", counts)
	}
	d.drop(now.Add(time.Hour).UnixNano() / int64(d.bucket))
	if len(d.keys)+len(d.buckets) > 0 {
		t.Errorf("%d keys and %d buckets are left of the past", len(d.keys), len(d.buckets))
	}
}

// TestBudgetsAreBounded checks that the spends of many budgets take a bounded
// amount of memory, and that their sums stay right.
func TestBudgetsAreBounded(t *testing.T) {
	b := newBudgets()
	b.all = map[string]*budget{}
	n := uint64(0)
	spend := func(budget, amount, relation string) {
		n++
		b.add(at(n, time.Now(), map[string]string{export.AttributeBudget: budget, export.AttributeFlavor: export.PureDP, export.AttributeUnit: "user", export.AttributeRelation: relation,
			export.AmountAttribute(export.PureDP): amount}))
	}
	for i := range 300 {
		for range 150 {
			spend(fmt.Sprint("budget ", i), "0.1", "bounded")
		}
	}
	total := 0
	for name, one := range b.all {
		if one.sum.String() != "15" || one.count != 150 || len(one.spends) > maxSpends || len(one.spends) == 0 || one.spends[len(one.spends)-1].checked.String() != "15" {
			t.Errorf("%s: %d spends, %d kept, the sum %s", name, one.count, len(one.spends), one.sum)
		}
		total += len(one.spends)
	}
	if total > maxKeptSpends || total != b.kept {
		t.Errorf("%d spends are kept, %d are counted", total, b.kept)
	}
	spend("budget 0", "1", "unbounded")
	if one := b.all["budget 0"]; one.problem == "" || one.sum.String() != "15" {
		t.Errorf("a spend for another relation was added: %+v", one)
	}
	for i := range maxKeptBudgets + 1000 {
		spend(fmt.Sprint("another ", i), "1", "bounded")
	}
	if len(b.all) > maxKeptBudgets || b.kept > maxKeptSpends {
		t.Errorf("%d budgets, %d spends", len(b.all), b.kept)
	}
}

// TestIndexesAreBounded checks that streams with many names do not push out the
// indexes of others, and that all together hold a bounded amount of memory.
func TestIndexesAreBounded(t *testing.T) {
	soak.WithoutRace(t)
	xs := &indexes{}
	stream := func(i byte) *ledger.Stream { return &ledger.Stream{ID: entry.Hash{i}} }
	small := xs.of(stream(0))
	xs.grown(small, 1<<10)
	for i := range byte(20) {
		xs.grown(xs.of(stream(i+1)), 40<<20)
	}
	total := int64(0)
	for _, x := range xs.all {
		total += x.size
	}
	if total > maxIndexed || xs.all[stream(0).ID] != small {
		t.Errorf("%d indexes hold %d bytes; the small one is kept: %t", len(xs.all), total, xs.all[stream(0).ID] == small)
	}
	x := newIndex()
	x.now = newGeneration()
	for i := range 3*maxIndexNames + 1 {
		e := at(uint64(i), time.Now(), nil)
		e.Header.Subjects = []entry.Subject{{Name: fmt.Sprint("name ", i), Digest: map[string]string{"sha256": fmt.Sprintf("%064x", i<<40)}}}
		x.add(e)
	}
	if x.bytes() > maxIndexed/2 || !x.lost {
		t.Errorf("one index holds %d bytes, and has lost names: %t", x.bytes(), x.lost)
	}
	if found, _ := x.names(fmt.Sprint("name ", 3*maxIndexNames), 10); len(found) != 1 {
		t.Errorf("the newest name: %v", found)
	}
}
