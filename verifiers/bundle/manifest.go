package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// A Manifest describes a bundle. See docs/spec/bundle.md, section 3.
type Manifest struct {
	Origin    string
	Tenant    string
	Size      uint64 // of the tree: N
	Root      entry.Hash
	Time      uint64 // T, in Unix milliseconds
	Stream    Stream
	Selection Selection
	Artifacts []Artifact
	Since     *uint64 // Unix milliseconds; nil: none
	Members   []Member
}

// A Stream is the state of the tenant's stream.
type Stream struct {
	ID      entry.Hash
	Entries uint64
	Last    entry.Hash // leaf hash of the last entry; zero without entries
}

// A Selection is what the creator of a bundle was asked for.
type Selection struct {
	Release  string   // "": none
	Subjects []string // digests; nil: none
	Since    bool     // the manifest's Since
	Previous string   // release to compare with; "": none
	Incident string   // of triage, without all of the others; "": none
}

// An Artifact is a selected artifact.
type Artifact struct {
	Name   string // "": none
	Type   string // "": not known
	Digest map[string]string
	Parts  []Part
}

// A Part is a manifest of an artifact with several.
type Part struct {
	Name   string // "": none
	Digest map[string]string
}

// A Member is a member of the archive.
type Member struct {
	Name   string
	Role   Role
	Size   int64 // bytes
	SHA256 entry.Hash
}

