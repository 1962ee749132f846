package views

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// The numbers of newest entries from which the parts about other systems are.
const (
	maxCheckpoints   = 1000
	maxBackfillSteps = 1000
	maxActions       = 1000
	maxSnapshots     = 300
	maxPoints        = 100 // of one line
	// maxSnapshotBytes limits the payloads of snapshots that one call reads.
	maxSnapshotBytes = 4 << 20
)

func (o *overview) backfills(ctx context.Context) error {
	m := &munimentv1.OverviewBackfills{}
	o.res.Backfills = m
	var err error
	if m.Connection, err = o.Connect(ctx, o.Viewer, kindname.BackfillCheckpoint); err != nil || !m.Connection.Connected {
		return err
	}
	byEntity := map[string]*munimentv1.Backfill{}
	var all []*munimentv1.Backfill
	err = o.newest(ctx, ledger.Filter{Kind: kindname.BackfillCheckpoint}, maxCheckpoints, func(e *ledger.Entry) error {
		a := e.Header.Attributes
		percent, _ := strconv.ParseFloat(strings.TrimSuffix(a["checkpoint"], "%"), 64)
		score, _ := strconv.ParseFloat(a["acaScore"], 64)
		at := timestamp(checkpointTime(a["ts"]))
		b := byEntity[a["entity"]]
		if b == nil {
			b = &munimentv1.Backfill{Entity: a["entity"], Percent: percent, AcaScore: score, RollbackReady: a["rollbackReady"] == "true", Time: at, Index: e.Index}
			byEntity[b.Entity] = b
			all = append(all, b)
		}
		if len(b.Points) < maxPoints {
			b.Points = append(b.Points, &munimentv1.BackfillPoint{Time: at, Percent: percent, AcaScore: score})
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.Total = uint64(len(all))
	m.Backfills = first(all, maxListed)
	for _, b := range m.Backfills {
		slices.Reverse(b.Points)
	}
	if err := o.backfillSteps(ctx, byEntity); err != nil {
		return err
	}
	return o.backfillGates(ctx, m.Backfills)
}

// backfillSteps adds the newest steps to the backfills. Those of an entity are
// about the file of its newest step.
func (o *overview) backfillSteps(ctx context.Context, byEntity map[string]*munimentv1.Backfill) error {
	return o.newest(ctx, ledger.Filter{Kind: kindname.BackfillStep}, maxBackfillSteps, func(e *ledger.Entry) error {
		a := e.Header.Attributes
		b := byEntity[a["entity"]]
		if b == nil || len(e.Header.Subjects) != 1 {
			return nil
		}
		job := &munimentv1.Artifact{Name: e.Header.Subjects[0].Name, Digest: e.Header.Subjects[0].Digest}
		if b.Job == nil {
			b.Job = job
		}
		if len(b.Steps) < maxListed && maps.Equal(b.Job.Digest, job.Digest) {
			b.Steps = append(b.Steps, &munimentv1.BackfillStepState{
				Step: a["step"], Phase: a["phase"], Result: a["result"], Checkpoint: a["checkpoint"], Verdict: a["verdict"], Actor: a["actor"],
				Time: timestamp(timeOf(e)), Index: e.Index,
			})
		}
		return nil
	})
}

// backfillGates adds the newest decision of a gate about each job.
func (o *overview) backfillGates(ctx context.Context, all []*munimentv1.Backfill) error {
	for _, b := range all {
		digest, ok := b.Job.GetDigest()["sha256"]
		if !ok {
			continue
		}
		page, err := o.Log.List(ctx, o.Stream, ledger.Query{Filter: ledger.Filter{Kind: kindname.GateDecision, Subject: "sha256:" + digest}, Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Entries) > 0 {
			b.Gate = recentDecision(&page.Entries[0])
		}
	}
	return nil
}

// checkpointTime reads the time of a checkpoint, which can lack seconds.
func checkpointTime(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

func (o *overview) triage(ctx context.Context) error {
	from := o.now.Add(-recentDays)
	m := &munimentv1.OverviewTriage{Since: timestamp(from)}
	o.res.Triage = m
	var err error
	if m.Connection, err = o.Connect(ctx, o.Viewer, kindname.TriageAction); err != nil || !m.Connection.Connected {
		return err
	}
	counts, err := o.count(ctx, o.tally.triage, from)
	if err != nil {
		return err
	}
	for result, n := range counts {
		if result == "" {
			continue // intents, whose outcomes are counted
		}
		m.Counts = append(m.Counts, &munimentv1.ActionsCount{Result: result, Count: n})
	}
	slices.SortFunc(m.Counts, func(a, b *munimentv1.ActionsCount) int { return cmp.Compare(a.Result, b.Result) })
	began := map[string]time.Time{} // first action of each incident, by ID in upper case
	err = o.newest(ctx, ledger.Filter{Kind: kindname.TriageAction, From: from}, maxActions, func(e *ledger.Entry) error {
		a := e.Header.Attributes
		if a["phase"] == "intent" {
			return nil
		}
		started, err := time.Parse(time.RFC3339Nano, a["started"])
		if err != nil {
			started = timeOf(e)
		}
		if len(m.Recent) < maxRecent {
			m.Recent = append(m.Recent, &munimentv1.RecentAction{Index: e.Index, Started: timestamp(started), Incident: a["incident"], Playbook: a["playbook"], Action: a["action"], Result: a["result"], Actor: a["actor"]})
		}
		id := strings.ToUpper(a["incident"])
		if first, ok := began[id]; !ok || started.Before(first) {
			began[id] = started
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.Incidents = uint64(len(began))
	return o.addMTTA(ctx, m, began)
}

// addMTTA adds the mean time from the detection of incidents to the first
// action.
func (o *overview) addMTTA(ctx context.Context, m *munimentv1.OverviewTriage, began map[string]time.Time) error {
	total := time.Duration(0)
	err := o.Reader.Findings.Use(ctx, o.Stream, func(all []*finding.Finding, _ uint64) {
		counted := map[string]bool{}
		for _, f := range all {
			for _, id := range append([]string{f.ID}, f.Aliases...) {
				id = strings.ToUpper(id)
				at, ok := began[id]
				if ok && !counted[id] && !at.Before(f.Detected) {
					counted[id] = true
					total += at.Sub(f.Detected)
					m.MttaIncidents++
				}
			}
		}
	})
	if m.MttaIncidents > 0 {
		mean := total.Seconds() / float64(m.MttaIncidents)
		m.MttaSeconds = &mean
	}
	return err
}

func (o *overview) caches(ctx context.Context) error {
	m := &munimentv1.OverviewCaches{}
	o.res.Caches = m
	var err error
	if m.Connection, err = o.Connect(ctx, o.Viewer, kindname.MetricSnapshot); err != nil || !m.Connection.Connected {
		return err
	}
	services := map[string]*munimentv1.CacheService{}
	var all []*munimentv1.CacheService
	left := uint64(maxSnapshotBytes)
	err = o.newest(ctx, ledger.Filter{Kind: kindname.MetricSnapshot}, maxSnapshots, func(e *ledger.Entry) error {
		if e.Header.Payload.Size > left {
			return nil
		}
		left -= e.Header.Payload.Size
		doc := &munimentv1.MetricSnapshot{}
		ok, err := o.document(ctx, o.Viewer, e.Index, func(b []byte) error { return protojson.Unmarshal(b, doc) })
		if err != nil || !ok {
			return err
		}
		p99, ratio := cacheMetrics(doc.Metrics)
		if p99 == nil && ratio == nil {
			return nil
		}
		s := services[doc.Service]
		if s == nil {
			s = &munimentv1.CacheService{Service: doc.Service, P99Milliseconds: p99, HitRatio: ratio, From: doc.Window.GetFrom(), To: doc.Window.GetTo(), Index: e.Index}
			services[doc.Service] = s
			all = append(all, s)
		}
		if len(s.Points) < maxPoints {
			s.Points = append(s.Points, &munimentv1.CachePoint{To: doc.Window.GetTo(), P99Milliseconds: p99, HitRatio: ratio})
		}
		return nil
	})
	m.Connection.Connected = m.Connection.Connected && len(all) > 0
	if !m.Connection.Connected {
		m.Connection.Commands = how[kindname.MetricSnapshot].commands
	}
	m.Total = uint64(len(all))
	m.Services = first(all, maxListed)
	for _, s := range m.Services {
		slices.Reverse(s.Points)
	}
	return err
}

// milliseconds has the units of latencies.
var milliseconds = map[string]float64{"s": 1000, "ms": 1, "us": 1e-3, "µs": 1e-3, "ns": 1e-6}

// cacheMetrics returns the 99th percentile of the latency and the hit ratio of
// a snapshot.
func cacheMetrics(metrics []*munimentv1.Metric) (p99, ratio *float64) {
	for _, one := range metrics {
		name, v := strings.ToLower(one.Name), one.GetValue()
		factor, isTime := milliseconds[one.Unit]
		switch {
		case p99 == nil && isTime && strings.Contains(name, "p99"):
			v *= factor
			p99 = &v
		case ratio == nil && one.Unit == "ratio" && strings.Contains(name, "hit"):
			ratio = &v
		}
	}
	return p99, ratio
}

func (o *overview) verification(ctx context.Context) error {
	from := o.now.Add(-recentDays)
	m := &munimentv1.OverviewVerification{Since: timestamp(from)}
	o.res.Verification = m
	var err error
	if m.Connection, err = o.Connect(ctx, o.Viewer, kindname.VerificationReport); err != nil || !m.Connection.Connected {
		return err
	}
	counts, err := o.count(ctx, o.tally.verification, from)
	if err != nil {
		return err
	}
	verifiers := map[string]*munimentv1.VerifierCounts{}
	for key, n := range counts {
		verdict, verifier, _ := strings.Cut(key, "\n")
		one := verifiers[verifier]
		if one == nil {
			one = &munimentv1.VerifierCounts{Verifier: verifier}
			verifiers[verifier] = one
			m.Verifiers = append(m.Verifiers, one)
		}
		switch verdict {
		case "verified":
			one.Verified += n
		case "not-verified":
			one.NotVerified += n
		default:
			one.Errors += n
		}
	}
	slices.SortFunc(m.Verifiers, func(a, b *munimentv1.VerifierCounts) int { return cmp.Compare(a.Verifier, b.Verifier) })
	m.Verifiers = first(m.Verifiers, maxListed)
	for _, verdict := range []string{"not-verified", "error"} {
		err := o.newest(ctx, ledger.Filter{Kind: kindname.VerificationReport, Attribute: "verdict=" + verdict, From: from}, maxRecent, func(e *ledger.Entry) error {
			m.Failures = append(m.Failures, failureMessage(e))
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(m.Failures, func(a, b *munimentv1.VerificationFailure) int { return cmp.Compare(b.Index, a.Index) })
	m.Failures = first(m.Failures, maxRecent)
	return nil
}

func failureMessage(e *ledger.Entry) *munimentv1.VerificationFailure {
	a := e.Header.Attributes
	m := &munimentv1.VerificationFailure{Index: e.Index, Time: timestamp(timeOf(e)), Verifier: a["verifier"], Version: a["version"], Verdict: a["verdict"], ReasonCode: a["reasonCode"]}
	if index, err := strconv.ParseUint(a["entry"], 10, 64); err == nil {
		m.Entry = &index
	}
	return m
}
