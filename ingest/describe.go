package ingest

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/github/go-spdx/v2/spdxexp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/ingest/glob"
	"muniment.dev/muniment/ingest/identity"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Each of these says what a typed kind's entry has in its header: what it can
// be searched by, and what others decide by without reading the payload. They
// check what the message's own rules can't say.

// attributes collects the members of a header's attributes; an empty value
// leaves the member out.
type attributes map[string]string

func (a attributes) set(name, value string) attributes {
	if value != "" {
		a[name] = value
	}
	return a
}

// list sets a member for each value: name.1, name.2, …
func (a attributes) list(name string, values []string) attributes {
	for i, v := range values {
		a.set(name+"."+strconv.Itoa(i+1), v)
	}
	return a
}

func (a attributes) time(name string, t *timestamppb.Timestamp) attributes {
	if t != nil {
		a[name] = t.AsTime().Format(time.RFC3339Nano)
	}
	return a
}

func (a attributes) number(name string, v *float64) attributes {
	if v != nil {
		a[name] = strconv.FormatFloat(*v, 'g', -1, 64)
	}
	return a
}

func artifacts(all []*munimentv1.Artifact) []receipt.Subject {
	var out []receipt.Subject
	for _, a := range all {
		out = append(out, receipt.Subject{Name: a.Name, Digest: folded(a.Digest)})
	}
	return out
}

// folded returns digests in the spelling that headers have.
func folded(digests map[string]string) map[string]string {
	out := make(map[string]string, len(digests))
	for alg, v := range digests {
		alg, v = receipt.FoldDigest(alg, v)
		out[alg] = v
	}
	return out
}

// describeBackfill checks that there is such a day.
func describeBackfill(m *munimentv1.BackfillCheckpoint, _ time.Time) (contents, error) {
	exists := false
	for _, layout := range []string{"2006-01-02T15:04Z07:00", time.RFC3339Nano} {
		_, err := time.Parse(layout, m.GetTs())
		exists = exists || err == nil
	}
	if !exists {
		return contents{}, fmt.Errorf("ts: there is no such time as %q", m.GetTs())
	}
	return contents{attributes: attributes{"rollbackReady": strconv.FormatBool(m.GetRollbackReady())}.
		set("entity", m.GetEntity()).set("checkpoint", m.GetCheckpoint()).number("acaScore", m.AcaScore).set("ts", m.GetTs())}, nil
}

func describeExport(m *munimentv1.ExportManifest, _ time.Time) (contents, error) {
	a := attributes{"files": strconv.Itoa(len(m.Files))}.set("name", m.Name).time("created", m.Created).list("region", m.ResidencyRegions).list("license", m.Licenses)
	if b := m.PrivacyBudget; b != nil {
		a.number("epsilon", b.Epsilon).number("epsilonSpent", b.Spent).number("epsilonBudget", b.Budget)
	}
	for i, l := range m.Licenses {
		if ok, _ := spdxexp.ValidateLicenses([]string{l}); !ok {
			return contents{}, fmt.Errorf("licenses[%d]: %q is not an SPDX licence expression, such as Apache-2.0 OR MIT; for a licence of your own use LicenseRef-…", i, l)
		}
	}
	c := contents{materials: artifacts(m.Sources), controls: m.Controls, attributes: a}
	seen := map[string]bool{}
	for i, f := range m.Files {
		if seen[f.Path] {
			return contents{}, fmt.Errorf("files[%d].path: %q is there twice", i, f.Path)
		}
		seen[f.Path] = true
		c.subjects = append(c.subjects, receipt.Subject{Name: f.Path, Digest: folded(f.Digest)})
	}
	return c, nil
}

func describeTriage(m *munimentv1.TriageAction, _ time.Time) (contents, error) {
	a := attributes{}.set("incident", m.Incident).set("playbook", m.Playbook).set("action", m.Action).set("result", m.Result).set("actor", m.Actor).
		set("undo", m.Undo.GetAction()).time("started", m.Started).time("finished", m.Finished).
		list("trace", m.Correlation.GetTraces()).list("alert", m.Correlation.GetAlerts())
	return contents{subjects: artifacts(m.Subjects), attributes: a}, nil
}

