package views

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/facts"
)

const (
	maxBudgets = 100
	maxSpends  = 100 // of a budget in an answer
	// maxKeptBudgets and maxKeptSpends bound what is kept of a stream.
	maxKeptBudgets = 10_000
	maxKeptSpends  = 20_000
)

// budgets adds the spends of a stream's privacy budgets.
type budgets struct {
	projection
	all  map[string]*budget // by name
	kept int                // spends of all budgets in memory
	// hidden means that headers were erased, which could be of spends.
	hidden bool
}

func newBudgets() *budgets { return &budgets{projection: newProjection()} }

// A budget is a privacy budget with its newest spends.
type budget struct {
	name, flavor, unit, relation, measure string
	sum                                   export.Decimal
	count                                 uint64
	spends                                []spend // the newest, the oldest first
	problem                               string
}

// A spend is a recorded export that spends a budget.
type spend struct {
	index   uint64 // of the entry
	amount  string
	checked export.Decimal // the sum up to it
}

// refresh reads new entries. It returns how many indexes of the log are left.
func (b *budgets) refresh(ctx context.Context, log Log, s *ledger.Stream) (behind uint64, err error) {
	p := log.Published()
	if b.started {
		indexes, all, err := b.erased(ctx, log, p, s)
		if err != nil {
			return 0, err
		}
		for index := range indexes {
			all = all || index < b.next && len(b.all) > 0
		}
		b.started = !all
	}
	if !b.started {
		b.start(p, 0)
		b.all, b.kept = map[string]*budget{}, 0
	}
	f := ledger.Filter{Kind: ledger.ErasureKind, Attribute: "scope=" + ledger.ScopeHeaderAndPayload}
	page, err := log.List(ctx, s, ledger.Query{Filter: f, Limit: 1})
	if err != nil {
		return 0, err
	}
	b.hidden = len(page.Entries) > 0
	for e, err := range some(ctx, log, p, s, ledger.Filter{Kind: kindname.ExportManifest}, &b.next) {
		if err != nil {
			return 0, err
		}
		b.add(e)
	}
	return b.behind(p), nil
}

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
		name = strings.Clone(name) // not the header that it is a part of
		one = &budget{name: name, flavor: strings.Clone(flavor), unit: strings.Clone(a[export.AttributeUnit]), relation: strings.Clone(a[export.AttributeRelation]), measure: measure, sum: export.Zero()}
		b.all[name] = one
	}
	amount, err := export.ParseDecimal(strings.Clone(a[measure]))
	switch {
	case err != nil:
		one.problem = fmt.Sprintf("entry %d: its amount is not a decimal", e.Index)
		return
	case flavor != one.flavor || a[export.AttributeUnit] != one.unit || a[export.AttributeRelation] != one.relation:
		one.problem = fmt.Sprintf("entry %d: its flavor, privacy unit or neighboring relation is another, so it cannot be added", e.Index)
		return
	}
	one.sum = one.sum.Plus(amount)
	one.count++
	before := len(one.spends)
	one.spends = last(append(one.spends, spend{e.Index, amount.String(), one.sum}), maxSpends)
	if b.kept += len(one.spends) - before; b.kept > maxKeptSpends {
		b.trim()
	}
}

// trim drops the older half of each budget's spends from memory. Their sum
// stays.
func (b *budgets) trim() {
	b.kept = 0
	for _, one := range b.all {
		one.spends = slices.Clone(last(one.spends, (len(one.spends)+1)/2))
		b.kept += len(one.spends)
	}
}

// GetPrivacyBudget returns the privacy budgets of a stream.
func (r *Reader) GetPrivacyBudget(ctx context.Context, v *Viewer, req *munimentv1.GetPrivacyBudgetRequest) (*munimentv1.GetPrivacyBudgetResponse, error) {
	res := &munimentv1.GetPrivacyBudgetResponse{}
	var err error
	if res.Connection, err = r.Connect(ctx, v, kindname.ExportManifest); err != nil {
		return nil, err
	}
	b := r.tallies.of(v.Stream, r.Now()).budgets
	if err := b.lock.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer b.lock.Release(1)
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
	all = first(all, maxBudgets)
	for _, one := range all {
		m, err := r.budget(ctx, v.Stream, one, maxRead/len(all))
		if err != nil {
			return nil, err
		}
		if b.hidden && m.Problem == "" {
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
	return b.spends[len(b.spends)-1].index
}

// maxRead is the number of manifests that one answer reads. Its budgets share
// it.
const maxRead = 1000

// budget returns a budget with its newest spends, at most a number.
func (r *Reader) budget(ctx context.Context, s *ledger.Stream, b *budget, most int) (*munimentv1.BudgetRecord, error) {
	m := &munimentv1.BudgetRecord{Name: b.name, Flavor: b.flavor, PrivacyUnit: b.unit, Measure: b.measure, Checked: b.sum.String(), Problem: b.problem, SpendCount: b.count}
	spends := last(b.spends, most)
	for i := range spends {
		one := &spends[i]
		e, err := r.entry(ctx, s, one.index)
		if err != nil {
			return nil, err
		}
		line := &munimentv1.BudgetSpend{Index: e.Index, Time: timestamp(timeOf(e)), Amount: one.amount, Checked: one.checked.String()}
		p := (*facts.Privacy)(nil)
		if e.Header != nil {
			line.Name = e.Header.Attributes["name"]
			if p, err = r.privacyOf(ctx, s, e); err != nil {
				return nil, err
			}
		}
		line.Claimed = claimOf(p)
		if i == len(spends)-1 {
			describeBudget(m, p, line.Claimed, b)
		}
		m.Spends = append(m.Spends, line)
	}
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
