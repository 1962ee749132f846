package baseline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/catalog"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// baseAllowed holds if each provenance of the image names an image as a
// material, and only allowed ones.
const baseAllowed = `evidence.filter(e, e.requirement == "provenance").all(e,
  e.facts.build.materials.exists(m, has(m.uri) && parameters.images.exists(p, m.uri.startsWith(p))) &&
  e.facts.build.materials.all(m, !has(m.uri) || !parameters.images.exists(p, m.uri.startsWith(p)) ||
    has(m.digests) && has(m.digests.sha256) && m.digests.sha256 in parameters.allowed &&
    (parameters.allowed[m.digests.sha256] == "" || now < timestamp(parameters.allowed[m.digests.sha256]))))`

// A GateControl describes the control by which gates enforce a baseline.
type GateControl struct {
	ID      string
	Signers []string // of the provenance of built images, in the control set
	Stage   string
	Mode    string
}

// Parameters returns the parameters of the control. platforms has the digests
// of the manifests in an index, by its digest.
func (f *File) Parameters(platforms map[string][]string) *structpb.Struct {
	allowed := map[string]*structpb.Value{}
	add := func(digest, until string) {
		digest = strings.TrimPrefix(digest, prefix)
		if old, ok := allowed[digest]; ok {
			until = earlier(old.GetStringValue(), until)
		}
		allowed[digest] = structpb.NewStringValue(until)
	}
	for _, i := range f.Images {
		until := ""
		if i.Vetted != nil {
			until = timeText(i.Vetted.Expires)
		}
		add(i.Digest, until)
		for _, digest := range platforms[i.Digest] {
			add(digest, until)
		}
	}
	uris := &structpb.ListValue{}
	for _, u := range ImageURIs {
		uris.Values = append(uris.Values, structpb.NewStringValue(u))
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"allowed": structpb.NewStructValue(&structpb.Struct{Fields: allowed}),
		"images":  structpb.NewListValue(uris),
	}}
}

// earlier returns the earlier of two times, of which the empty text is the
// latest.
func earlier(a, b string) string {
	ta, errA := time.Parse(time.RFC3339Nano, a)
	tb, errB := time.Parse(time.RFC3339Nano, b)
	if errA != nil || errB == nil && tb.Before(ta) {
		return b
	}
	return a
}

// Control returns the control by which gates enforce the baseline.
func (f *File) Control(g *GateControl, platforms map[string][]string) *catalog.Control {
	return &catalog.Control{
		Id: g.ID, State: activeState, Severity: "high",
		Title:       "Images are built on allowed base images",
		Description: "Version " + f.Version + " of the baseline, with " + fmt.Sprint(len(f.Images)) + " images.",
		AppliesTo:   &munimentv1.ControlTarget{Types: []string{artifact.Image}},
		Check: &catalog.Check{
			Require:   []*catalog.Requirement{{Name: "provenance", PredicateTypes: []string{"https://slsa.dev/provenance/*"}, Signers: g.Signers}},
			Condition: baseAllowed,
		},
		Parameters: f.Parameters(platforms),
		Modes:      []*catalog.Mode{{Stage: g.Stage, Mode: g.Mode}},
	}
}

// Outdated returns how the parameters of a control in force differ from those
// of the baseline, or "".
func Outdated(inForce, want *structpb.Struct) string {
	have, now := inForce.GetFields()["allowed"].GetStructValue().GetFields(), want.GetFields()["allowed"].GetStructValue().GetFields()
	var added, gone, changed int
	for digest, until := range now {
		switch old, ok := have[digest]; {
		case !ok:
			added++
		case old.GetStringValue() != until.GetStringValue():
			changed++
		}
	}
	for digest := range have {
		if _, ok := now[digest]; !ok {
			gone++
		}
	}
	if added+gone+changed == 0 {
		return ""
	}
	return fmt.Sprintf("it lacks %d digests, allows %d that the baseline does not list, and has another end for %d", added, gone, changed)
}

// YAML returns a control as an element of the list in a control set file.
func YAML(c *catalog.Control) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	r := c.Check.Require[0]
	line("- id: %s", quoted(c.Id))
	line("  title: %s", quoted(c.Title))
	line("  text: %s", quoted(c.Description))
	line("  severity: %s", c.Severity)
	line("  applies_to: {types: [%s]}", strings.Join(c.AppliesTo.Types, ", "))
	line("  parameters:")
	line("    images: [%s]", quotedList(c.Parameters.Fields["images"].GetListValue().AsSlice()))
	line("    allowed:")
	allowed := c.Parameters.Fields["allowed"].GetStructValue().GetFields()
	for _, digest := range slices.Sorted(maps.Keys(allowed)) {
		line("      %s: %s", quoted(digest), quoted(allowed[digest].GetStringValue()))
	}
	line("  check:")
	line("    require:")
	line("      - {name: %s, predicate_types: [%s], signers: [%s]}", r.Name, quotedList(r.PredicateTypes), quotedList(r.Signers))
	line("    condition: |-")
	for text := range strings.SplitSeq(c.Check.Condition, "\n") {
		line("      %s", text)
	}
	m := c.Modes[0]
	line("  modes: [{stage: %s, mode: %s}]", quoted(m.Stage), m.Mode)
	return b.String()
}

// quoted returns a text as a double-quoted scalar of YAML.
func quoted(s string) string { return fmt.Sprintf("%q", s) }

func quotedList[T any](all []T) string {
	parts := make([]string, len(all))
	for i, v := range all {
		parts[i] = quoted(fmt.Sprint(v))
	}
	return strings.Join(parts, ", ")
}