// describeException refuses one that has ended, and one that somebody grants
// themselves under another spelling.
func describeException(m *munimentv1.Exception, now time.Time) (contents, error) {
	for _, p := range []struct{ field, name string }{{"requester", m.Requester}, {"approver", m.Approver}} {
		if identity.Fold(p.name) == "" {
			return contents{}, fmt.Errorf("%s: %q has no visible character", p.field, p.name)
		}
	}
	if identity.Same(m.Approver, m.Requester) {
		return contents{}, fmt.Errorf("approver: the approver must be somebody else than the requester")
	}
	if end := m.Expires.AsTime(); !end.After(now) {
		return contents{}, fmt.Errorf("expires: %s is in the past; an exception ends in the future", end.Format(time.RFC3339))
	}
	for i, g := range m.Scope.Globs {
		if err := glob.Check(g); err != nil {
			return contents{}, fmt.Errorf("scope.globs[%d]: %w", i, err)
		}
	}
	a := attributes{}.set("exception", m.Id).set("requester", m.Requester).set("approver", m.Approver).time("expires", m.Expires).list("glob", m.Scope.Globs)
	return contents{subjects: artifacts(m.Scope.Subjects), controls: []string{m.Control}, attributes: a}, nil
}

func describeFinding(m *munimentv1.Finding, _ time.Time) (contents, error) {
	a := attributes{}.set("finding", m.Id).set("severity", m.Severity).set("status", m.Status).set("source", m.Source).set("location", m.Location).
		time("detected", m.Detected).number("score", m.Score).list("alias", m.Aliases)
	return contents{subjects: artifacts(m.Subjects), controls: m.Controls, attributes: a}, nil
}

func describeControl(m *munimentv1.Control, _ time.Time) (contents, error) {
	a := attributes{}.set("title", m.Title).set("state", m.State).set("owner", m.Owner).list("framework", m.Frameworks)
	return contents{controls: []string{m.Id}, attributes: a}, nil
}

func describeGateDecision(m *munimentv1.GateDecision, _ time.Time) (contents, error) {
	c := contents{subjects: artifacts(m.Subjects), attributes: attributes{}.set("gate", m.Gate).set("decision", m.Decision).set("environment", m.Environment).time("decided", m.Decided)}
	seen := map[string]bool{}
	for i, r := range m.Results {
		if seen[r.Control] {
			return contents{}, fmt.Errorf("results[%d].control: %q is there twice", i, r.Control)
		}
		seen[r.Control] = true
		c.controls = append(c.controls, r.Control)
	}
	return c, nil
}

func describeInventory(m *munimentv1.Inventory, _ time.Time) (contents, error) {
	c := contents{attributes: attributes{"items": strconv.Itoa(len(m.Items))}.set("environment", m.Environment).set("source", m.Source).time("observed", m.Observed)}
	for _, item := range m.Items {
		c.subjects = append(c.subjects, receipt.Subject{Name: item.Artifact.Name, Digest: item.Artifact.Digest})
	}
	return c, nil
}

// maxMetricAttributes bounds what of a snapshot's values can be searched for;
// the payload has all.
const maxMetricAttributes = 64

func describeMetrics(m *munimentv1.MetricSnapshot, _ time.Time) (contents, error) {
	a := attributes{}.set("service", m.Service).time("from", m.Window.From).time("to", m.Window.To)
	for i, v := range m.Metrics {
		if i < maxMetricAttributes {
			a.number("metric:"+v.Name, v.Value)
		}
	}
	return contents{subjects: artifacts(m.Subjects), controls: m.Controls, attributes: a}, nil
}

func describeReport(m *munimentv1.VerificationReport, _ time.Time) (contents, error) {
	a := attributes{}.set("verdict", m.Verdict).set("reasonCode", m.ReasonCode).set("version", m.Version).set("verifier", m.Verifier).time("verifiedAt", m.VerifiedAt)
	if m.Index != nil {
		a.set("entry", strconv.FormatUint(*m.Index, 10))
	}
	return contents{subjects: artifacts(m.Subjects), attributes: a}, nil
}

func describeErasure(m *munimentv1.Erasure, _ time.Time) (contents, error) {
	return contents{attributes: attributes{}.set("entry", strconv.FormatUint(m.GetIndex(), 10)).set("scope", m.Scope).set("reason", m.Reason).set("actor", m.Actor)}, nil
}

func describeConfig(m *munimentv1.Config, _ time.Time) (contents, error) {
	if want := DocumentDigest([]byte(m.Document)); m.Digest != want {
		return contents{}, fmt.Errorf("digest: the document's is %s", want)
	}
	kind, _, _ := strings.Cut(m.Name, "/")
	return contents{attributes: attributes{}.set("name", m.Name).set("type", kind).set("digest", m.Digest).set("reason", m.Reason).set("actor", m.Actor)}, nil
}

// DocumentDigest is the digest of a document in the form that headers and
// entries of kind config have it: "sha256:" and hexadecimal digits.
func DocumentDigest(document []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(document)) }
