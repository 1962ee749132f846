package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/ledger"
)

// Reasons for which an artifact is not attested.
const (
	Unidentified = "unidentified"
	NotSatisfied = "not-satisfied"
	Undecided    = "undecided"
	Excepted     = "excepted"
	NoControl    = "no-control"
	Unsigned     = "unsigned"
)

// Reasons lists the reasons, the strongest first.
var Reasons = []string{Unidentified, NotSatisfied, Undecided, Excepted, NoControl, Unsigned}

// A Gap is why an artifact is not attested.
type Gap struct {
	Reason  string             // one of Reasons
	Detail  string             // of a decision without results
	Results []*evaluate.Result // that keep it from being attested
}

// A Count is the coverage of the artifacts of a type in an environment.
type Count struct {
	Environment, Type     string
	Inventoried, Attested int
	// Of those that are not attested.
	Excepted, Undecided int
}

// A Coverage is the result of Cover.
type Coverage struct {
	At         decide.Moment
	ControlSet string // digest; "": none that can be applied
	Sources    []*Source
	Counts     []Count // by environment and type
	// Problems is why there is no answer, for people. Empty: there is one.
	Problems []string
}

// Criteria are what artifacts are attested by: the controls of a stage, or one
// control.
type Criteria struct{ Stage, Control string }

// Cover decides which of the artifacts that the newest inventories list are
// attested, and calls each with every artifact: its gap, or nil if it is
// attested, and the numbers of artifacts so far and in total. It records
// nothing. The tenant takes turns with others.
func (r *Reader) Cover(ctx context.Context, tenant string, s *ledger.Stream, q *Query, by Criteria, each func(a *Artifact, g *Gap, done, total int) error) (*Coverage, error) {
	in, err := r.Read(ctx, s, q)
	if err != nil {
		return nil, err
	}
	c := &covering{out: &Coverage{At: in.At, Sources: in.Sources}, total: len(in.Artifacts), each: each}
	for len(in.Artifacts) > 0 {
		environment := in.Artifacts[0].Environment
		n := slices.IndexFunc(in.Artifacts, func(a *Artifact) bool { return a.Environment != environment })
		if n < 0 {
			n = len(in.Artifacts)
		}
		question := &decide.Question{Stage: by.Stage, Control: by.Control, Environment: environment, At: in.At}
		c.stated = nil
		if r.Stated != nil {
			c.stated = func(a *Artifact, err error) (*Gap, error) { return r.Stated(ctx, question, a, err) }
		}
		err := c.cover(in.Artifacts[:n], func(all []decide.Artifact, each func(int, *evaluate.Decision, error) error) error {
			return r.Decider.DecideEach(ctx, tenant, s, question, all, each)
		})
		if err != nil {
			return nil, err
		}
		in.Artifacts = in.Artifacts[n:]
	}
	c.conclude(q)
	return c.out, nil
}

// Judge returns the gap of one artifact, or nil if it is attested.
func (r *Reader) Judge(ctx context.Context, tenant string, s *ledger.Stream, q *decide.Question, a *Artifact) (worst *Gap, err error) {
	err = r.Decider.Decide(ctx, tenant, s, q, a.questions(), func(_ int, d *evaluate.Decision) error {
		worst = worse(worst, judge(d))
		return nil
	})
	return worst, err
}

// A covering is a coverage that is being computed.
type covering struct {
	stated      func(*Artifact, error) (*Gap, error) // nil: errors end it
	out         *Coverage
	done, total int
	each        func(a *Artifact, g *Gap, done, total int) error
	without     string // why nothing can be decided; "": no reason
}

// A decider decides about artifacts of one environment, in their order.
type decider func(all []decide.Artifact, each func(int, *evaluate.Decision, error) error) error

// cover judges the artifacts of one environment, of which decisions are made
// together.
func (c *covering) cover(artifacts []*Artifact, decideAll decider) error {
	var asks []decide.Artifact
	var of []int // for each of asks: its artifact
	for i, a := range artifacts {
		for _, one := range a.questions() {
			asks, of = append(asks, one), append(of, i)
		}
	}
	next, worst := 0, (*Gap)(nil) // the artifact that is judged, and its gap so far
	var failed error              // of a decision about it
	pass := func(until int) error {
		for ; next < until; next++ {
			a := artifacts[next]
			switch {
			case a.Digest == nil:
				worst = &Gap{Reason: Unidentified, Detail: a.Unidentified}
			case a.asks == nil:
				worst = &Gap{Reason: Undecided, Detail: fmt.Sprintf("it has more than %d different names and sets of platforms", maxAsks)}
			case failed != nil:
				var err error
				if worst, err = c.stated(a, failed); err != nil {
					return err
				}
			}
			if err := c.count(a, worst); err != nil {
				return err
			}
			worst, failed = nil, nil
		}
		return nil
	}
	err := decideAll(asks, func(i int, d *evaluate.Decision, err error) error {
		if err := pass(of[i]); err != nil {
			return err
		}
		switch {
		case err != nil && c.stated == nil:
			return fmt.Errorf("%s: %w", artifacts[of[i]].Name(), err)
		case err != nil:
			failed = err
			return nil
		}
		c.note(d)
		worst = worse(worst, judge(d))
		return nil
	})
	if err != nil {
		return err
	}
	return pass(len(artifacts))
}