// Identity returns the identity of the bundle with the manifest.
func Identity(manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// AppendJSON appends the manifest's JSON to b.
func (m *Manifest) AppendJSON(b []byte) ([]byte, error) {
	w := &strictjson.Writer{Text: append(b, '{')}
	w.Member("mediaType", ManifestMediaType)
	w.Member("origin", m.Origin)
	w.Member("tenant", m.Tenant)
	w.Integer("size", m.Size)
	w.Base64("root", m.Root[:])
	w.Integer("time", m.Time)
	w.Name("stream")
	w.Open('{')
	w.Base64("id", m.Stream.ID[:])
	w.Integer("entries", m.Stream.Entries)
	w.Base64("last", m.Stream.Last[:])
	w.Close('}')
	m.WriteSelection(w)
	if len(m.Artifacts) > 0 {
		w.Name("artifacts")
		w.Open('[')
		for i := range m.Artifacts {
			m.Artifacts[i].write(w)
		}
		w.Close(']')
	}
	if m.Since != nil {
		w.Integer("since", *m.Since)
	}
	w.Name("members")
	w.Open('[')
	for i := range m.Members {
		one := &m.Members[i]
		w.Open('{')
		w.Member("name", one.Name)
		w.Member("role", string(one.Role))
		w.Integer("size", uint64(one.Size))
		w.Member("sha256", one.SHA256.String())
		w.Close('}')
	}
	w.Close(']')
	w.Close('}')
	return w.Text, w.Err
}

// WriteSelection writes the member of the selection.
func (m *Manifest) WriteSelection(w *strictjson.Writer) {
	w.Name("selection")
	w.Open('{')
	w.Optional("release", m.Selection.Release)
	if len(m.Selection.Subjects) > 0 {
		w.Name("subjects")
		w.Open('[')
		for _, s := range m.Selection.Subjects {
			w.Comma()
			w.Quote(s)
		}
		w.Close(']')
	}
	if m.Selection.Since && m.Since != nil {
		w.Integer("since", *m.Since)
	}
	w.Optional("previous", m.Selection.Previous)
	w.Optional("incident", m.Selection.Incident)
	w.Close('}')
}

func (a *Artifact) write(w *strictjson.Writer) {
	w.Open('{')
	w.Optional("name", a.Name)
	w.Optional("type", a.Type)
	w.Strings("digest", a.Digest)
	if len(a.Parts) > 0 {
		w.Name("parts")
		w.Open('[')
		for _, p := range a.Parts {
			w.Open('{')
			w.Optional("name", p.Name)
			w.Strings("digest", p.Digest)
			w.Close('}')
		}
		w.Close(']')
	}
	w.Close('}')
}

// parseManifest reads a manifest strictly.
func parseManifest(data []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := strictjson.ParseLarge(data, MaxManifestValues, m.read); err != nil {
		var e *Error
		if errors.As(err, &e) {
			return nil, e
		}
		return nil, fail(ManifestMalformed, "%s: %w", ManifestName, err)
	}
	if err := m.check(); err != nil {
		return nil, fail(ManifestMalformed, "%s: %w", ManifestName, err)
	}
	return m, nil
}

func (m *Manifest) read(o *strictjson.Object) error {
	mt := o.String("mediaType")
	if o.Err() != nil {
		return nil
	}
	if mt != ManifestMediaType {
		return fail(ManifestVersion, "%s: mediaType %q instead of %q: another version of the format", ManifestName, mt, ManifestMediaType)
	}
	m.Origin = o.String("origin")
	m.Tenant = o.String("tenant")
	m.Size = o.Integer("size")
	o.Base64Fixed("root", m.Root[:])
	m.Time = o.Integer("time")
	o.RequiredObject("stream", func(o *strictjson.Object) error {
		o.Base64Fixed("id", m.Stream.ID[:])
		m.Stream.Entries = o.Integer("entries")
		o.Base64Fixed("last", m.Stream.Last[:])
		return nil
	})
	selected := false
	if o.Has("since") {
		since := o.Integer("since")
		m.Since = &since
	}
	o.RequiredObject("selection", func(o *strictjson.Object) error {
		selected = o.Has("release") || o.Has("subjects") || o.Has("since")
		m.Selection.Release = o.OptionalString("release")
		m.Selection.Subjects = o.StringArray("subjects")
		if m.Selection.Since = o.Has("since"); m.Selection.Since && (m.Since == nil || o.Integer("since") != *m.Since) {
			return errors.New("selection.since: differs from since")
		}
		m.Selection.Previous = o.OptionalString("previous")
		if m.Selection.Incident = o.OptionalString("incident"); m.Selection.Incident != "" && (selected || m.Selection.Previous != "") {
			return errors.New("selection.incident: excludes the other members")
		}
		selected = selected || m.Selection.Incident != ""
		return nil
	})
	if o.Err() == nil && !selected {
		return errors.New("selection: nothing is selected")
	}
	o.Objects("artifacts", func(o *strictjson.Object) error {
		if len(m.Artifacts) == MaxArtifacts {
			return fmt.Errorf("more than %d artifacts", MaxArtifacts)
		}
		a := Artifact{}
		a.read(o)
		m.Artifacts = append(m.Artifacts, a)
		return nil
	})
	o.Objects("members", m.readMember)
	return nil
}

func (a *Artifact) read(o *strictjson.Object) {
	a.Name = o.OptionalString("name")
	a.Type = o.OptionalString("type")
	a.Digest = readDigest(o)
	o.Objects("parts", func(o *strictjson.Object) error {
		a.Parts = append(a.Parts, Part{o.OptionalString("name"), readDigest(o)})
		return nil
	})
}

func readDigest(o *strictjson.Object) (digest map[string]string) {
	o.RequiredObject("digest", func(o *strictjson.Object) error {
		if digest = o.Strings(); len(digest) == 0 {
			return errors.New("digest: empty")
		}
		return nil
	})
	return digest
}

func (m *Manifest) readMember(o *strictjson.Object) error {
	if len(m.Members) == MaxMembers {
		return fmt.Errorf("more than %d members", MaxMembers)
	}
	one := Member{Name: o.String("name"), Role: Role(o.String("role")), Size: int64(o.Integer("size"))}
	sum := o.String("sha256")
	if o.Err() == nil {
		var err error
		if one.SHA256, err = entry.ParseHash(sum); err != nil || one.SHA256.String() != sum {
			return errors.New("sha256: must be 64 lowercase hexadecimal digits")
		}
	}
	m.Members = append(m.Members, one)
	return nil
}

// check checks what the members have in common.
func (m *Manifest) check() error {
	switch {
	case m.Size == 0:
		return errors.New("size: must be at least 1")
	case m.Stream.Entries > m.Size:
		return errors.New("stream.entries: more than the tree has")
	case (m.Stream.Entries == 0) != (m.Stream.Last == entry.Hash{}):
		return errors.New("stream.last: must be zero without entries, and only then")
	case m.Selection.Incident != "" && (len(m.Artifacts) > 0 || m.Since != nil):
		return errors.New("selection.incident: excludes artifacts and since")
	case len(m.Members) == 0:
		return errors.New("members: required")
	}
	return nil
}

// A Wanted decides which payloads a bundle contains.
type Wanted struct {
	since    *uint64
	digests  map[entry.Digest]bool
	incident string // "": none
}

// Wanted returns the rule of the manifest.
func (m *Manifest) Wanted() *Wanted {
	w := &Wanted{since: m.Since, incident: m.Selection.Incident}
	if len(m.Artifacts) > 0 {
		w.digests = map[entry.Digest]bool{}
	}
	add := func(set map[string]string) {
		for alg, value := range set {
			w.digests[entry.CanonicalDigest(alg, value)] = true
		}
	}
	for i := range m.Artifacts {
		add(m.Artifacts[i].Digest)
		for _, p := range m.Artifacts[i].Parts {
			add(p.Digest)
		}
	}
	return w
}

// The kinds that matter to every decision, and those of events that need not be
// about an artifact.
var (
	decisionKinds = map[string]bool{kindname.Control: true, kindname.ControlSet: true, kindname.ExceptionDecision: true, kindname.ExceptionRequest: true, kindname.Finding: true, kindname.KeyEvent: true}
	eventKinds    = map[string]bool{kindname.BackfillCheckpoint: true, kindname.Inventory: true, kindname.MetricSnapshot: true, kindname.TriageAction: true, kindname.VerificationReport: true}
)

// erasureKind is the kind of entries that record an erasure, and configKind
// that of documents that govern the stream.
const (
	erasureKind = kindname.Erasure
	configKind  = kindname.Config
)

// Needs reports whether a bundle must contain the payload of an entry, unless
// it was erased. See docs/spec/bundle.md, section 4.
func (w *Wanted) Needs(h *entry.Header, time uint64) bool {
	recent := w.since == nil || time >= *w.since
	switch {
	case decisionKinds[h.Kind]:
		return true
	case w.incident != "":
		return OfIncident(h, w.incident)
	case w.digests == nil && h.Kind != configKind && recent:
		return true
	case len(h.Subjects) == 0:
		return eventKinds[h.Kind] && recent
	}
	return w.Mentions(h)
}

// everyIncident is the incident of requests that are about all of them.
const everyIncident = "*"

// OfIncident reports whether an entry is about an incident of triage, or about
// all incidents.
func OfIncident(h *entry.Header, incident string) bool {
	of := h.Attributes["incident"]
	return h.Kind == kindname.TriageAction && (of == incident || of == everyIncident)
}

// Mentions reports whether an entry has a subject with a digest of the
// artifacts.
func (w *Wanted) Mentions(h *entry.Header) bool {
	for i := range h.Subjects {
		for alg, value := range h.Subjects[i].Digest {
			if w.digests[entry.CanonicalDigest(alg, value)] {
				return true
			}
		}
	}
	return false
}
