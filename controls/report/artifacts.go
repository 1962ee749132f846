package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/graph"
	"muniment.dev/muniment/proto/kinds"
)

type artifactView struct {
	Class, Mark, Word, Name, Type, Digest string
	Outcomes                              []verdict
	Evidence                              []evidenceView
	EvidenceCount                         string
	Recorded                              []recordedView
	More                                  string
}

type evidenceView struct {
	Relation, What, By, State string
	Entry                     uint64
	Time                      moment
	Erased                    bool
	Receipt                   receipt
}

type recordedView struct {
	Class, Text string
	Receipt     receipt
}

// addArtifacts adds the artifacts, those that do not pass first.
func (v *viewer) addArtifacts() {
	all := v.Release.Artifacts
	v.ArtifactsSentence = fmt.Sprintf("%s and the evidence about them.", count(len(all), "artifact"))
	if len(all) == 0 {
		v.ArtifactsSentence = "No artifacts are selected."
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	rank := []evaluate.Outcome{evaluate.Blocked, evaluate.Undecided, evaluate.Pass}
	slices.SortStableFunc(order, func(a, b int) int {
		return slices.Index(rank, v.outcomes[a]) - slices.Index(rank, v.outcomes[b])
	})
	for n, i := range order {
		if n < maxDetailed {
			v.view.Artifacts = append(v.view.Artifacts, v.artifact(i, true))
		} else {
			v.OtherArtifacts = append(v.OtherArtifacts, v.artifact(i, false))
		}
	}
}

func (v *viewer) artifact(i int, detailed bool) *artifactView {
	a := &v.Release.Artifacts[i]
	look := looks[string(v.outcomes[i])]
	out := &artifactView{Class: look.class, Mark: look.mark, Word: strings.ToLower(look.word), Name: v.name(i), Type: a.Type, Digest: digestOf(a.Digest), EvidenceCount: number(len(a.Evidence))}
	if !detailed {
		return out
	}
	for p, d := range a.Decisions {
		look := looks[string(d.Decision)]
		if Idle(d) {
			look = looks[string(NotApplicable)]
		}
		out.Outcomes = append(out.Outcomes, verdict{Name: v.Release.Places[p].String(), Class: look.class, Mark: look.mark, Word: strings.ToLower(look.word)})
	}
	for n, index := range slices.Backward(a.Evidence) {
		if len(out.Evidence) == maxEvidences {
			out.More = count(n+1, "older entry") + " in the bundle."
			break
		}
		if e := v.evidenceAt(index); e != nil {
			out.Evidence = append(out.Evidence, v.evidence(e))
		}
	}
	graph.SortByRelation(out.Evidence, func(e evidenceView) string { return strings.ReplaceAll(e.Relation, " ", "-") })
	for n, r := range a.Recorded {
		if n == 5 {
			break
		}
		look := looks[string(r.Decision)]
		text := fmt.Sprintf("%s at %s, %s", strings.ToLower(look.word), r.Place, at(r.Decided).Text)
		if r.Offline {
			text += " (offline)"
		}
		out.Recorded = append(out.Recorded, recordedView{look.class, text, v.receipt(r.Entry)})
	}
	return out
}

// evidenceAt returns the evidence in an entry, or nil.
func (v *viewer) evidenceAt(index uint64) *Evidence {
	i, ok := slices.BinarySearchFunc(v.Release.Evidence, index, func(e Evidence, index uint64) int { return cmp.Compare(e.Entry, index) })
	if !ok {
		return nil
	}
	return &v.Release.Evidence[i]
}

func (v *viewer) evidence(e *Evidence) evidenceView {
	out := evidenceView{Relation: strings.ReplaceAll(e.Relation, "-", " "), What: e.what(), By: e.by(), Entry: e.Entry, Time: at(e.Time), Erased: e.Erased, Receipt: v.receipt(e.Entry)}
	var state []string
	h := e.Header
	if len(h.Signers) > 0 || h.PredicateType != "" {
		state = append(state, h.Verification.Result)
	}
	if h.NotAdmitted() {
		state = append(state, "not admitted")
	}
	if e.Erased {
		state = append(state, "erased")
	}
	out.State = strings.Join(state, ", ")
	return out
}

// Summary returns one line about the evidence. It is untrusted text.
func (e *Evidence) Summary() string {
	if by := e.by(); by != "" {
		return e.what() + " by " + by
	}
	return e.what()
}

// what returns what the evidence is.
func (e *Evidence) what() string {
	h := e.Header
	if k, ok := kinds.Lookup(h.Kind); ok && k.Relation != "" {
		return k.Summary(h.Attributes, h.Controls)
	}
	if h.PredicateType != "" {
		return h.PredicateType
	}
	what, _, _ := strings.Cut(h.MediaType, ";")
	return what
}

// by returns the parties behind the evidence, unless its summary has them.
func (e *Evidence) by() string {
	if k, ok := kinds.Lookup(e.Header.Kind); ok && k.Relation != "" {
		return ""
	}
	return strings.Join(e.Parties(), " and ")
}

// Parties returns the signers of the evidence or, without any, its submitter.
func (e *Evidence) Parties() (all []string) {
	for _, s := range e.Header.Signers {
		if text := cmp.Or(s.Identity, short(s.KeyID)); text != "" {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		all = []string{e.Header.Submitter}
	}
	return all
}

// digestOf returns the SHA-256 of an artifact, or else its digest of the first
// algorithm by name, as algorithm:value.
func digestOf(digests map[string]string) string {
	if v := digests["sha256"]; v != "" {
		return "sha256:" + v
	}
	for _, alg := range slices.Sorted(maps.Keys(digests)) {
		return alg + ":" + digests[alg]
	}
	return ""
}

// short shortens a digest.
func short(digest string) string {
	alg, value, ok := strings.Cut(digest, ":")
	if !ok || len(value) < 24 {
		return digest
	}
	return alg + ":" + value[:12] + "…"
}
