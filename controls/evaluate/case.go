package evaluate

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	findings "muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/facts"
)

// errFacts is wrapped by the values of facts that are incomplete or missing.
var errFacts = errors.New("facts are not available")

// A Case is what the condition of a control reads.
type Case struct {
	*hearing
	control   *Control
	selection *selection
	exemption *exemption
	values    map[string]ref.Val // variables computed so far
	unsolved  []*vulnerability   // set with the value of vulnerabilities
	open      []time.Time        // when findings are due; set with the value of findings
}

func newCase(h *hearing, c *Control, s *selection, x *exemption) *Case {
	return &Case{hearing: h, control: c, selection: s, exemption: x, values: map[string]ref.Val{}}
}

var itemsType = cel.ListType(cel.MapType(cel.StringType, cel.DynType))

// variables are those of conditions of controls, as specified in
// docs/spec/decision.md, section 5.
var variables = []condition.Variable[*Case]{
	{Name: "subject", Type: cel.MapType(cel.StringType, cel.DynType), Value: (*Case).subject},
	{Name: "stage", Type: cel.StringType, Value: func(c *Case) ref.Val { return types.String(c.Stage) }},
	{Name: "environment", Type: cel.StringType, Value: func(c *Case) ref.Val { return types.String(c.Environment) }},
	{Name: "now", Type: cel.TimestampType, Value: func(c *Case) ref.Val { return types.Timestamp{Time: c.Time} }},
	{Name: "parameters", Type: cel.DynType, Value: (*Case).parameters},
	{Name: "evidence", Type: itemsType, Cost: "1 for each entry, once for a control", Value: func(c *Case) ref.Val { return c.keep("evidence", c.evidence) }},
	{Name: "vulnerabilities", Type: itemsType, Cost: "1 for each 4 vulnerabilities and statements that are joined, once for a control", Value: func(c *Case) ref.Val { return c.keep("vulnerabilities", c.vulnerabilities) }},
	{Name: "findings", Type: itemsType, Cost: "1 for each finding about the subject, once for a control", Value: func(c *Case) ref.Val { return c.keep("findings", c.findingsOf) }},
}

// Environment returns the environment of conditions of controls.
var Environment = sync.OnceValues(func() (*condition.Environment[*Case], error) { return condition.New(variables...) })

func (c *Case) keep(name string, value func() ref.Val) ref.Val {
	v := c.values[name]
	if v == nil {
		v = value()
		c.values[name] = v
	}
	return v
}

func (c *Case) subject() ref.Val {
	return c.keep("subject", func() ref.Val {
		digests := map[string]string{}
		for alg, v := range c.digest {
			d := entry.CanonicalDigest(alg, v)
			digests[d.Algorithm()] = d.Value()
		}
		return condition.Value(map[string]any{"type": c.Subject.Type, "name": c.Subject.Name, "digest": digests})
	})
}

func (c *Case) parameters() ref.Val {
	return c.keep("parameters", func() ref.Val {
		if c.control.Parameters == nil {
			return condition.Value(map[string]any{})
		}
		return condition.Value(c.control.Parameters)
	})
}

// evidence returns the selected entries, newest first. An entry that several
// requirements select is in their order.
func (c *Case) evidence() ref.Val {
	type one struct {
		requirement string
		entry       *selectedEntry
	}
	var selected []one
	for _, r := range c.selection.requirements {
		if err := c.meter.Charge(len(r.entries)); err != nil {
			return types.WrapErr(err)
		}
		for i := range r.entries {
			selected = append(selected, one{r.Name, &r.entries[i]})
		}
	}
	slices.SortStableFunc(selected, func(a, b one) int { return cmp.Compare(b.entry.Index, a.entry.Index) })
	all := make([]ref.Val, len(selected))
	for i, s := range selected {
		all[i] = c.item(s.requirement, s.entry)
	}
	return list(all)
}

