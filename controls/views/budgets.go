package views

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/facts"
)

const (
	maxBudgets = 100
	maxSpends  = 100 // of a budget in an answer
	// maxKeptBudgets bounds the budgets of a stream in memory.
	maxKeptBudgets = 10_000
)

// budgets adds the spends of a stream's privacy budgets. It is a projection,
// and a call adds a bounded number of new entries to it.
type budgets struct {
	mu         sync.Mutex // guards the fields below; held while entries are read
	next       uint64     // first index that was not read
	nextErased uint64
	all        map[string]*budget // by name
	erased     bool               // the header of a manifest was erased
}

func newBudgets() *budgets { return &budgets{all: map[string]*budget{}} }

// A budget is a privacy budget with its newest spends.
type budget struct {
	name, flavor, unit, measure string
	sum                         export.Decimal
	count                       uint64
	spends                      []spend // the newest, the oldest first
	problem                     string
}

// A spend is a recorded export that spends a budget.
type spend struct {
	entry   *ledger.Entry
	amount  string
	checked export.Decimal // the sum up to it
}

// refresh reads new entries, at most a number. It returns how many indexes of
// the log are left.
func (b *budgets) refresh(ctx context.Context, log Log, s *ledger.Stream) (behind uint64, err error) {
	p, n := log.Published(), 0
	for e, err := range exception.Entries(ctx, log, p, s, ledger.Filter{Kind: ledger.ErasureKind}, &b.nextErased) {
		if err != nil {
			return 0, err
		}
		if index, err := ledger.ErasedBy(e); err == nil && e.Header.Attributes["scope"] != ledger.ScopePayload && b.has(index) {
			b.next, b.all, b.erased = 0, map[string]*budget{}, true
		}
	}
	for e, err := range exception.Entries(ctx, log, p, s, ledger.Filter{Kind: kindname.ExportManifest}, &b.next) {
		if err != nil {
			return 0, err
		}
		if n++; n > tallyEntries {
			break
		}
		b.add(e)
	}
	return p.Size - min(p.Size, b.next), nil
}

// has reports whether an entry is among the spends in memory, or could have
// been added to a sum.
func (b *budgets) has(index uint64) bool { return index < b.next && len(b.all) > 0 }

func (b *budgets) add(e *ledger.Entry) {
	a := e.Header.Attributes
	name, flavor := a[export.AttributeBudget], a[export.AttributeFlavor]
	measure := export.AmountAttribute(flavor)
	if a[measure] == "" || e.Header.NotAdmitted() {
		return // no privacy
	}
	one := b.all[name]
	if one == nil {
		if len(b.all) >= maxKeptBudgets {
			return
		}
		one = &budget{name: name, flavor: flavor, unit: a[export.AttributeUnit], measure: measure, sum: export.Zero()}
		b.all[name] = one
	}
	amount, err := export.ParseDecimal(a[measure])
	switch {
	case err != nil:
		one.problem = fmt.Sprintf("entry %d: its amount is not a decimal", e.Index)
		return
	case flavor != one.flavor || a[export.AttributeUnit] != one.unit:
		one.problem = fmt.Sprintf("entry %d: its flavor or privacy unit is another, so it cannot be added", e.Index)
		return
	}
	one.sum = one.sum.Plus(amount)
	one.count++
	one.spends = last(append(one.spends, spend{e, a[measure], one.sum}), maxSpends)
}

// GetPrivacyBudget returns the privacy budgets of a stream.
func (r *Reader) GetPrivacyBudget(ctx context.Context, v *Viewer, req *munimentv1.GetPrivacyBudgetRequest) (*munimentv1.GetPrivacyBudgetResponse, error) {
	res := &munimentv1.GetPrivacyBudgetResponse{}
	var err error
	if res.Connection, err = r.Connect(ctx, v, kindname.ExportManifest); err != nil {
		return nil, err
	}
	b := r.tallies.of(v.Stream, r.Now()).budgets
	b.mu.Lock()
	defer b.mu.Unlock()
	if res.Behind, err = b.refresh(ctx, r.Log, v.Stream); err != nil {
		return nil, err
	}
	var all []*budget
	for _, one := range b.all {
		if req.Budget == "" || req.Budget == one.name {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(x, y *budget) int { return cmp.Compare(y.newest(), x.newest()) })
	res.Total = uint64(len(all))
	read := 0
	for _, one := range first(all, maxBudgets) {
		m, err := r.budget(ctx, v.Stream, one, &read)
		if err != nil {
			return nil, err
		}
		if b.erased && m.Problem == "" {
			m.Problem = "the headers of entries were erased, which could be spends"
			m.Agrees = false
		}
		res.Budgets = append(res.Budgets, m)
	}
	return res, nil
}

func (b *budget) newest() uint64 {
	if len(b.spends) == 0 {
		return 0
	}
	return b.spends[len(b.spends)-1].entry.Index
}

// maxClaims is the number of manifests that one answer reads for what they
// claim. Older spends are without.
const maxClaims = 500

func (r *Reader) budget(ctx context.Context, s *ledger.Stream, b *budget, read *int) (*munimentv1.BudgetRecord, error) {
	m := &munimentv1.BudgetRecord{Name: b.name, Flavor: b.flavor, PrivacyUnit: b.unit, Measure: b.measure, Checked: b.sum.String(), Problem: b.problem, SpendCount: b.count}
	for i := len(b.spends) - 1; i >= 0; i-- {
		one := &b.spends[i]
		h := one.entry.Header
		line := &munimentv1.BudgetSpend{Index: one.entry.Index, Time: timestamp(timeOf(one.entry)), Name: h.Attributes["name"], Amount: one.amount, Checked: one.checked.String()}
		if *read++; *read <= maxClaims {
			p, err := r.privacyOf(ctx, s, one.entry)
			if err != nil {
				return nil, err
			}
			line.Claimed = claimOf(p)
			if i == len(b.spends)-1 {
				describeBudget(m, p, line.Claimed, b)
			}
		}
		m.Spends = append(m.Spends, line)
	}
	slices.Reverse(m.Spends)
	return m, nil
}

// describeBudget adds what the newest manifest claims.
func describeBudget(m *munimentv1.BudgetRecord, p *facts.Privacy, claimed string, b *budget) {
	if p == nil {
		m.Problem = cmp.Or(m.Problem, "the newest manifest was erased")
		return
	}
	m.Claimed, m.Limit = claimed, decimal(p.Budget)
	if p.BudgetDelta > 0 {
		m.LimitDelta = decimal(p.BudgetDelta)
	}
	if d, err := export.ParseDecimal(claimed); err == nil {
		m.Agrees = m.Problem == "" && d.AtLeast(b.sum)
	}
}

// privacyOf returns the privacy loss in a manifest, or nil.
func (r *Reader) privacyOf(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (*facts.Privacy, error) {
	f, err := r.Decider.Facts.FactsOf(ctx, s, e)
	if errors.Is(err, ledger.ErrErased) || err == nil && (f == nil || f.Export == nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return f.Export.Privacy, nil
}

// claimOf returns what a manifest claims that all exports up to it have spent.
func claimOf(p *facts.Privacy) string {
	switch {
	case p == nil:
		return ""
	case p.SpentRho != nil:
		return decimal(*p.SpentRho)
	case p.Spent != nil:
		return decimal(*p.Spent)
	}
	return ""
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
