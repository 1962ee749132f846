package views

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of the overview.
const (
	burndownDays = 90
	soon         = 14 * day // exceptions that expire
	recentDays   = 30 * day // triage and verification
	today        = 48 * time.Hour
	maxListed    = 20
	maxRecent    = 10
	maxStages    = 64
	soonFindings = 250 * time.Millisecond // after a start, for new findings
)

func newStreamTallies() *streamTallies {
	// A key that is cut keeps what is counted.
	key := func(counted, by string) func(*entry.Header) string {
		return func(h *entry.Header) string { return h.Attributes[counted] + "\n" + h.Attributes[by] }
	}
	return &streamTallies{
		decisions:    &tally{projection: newProjection(), kind: kindname.GateDecision, bucket: 15 * time.Minute, keep: today, key: key("decision", "stage")},
		triage:       &tally{projection: newProjection(), kind: kindname.TriageAction, bucket: day, keep: recentDays, key: func(h *entry.Header) string { return h.Attributes["result"] }},
		verification: &tally{projection: newProjection(), kind: kindname.VerificationReport, bucket: day, keep: recentDays, key: key("verdict", "verifier")},
		budgets:      newBudgets(),
		incidents:    newIncidents(),
	}
}

// An overview is made for one call.
type overview struct {
	*Reader
	*Viewer
	now   time.Time
	res   *munimentv1.GetOverviewResponse
	tally *streamTallies
}

// Overview returns the state of a stream in numbers, without its coverage and
// the log. The day begins at today.
func (r *Reader) Overview(ctx context.Context, v *Viewer, today time.Time) (*munimentv1.GetOverviewResponse, error) {
	o := &overview{Reader: r, Viewer: v, now: r.Now(), res: &munimentv1.GetOverviewResponse{}}
	o.tally = r.tallies.of(v.Stream, o.now)
	for _, part := range []func(context.Context) error{
		func(ctx context.Context) error { return o.decisions(ctx, today) },
		o.findings, o.exceptions, o.backfills, o.triage, o.caches, o.verification,
	} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	return o.res, nil
}

// how lists, for the kinds that parts of the overview need, the commands that
// record such entries, and the page about them.
var how = map[string]struct {
	page     string
	commands []string
}{
	kindname.Inventory:          {"docs/inventory.md", []string{"muniment inventory cluster --environment production", "muniment inventory registry registry.example.com --environment production"}},
	kindname.GateDecision:       {"docs/deploy-gates.md", []string{"muniment gate registry.example.com/app:1.0 --stage deploy --environment production"}},
	kindname.Finding:            {"docs/compliance.md", []string{"muniment finding import findings.csv"}},
	kindname.ExceptionRequest:   {"docs/compliance.md", []string{"muniment exception request EXC-1 --control CONTROL --glob 'registry.example.com/app*' --expires 14d --reason REASON"}},
	kindname.BackfillCheckpoint: {"docs/spec/kinds.md", []string{"muniment append checkpoint.json --kind backfill-checkpoint --idempotency-key ENTITY-50"}},
	kindname.TriageAction:       {"docs/spec/kinds.md", []string{"muniment append action.json --kind triage-action --idempotency-key INCIDENT-1"}},
	kindname.MetricSnapshot:     {"docs/spec/kinds.md", []string{"muniment append metrics.json --kind metric-snapshot --idempotency-key SERVICE-TIME"}},
	kindname.VerificationReport: {"docs/tenant.md", []string{"muniment append report.json --kind verification-report --idempotency-key RECEIPT-1"}},
	kindname.ExportManifest:     {"docs/export-manifests.md", []string{"muniment export-manifest create FOLDER --description description.json -o export.statement.json"}},
}

// Connect returns where a part comes from.
func (r *Reader) Connect(ctx context.Context, v *Viewer, kind string) (*munimentv1.Connection, error) {
	page, err := r.Log.List(ctx, v.Stream, ledger.Query{Filter: ledger.Filter{Kind: kind}, Limit: 1})
	if err != nil {
		return nil, err
	}
	c := &munimentv1.Connection{Kind: kind, Page: how[kind].page}
	if len(page.Entries) == 0 {
		c.Commands = how[kind].commands
		return c, nil
	}
	e := &page.Entries[0]
	c.Connected, c.Newest, c.NewestTime = true, &e.Index, timestamp(timeOf(e))
	return c, nil
}

// newest calls visit with the newest entries of a kind, at most a number.
func (o *overview) newest(ctx context.Context, f ledger.Filter, most int, visit func(*ledger.Entry) error) error {
	var wrong error
	n := 0
	err := o.Decider.NewestFirst(ctx, o.Stream, f, o.Log.Published().Size, func(e *ledger.Entry) bool {
		n++
		wrong = visit(e)
		return wrong == nil && n < most
	})
	if err == nil {
		err = wrong
	}
	return err
}

// count refreshes a tally and returns its counts since a time.
func (o *overview) count(ctx context.Context, t *tally, from time.Time) (map[string]uint64, error) {
	if err := t.lock.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer t.lock.Release(1)
	behind, err := t.refresh(ctx, o.Log, o.Stream, o.now)
	o.res.Behind = max(o.res.Behind, behind)
	return t.since(from), err
}