// note keeps what all decisions have in common.
func (c *covering) note(d *evaluate.Decision) {
	c.out.ControlSet = d.ControlSet
	code, _, _ := strings.Cut(d.Reason, ":")
	if slices.Contains([]string{evaluate.NoControlSet, evaluate.UnreadableSet, evaluate.UnknownStage}, code) {
		c.without = code
	}
}

// judge returns why a decision does not attest its artifact, or nil.
func judge(d *evaluate.Decision) *Gap {
	if d.Reason != "" && d.Reason != evaluate.NothingApplies {
		return &Gap{Reason: Undecided, Detail: d.Reason}
	}
	found, signed, enforced := map[string][]*evaluate.Result{}, false, []*evaluate.Result{}
	for i := range d.Results {
		r := &d.Results[i]
		if r.Mode != evaluate.Enforce || r.Result == evaluate.NotApplicable {
			continue
		}
		enforced = append(enforced, r)
		switch r.Result {
		case evaluate.Satisfied:
			signed = signed || r.Signed
		case evaluate.Excepted:
			found[Excepted] = append(found[Excepted], r)
		case evaluate.NotSatisfied:
			found[NotSatisfied] = append(found[NotSatisfied], r)
		default:
			found[Undecided] = append(found[Undecided], r)
		}
	}
	for _, reason := range []string{NotSatisfied, Undecided, Excepted} {
		if len(found[reason]) > 0 {
			return &Gap{Reason: reason, Results: found[reason]}
		}
	}
	switch {
	case len(enforced) == 0:
		return &Gap{Reason: NoControl}
	case !signed:
		return &Gap{Reason: Unsigned, Results: enforced}
	}
	return nil
}

// worse returns the gap whose reason is stronger. Nil is none.
func worse(a, b *Gap) *Gap {
	if a == nil || b != nil && slices.Index(Reasons, b.Reason) < slices.Index(Reasons, a.Reason) {
		return b
	}
	return a
}

func (c *covering) count(a *Artifact, g *Gap) error {
	n := len(c.out.Counts)
	if n == 0 || c.out.Counts[n-1].Environment != a.Environment || c.out.Counts[n-1].Type != a.Type {
		c.out.Counts = append(c.out.Counts, Count{Environment: a.Environment, Type: a.Type})
		n++
	}
	count := &c.out.Counts[n-1]
	count.Inventoried++
	switch {
	case g == nil:
		count.Attested++
	case g.Reason == Excepted:
		count.Excepted++
	case g.Reason == Undecided:
		count.Undecided++
	}
	c.done++
	return c.each(a, g, c.done, c.total)
}

// withoutReasons explains why nothing can be decided.
var withoutReasons = map[string]string{
	evaluate.NoControlSet:  "no control set is in force: put one in force with muniment control apply",
	evaluate.UnreadableSet: "the control set cannot be read, because an entry of it is erased or invalid: apply it again with muniment control apply",
	evaluate.UnknownStage:  "the control set does not define this stage: see muniment control list",
}

// conclude finds the reasons for which there is no answer.
func (c *covering) conclude(q *Query) {
	problem := func(format string, args ...any) {
		c.out.Problems = append(c.out.Problems, fmt.Sprintf(format, args...))
	}
	if c.without != "" {
		problem("%s", withoutReasons[c.without])
	}
	for _, s := range c.out.Sources {
		switch {
		case s.Problem != "":
			problem("%s cannot be read: %s: record it again", s, s.Problem)
		case s.Stale:
			problem("%s is stale: it was observed %s ago: record it again, or end its source with muniment inventory retire", s, c.out.At.Time.Sub(s.Observed).Round(time.Minute))
		}
	}
	if c.total == 0 && len(q.Types) == 0 {
		problem("nothing is inventoried: record what runs with muniment inventory cluster, and what exists with muniment inventory registry or release")
	}
	for _, typ := range q.Types {
		if !slices.ContainsFunc(c.out.Counts, func(n Count) bool { return n.Type == typ }) {
			problem("nothing of type %s is inventoried", typ)
		}
	}
}

// Plural returns the plural of a type, for people.
func Plural(typ string) string {
	if typ == artifact.Image {
		return "container images"
	}
	return strings.ReplaceAll(typ, "-", " ") + "s"
}
