// Package oscal renders releases as OSCAL documents, which programs for
// compliance read: assessment results, and a plan of action and milestones.
//
// The documents are of version 1.2.3 of https://pages.nist.gov/OSCAL. UUIDs are
// derived from what entries record, and times are those of the log, so that the
// same release has the same bytes. Texts of users are data, whatever they
// contain. References to files of a bundle are relative to a folder of it, in
// which the documents are.
package oscal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/internal/kindname"
)

// Roles of parties.
const (
	roleAssessor = "assessor"
	roleOwner    = "owner"
)

// WriteAssessmentResults writes a release as assessment results.
func WriteAssessmentResults(w io.Writer, r *report.Release) error {
	return write(w, map[string]any{"assessment-results": NewAssessmentResults(r)})
}

// WritePOAM writes a release as a plan of action and milestones.
func WritePOAM(w io.Writer, r *report.Release) error {
	return write(w, map[string]any{"plan-of-action-and-milestones": NewPOAM(r)})
}

func write(w io.Writer, document any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(document); err != nil {
		return fmt.Errorf("encode OSCAL: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// A document is a document that is being made.
type document struct {
	*report.Release
	parties  map[string]string // UUIDs by name
	known    map[uint64]Observation
	erased   map[uint64]bool // entries
	Metadata Metadata
	kind     string
}

// newDocument returns a document without content.
func newDocument(r *report.Release, kind, title string) *document {
	d := &document{Release: r, parties: map[string]string{}, erased: map[uint64]bool{}, kind: kind}
	for i := range r.Erased {
		d.erased[r.Erased[i].Entry] = true
	}
	d.Metadata = Metadata{
		Title: Line(title + ": " + d.title()), LastModified: DateTime(r.Time), Version: strconv.FormatUint(r.Log.Size, 10), OSCALVersion: Version,
		Props: []Prop{prop("log", r.Log.Origin), prop("tenant", r.Tenant), prop("tree-size", strconv.FormatUint(r.Log.Size, 10))},
		Roles: []Role{{roleAssessor, "Assessor"}, {roleOwner, "Owner"}},
	}
	d.Metadata.Props = addProp(d.Metadata.Props, "root", r.Log.Root)
	d.Metadata.Props = addProp(d.Metadata.Props, "release", r.Name)
	assessor := d.party("organization", r.Log.Origin)
	d.Metadata.ResponsibleParties = []ResponsibleParty{{roleAssessor, []string{assessor}}}
	d.known = d.observe()
	return d
}

func (d *document) title() string {
	if d.Name != "" {
		return "release " + d.Name
	}
	if d.Selection != "" {
		return d.Selection
	}
	return "tenant " + d.Tenant
}

// uuid returns the UUID of a part of the document.
func (d *document) uuid(parts ...string) string {
	return uuid(append([]string{d.Log.Origin, d.Tenant}, parts...)...)
}

// documentUUID returns the UUID of the document, which differs with its state.
func (d *document) documentUUID(parts ...string) string {
	all := []string{d.kind, strconv.FormatUint(d.Log.Size, 10), DateTime(d.Time), d.Name, d.Selection}
	for i := range d.Artifacts {
		all = append(all, d.artifactUUID(i))
	}
	return d.uuid(append(all, parts...)...)
}

// party returns the UUID of a party, which it adds to the metadata.
func (d *document) party(kind, name string) string {
	name = String(name)
	id, ok := d.parties[name]
	if !ok {
		id = d.uuid("party", name)
		d.parties[name] = id
		d.Metadata.Parties = append(d.Metadata.Parties, Party{UUID: id, Type: kind, Name: name})
	}
	return id
}

// people returns the parties with the names.
func (d *document) people(names ...string) (all []string) {
	for _, n := range names {
		kind := "person"
		if strings.HasPrefix(n, "token:") || strings.HasPrefix(n, "certificate:") {
			kind = "organization"
		}
		if id := d.party(kind, n); !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// artifactUUID returns the UUID of an artifact, which is the same for all
// releases that contain it.
func (d *document) artifactUUID(i int) string {
	a := &d.Artifacts[i]
	parts := []string{"artifact", a.Type, a.Name}
	return d.uuid(append(parts, digests(a.Digest)...)...)
}

func digests(set map[string]string) (all []string) {
	for alg, value := range set {
		all = append(all, alg+":"+value)
	}
	slices.Sort(all)
	return all
}

// components returns the artifacts as components. Equal ones are one.
func (d *document) components() (all []Component) {
	seen := map[string]bool{}
	for i := range d.Artifacts {
		a := &d.Artifacts[i]
		id := d.artifactUUID(i)
		if seen[id] {
			continue
		}
		seen[id] = true
		set := digests(a.Digest)
		c := Component{UUID: id, Type: "software", Title: Line(a.Name), Description: Line(a.Type + " " + strings.Join(set, ", ")), Props: []Prop{prop("artifact-type", a.Type)}, Status: State{State: "operational"}}
		if a.Name == "" && len(set) > 0 {
			c.Title = Line(set[0])
		}
		for _, digest := range set {
			c.Props = append(c.Props, prop("digest", digest))
		}
		for p, decision := range a.Decisions {
			c.Props = append(c.Props, prop("decision", fmt.Sprintf("%s: %s", d.Places[p], decision.Decision)))
		}
		all = append(all, c)
	}
	return all
}

// tool returns the program that has decided.
func (d *document) tool() Component {
	return Component{UUID: d.uuid("tool"), Type: "software", Title: "Muniment", Description: "An append-only evidence ledger that decides from its entries.", Props: []Prop{prop("log", d.Log.Origin)}, Status: State{State: "operational"}}
}

func (d *document) assets() *AssessmentAssets {
	tool := d.tool()
	return &AssessmentAssets{Components: []Component{tool}, Platforms: []Platform{{UUID: d.uuid("platform"), Title: Line("The log " + d.Log.Origin), Uses: []Uses{{tool.UUID}}}}}
}

// byTool is the origin of what the program has decided.
func (d *document) byTool() []Origin { return []Origin{{[]Actor{{"tool", d.uuid("tool")}}}} }

// links returns the links to what the bundle contains of an entry.
func (d *document) links(entry uint64) (all []Link) {
	f := d.Files[entry]
	if f.Receipt != "" {
		all = append(all, Link{Href: href(f.Receipt), Rel: "receipt", Text: Line(fmt.Sprintf("receipt of entry %d", entry))})
	}
	if f.Payload != "" && !d.erased[entry] {
		all = append(all, Link{Href: href(f.Payload), Rel: "evidence", Text: Line(fmt.Sprintf("document of entry %d", entry))})
	}
	return all
}

// backMatter has the control set and the further files of the bundle.
func (d *document) backMatter() (b BackMatter) {
	b.Resources = []Resource{d.controlSet()}
	for _, m := range d.Members {
		b.Resources = append(b.Resources, Resource{UUID: d.documentUUID("member", m.Name), Title: Line(m.Name), Description: Lines(m.About), Links: []ResourceLink{{Href: href(m.Name)}}})
	}
	return b
}

func (d *document) controlSet() Resource {
	s := d.ControlSet
	if s == nil {
		return Resource{UUID: d.documentUUID(kindname.ControlSet), Title: "Control set", Description: "No control set is in force that can be read."}
	}
	out := Resource{UUID: d.documentUUID(kindname.ControlSet), Title: Line("Control set " + s.Version), Description: Lines("The controls in force, with the stages and signers that they refer to."),
		Props: []Prop{prop("entry", strconv.FormatUint(s.Entry, 10)), prop("digest", s.Digest)}}
	if name := d.Files[s.Entry].Payload; name != "" {
		link := ResourceLink{Href: href(name)}
		if value, ok := strings.CutPrefix(s.Digest, "sha256:"); ok {
			link.Hashes = []Hash{{"SHA-256", value}}
		}
		out.Links = []ResourceLink{link}
	}
	return out
}