func (o *overview) decisions(ctx context.Context, today time.Time) error {
	m := &munimentv1.OverviewDecisions{Since: timestamp(today)}
	o.res.Decisions = m
	var err error
	if m.Connection, err = o.Connect(ctx, o.Viewer, kindname.GateDecision); err != nil || !m.Connection.Connected {
		return err
	}
	counts, err := o.count(ctx, o.tally.decisions, today)
	if err != nil {
		return err
	}
	stages := map[string]*munimentv1.StageDecisions{}
	for key, n := range counts {
		decision, stage, _ := strings.Cut(key, "\n")
		one := stages[stage]
		if one == nil {
			one = &munimentv1.StageDecisions{Stage: stage}
			stages[stage] = one
			m.Stages = append(m.Stages, one)
		}
		switch decision {
		case "pass":
			one.Passed += n
		case "blocked":
			one.Blocked += n
		default:
			one.Undecided += n
		}
	}
	slices.SortFunc(m.Stages, func(a, b *munimentv1.StageDecisions) int { return cmp.Compare(a.Stage, b.Stage) })
	m.Stages = first(m.Stages, maxStages)
	for _, outcome := range []string{"blocked", "undecided"} {
		err := o.newest(ctx, ledger.Filter{Kind: kindname.GateDecision, Attribute: "decision=" + outcome}, maxRecent, func(e *ledger.Entry) error {
			m.Stopped = append(m.Stopped, recentDecision(e))
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(m.Stopped, func(a, b *munimentv1.RecentDecision) int { return cmp.Compare(b.Index, a.Index) })
	m.Stopped = first(m.Stopped, maxRecent)
	return nil
}

func (o *overview) findings(ctx context.Context) error {
	m := &munimentv1.OverviewFindings{}
	o.res.Findings = m
	var err error
	if m.Connection, err = o.Connect(ctx, o.Viewer, kindname.Finding); err != nil || !m.Connection.Connected {
		return err
	}
	w, err := o.follower(ctx, o.Stream)
	if err != nil {
		return err
	}
	midnight := o.now.UTC().Truncate(day)
	var times []time.Time
	for i := burndownDays - 1; i >= 0; i-- {
		times = append(times, midnight.Add(-time.Duration(i)*day))
	}
	times = append(times, o.now)
	return o.Reader.Findings.UseSoon(ctx, o.Stream, soonFindings, func(all []*finding.Finding, behind uint64) {
		o.res.Behind = max(o.res.Behind, behind)
		for _, c := range finding.CountsAt(all, times, w.sla) {
			m.Days = append(m.Days, &munimentv1.FindingsDay{Time: timestamp(c.Time), Open: uint64(c.Open), InProgress: uint64(c.InProgress), Resolved: uint64(c.Resolved), Overdue: uint64(c.Overdue)})
		}
		counts := map[posture.FindingState]uint64{}
		for _, f := range all {
			one := w.follow(f)
			counts[posture.FindingState{Status: one.state, Severity: f.Newest().Severity}]++
			if m.Total++; f.Resolved() {
				m.Resolved++
			}
			if one.overdue {
				m.Overdue++
			}
		}
		for _, status := range posture.Statuses {
			for _, severity := range posture.Severities {
				if n := counts[posture.FindingState{Status: status, Severity: severity}]; n > 0 {
					m.Counts = append(m.Counts, &munimentv1.FindingsCount{State: string(status), Severity: severity, Count: n})
				}
			}
		}
	})
}

func (o *overview) exceptions(ctx context.Context) error {
	m := &munimentv1.OverviewExceptions{}
	o.res.Exceptions = m
	var err error
	if m.Connection, err = o.Connect(ctx, o.Viewer, kindname.ExceptionRequest); err != nil || !m.Connection.Connected {
		return err
	}
	h, err := o.hearing(ctx, o.Viewer)
	if err != nil {
		return err
	}
	all, err := o.Reader.Exceptions.All(ctx, o.Stream)
	if err != nil {
		return err
	}
	counts := map[exception.State]uint64{}
	var expiring, waiting []*exception.Exception
	for _, x := range all {
		s := h.at(x)
		counts[s.State]++
		if s.InForce() && s.Expires.Before(o.now.Add(soon)) {
			expiring = append(expiring, x)
		}
		if s.State == exception.Requested && x.Expires.After(o.now) || s.Unconfirmed {
			waiting = append(waiting, x)
		}
	}
	for _, state := range exception.States {
		if counts[state] > 0 {
			m.Counts = append(m.Counts, &munimentv1.ExceptionsCount{State: string(state), Count: counts[state]})
		}
	}
	slices.SortStableFunc(expiring, func(a, b *exception.Exception) int { return h.at(a).Expires.Compare(h.at(b).Expires) })
	m.ExpiringTotal, m.WaitingTotal = uint64(len(expiring)), uint64(len(waiting))
	for _, x := range first(expiring, maxListed) {
		m.Expiring = append(m.Expiring, h.exception(x))
	}
	for _, x := range first(waiting, maxListed) {
		m.Waiting = append(m.Waiting, h.exception(x))
	}
	return nil
}

// Coverage returns the coverage as it was last computed; nil: it was not.
func Coverage(connection *munimentv1.Connection, sum *inventory.Summary, stage string) *munimentv1.OverviewCoverage {
	m := &munimentv1.OverviewCoverage{Connection: connection, Stage: stage}
	if sum == nil {
		return m
	}
	m.Computed, m.Problems = timestamp(sum.At.Time), first(sum.Problems, maxListed)
	type cell struct{ environment, kind string }
	counts := map[cell]*munimentv1.CoverageCount{}
	for at, t := range sum.Tallies {
		one := counts[cell{at.Environment, at.Type}]
		if one == nil {
			one = &munimentv1.CoverageCount{Environment: at.Environment, Type: at.Type}
			counts[cell{at.Environment, at.Type}] = one
			m.Counts = append(m.Counts, one)
		}
		one.Inventoried += uint64(t.Inventoried)
		one.Attested += uint64(t.Attested())
		one.Excepted += uint64(t.Gaps[inventory.Excepted])
		one.Undecided += uint64(t.Gaps[inventory.Undecided])
	}
	slices.SortFunc(m.Counts, func(a, b *munimentv1.CoverageCount) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Type, b.Type))
	})
	return m
}