// item returns an element of evidence.
func (c *Case) item(requirement string, e *selectedEntry) ref.Val {
	h := e.Header
	return object{
		{"requirement", func() ref.Val { return types.String(requirement) }},
		{"index", func() ref.Val { return types.Int(e.Index) }},
		{"kind", func() ref.Val { return types.String(h.Kind) }},
		{"predicate_type", func() ref.Val { return types.String(h.PredicateType) }},
		{"submitter", func() ref.Val { return types.String(h.Submitter) }},
		{"time", func() ref.Val { return types.Timestamp{Time: e.Time} }},
		{"signers", func() ref.Val { return signers(e.by) }},
		{"attributes", func() ref.Val { return words(h.Attributes) }},
		{"verified", func() ref.Val { return types.Bool(h.Verification.Result == entry.Verified) }},
		{"conforming", func() ref.Val { return types.Bool(h.Attributes["conformance"] == "") }},
		{"facts", func() ref.Val { return factsOf(c.meter, e.Evidence) }},
	}
}

func words(m map[string]string) ref.Val {
	if m == nil {
		m = map[string]string{}
	}
	return condition.Value(m)
}

func signers(by []match) ref.Val {
	all := make([]map[string]string, len(by))
	for i, m := range by {
		all[i] = map[string]string{"name": m.name, "identity": m.Identity, "issuer": m.Issuer, "key_id": m.KeyID, "submitter": m.Submitter}
	}
	return condition.Value(all)
}

// A finding is an entry of kind finding.
type finding struct {
	*counted
	id, severity, status string
	resolved             bool
	aliases              []string
	detected, due        time.Time // zero: none
}

// readFinding returns the finding that a header describes.
func readFinding(c *counted) *finding {
	a := c.Header.Attributes
	f := &finding{counted: c, id: a["finding"], severity: a["severity"], status: a["status"], resolved: findings.Resolves(c.Header), aliases: c.Header.AttributeValues("alias")}
	f.detected = timeOf(a["detected"])
	f.due = timeOf(a["due"])
	return f
}

func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// ids returns the identifiers of the finding.
func (f *finding) ids() []string { return append([]string{f.id}, f.aliases...) }

// findingsOf returns the findings about the control and the subject that are
// not resolved, by their IDs.
func (c *Case) findingsOf() ref.Val {
	if err := c.meter.Charge(len(c.findings)); err != nil {
		return types.WrapErr(err)
	}
	newest, order := map[FindingKey]*finding{}, []FindingKey{}
	for _, f := range c.findings {
		if !slices.Contains(f.Header.Controls, c.control.ID) {
			continue
		}
		k := FindingKey{strings.ToUpper(f.id), len(f.Header.Subjects) > 0}
		if c.Resolves != nil && k == *c.Resolves {
			continue
		}
		if newest[k] == nil {
			order = append(order, k)
		}
		newest[k] = f
	}
	var all []ref.Val
	for _, k := range order {
		f := newest[k]
		if f.resolved || c.exemption.exempts(f.ids()) {
			continue
		}
		due := f.due
		if due.IsZero() {
			due = c.dueOf(f.severity, f.detected)
		}
		c.open = append(c.open, due)
		all = append(all, object{
			{"id", func() ref.Val { return types.String(f.id) }},
			{"severity", func() ref.Val { return types.String(f.severity) }},
			{"status", func() ref.Val { return types.String(f.status) }},
			{"index", func() ref.Val { return types.Int(f.Index) }},
			{"detected", func() ref.Val { return types.Timestamp{Time: f.detected} }},
			{"due", func() ref.Val { return types.Timestamp{Time: due} }},
			{"overdue", func() ref.Val { return types.Bool(!due.After(c.Time)) }},
		})
	}
	return list(all)
}

// never is the time at which something without a period is due.
var never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// dueOf returns when something that was first seen at a time is due. A severity
// that is unknown can be any, and has the shortest period.
func (c *Case) dueOf(severity string, seen time.Time) time.Time {
	period, ok := c.control.SLA[severity]
	if severity == facts.Unknown.String() {
		for _, p := range c.control.SLA {
			if !ok || p < period {
				period, ok = p, true
			}
		}
	}
	if !ok {
		return never
	}
	return seen.Add(period)
}

// untilDue limits the validity of the decision to when something becomes
// overdue.
func (c *Case) untilDue() {
	limit := func(t time.Time) {
		if t.After(c.Time) {
			c.until(t)
		}
	}
	for _, v := range c.unsolved {
		if len(c.control.SLA) > 0 {
			limit(v.due())
		}
	}
	for _, due := range c.open {
		limit(due)
	}
}
