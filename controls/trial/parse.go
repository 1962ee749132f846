package trial

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/strictyaml"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of a file.
const (
	MaxSize   = 4 << 20
	maxCases  = 1024
	maxItems  = 256
	maxDepth  = 64
	maxValues = 64 << 10 // in one document
)

// A File has the cases for a control set.
type File struct {
	Controls string // path of the control set; "": not specified
	Policy   string // path of the admission policy by which signatures are verified; "": none
	Roots    map[string]string
	Cases    []*Case
}

// Open returns the content of a file that a test file names.
type Open func(path string) ([]byte, error)

// Parse parses a test file. The error is an *strictyaml.Error with its
// problems.
func Parse(text []byte, open Open) (*File, error) {
	p := &parser{Document: strictyaml.Document{Noun: "test file", Columns: true}, file: &File{Roots: map[string]string{}}, open: open}
	if root := p.ParseText(text, MaxSize); root != nil {
		p.read(root)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return p.file, nil
}

// Check returns the problems of a file with the control set that it tests:
// expectations about controls that do not exist.
func (f *File) Check(set *catalog.Set) error {
	for _, c := range f.Cases {
		for _, id := range sortedKeys(c.Expect.Controls) {
			if set.Control(id) == nil {
				return fmt.Errorf("case %q: the control set has no control %s", c.Name, id)
			}
		}
	}
	return nil
}

type parser struct {
	strictyaml.Document
	file *File
	open Open
}

type reader = func(n *yaml.Node, field string)

func (p *parser) into(to *string) reader {
	return func(n *yaml.Node, f string) { *to = p.Text(n, f) }
}

func (p *parser) all(to *[]string) reader {
	return func(n *yaml.Node, f string) {
		*to = p.Texts(n, f, maxItems, func(string) error { return nil })
	}
}

func (p *parser) time(to *time.Time) reader {
	return func(n *yaml.Node, f string) {
		t, err := time.Parse(time.RFC3339, p.Text(n, f))
		if err != nil {
			p.Wrong(n, f, "must be a time in RFC 3339, such as 2026-11-01T00:00:00Z")
		}
		*to = t.UTC()
	}
}

func (p *parser) digest(to *map[string]string) reader {
	return func(n *yaml.Node, f string) {
		d, err := entry.ParseDigest(p.Text(n, f))
		if err != nil {
			p.Wrong(n, f, "%s", err)
			return
		}
		*to = map[string]string{d.Algorithm(): d.Value()}
	}
}

// oneOf reports a text that is not one of the values.
func (p *parser) oneOf(to *string, values ...string) reader {
	return func(n *yaml.Node, f string) {
		if *to = p.Text(n, f); *to != "" && !slices.Contains(values, *to) {
			p.Wrong(n, f, "must be one of %s", strings.Join(values, ", "))
		}
	}
}

func (p *parser) read(root *yaml.Node) {
	p.Members(root, "", map[string]reader{
		"controls": p.into(&p.file.Controls),
		"policy":   p.into(&p.file.Policy),
		"trusted_roots": func(n *yaml.Node, f string) {
			p.Each(n, f, maxItems, func(name string, _, n *yaml.Node, f string) { p.file.Roots[name] = p.Text(n, f) })
		},
		"cases": func(n *yaml.Node, f string) { p.List(n, f, maxCases, p.testCase) },
	})
	if len(p.file.Cases) == 0 {
		p.Wrong(root, "cases", "is required: a test file without cases tests nothing")
	}
}

func (p *parser) testCase(n *yaml.Node, field string) {
	c := &Case{}
	p.file.Cases = append(p.file.Cases, c)
	var evidence, exceptions *yaml.Node
	later := func(to **yaml.Node) reader { return func(n *yaml.Node, _ string) { *to = n } }
	p.Members(n, field, map[string]reader{
		"name": p.into(&c.Name),
		"subject": func(n *yaml.Node, f string) {
			p.Members(n, f, map[string]reader{"type": p.oneOf(&c.Artifact.Type, artifact.Types...), "name": p.into(&c.Artifact.Name), "digest": p.digest(&c.Artifact.Digest)})
		},
		"parts": func(n *yaml.Node, f string) {
			p.List(n, f, 128, func(n *yaml.Node, f string) {
				one := evaluate.Part{}
				p.Members(n, f, map[string]reader{"platform": p.into(&one.Name), "digest": p.digest(&one.Digest)})
				c.Artifact.Parts = append(c.Artifact.Parts, one)
			})
		},
		"stage":       p.into(&c.Question.Stage),
		"environment": p.into(&c.Question.Environment),
		"time":        p.time(&c.Time),
		"evidence":    later(&evidence),
		"exceptions":  later(&exceptions),
		"expect":      func(n *yaml.Node, f string) { p.expect(n, f, &c.Expect) },
	})
	for _, required := range []struct {
		name    string
		missing bool
	}{
		{"name", c.Name == ""}, {"subject.type", c.Artifact.Type == ""}, {"subject.digest", c.Artifact.Digest == nil}, {"stage", c.Question.Stage == ""},
		{"time", c.Time.IsZero()}, {"expect.decision", c.Expect.Decision == ""},
	} {
		if required.missing {
			p.Wrong(n, strictyaml.Join(field, required.name), "is required")
		}
	}
	if evidence != nil {
		p.List(evidence, strictyaml.Join(field, "evidence"), maxItems, func(n *yaml.Node, f string) { p.evidence(n, f, c) })
	}
	if exceptions != nil {
		p.List(exceptions, strictyaml.Join(field, "exceptions"), maxItems, func(n *yaml.Node, f string) { p.exception(n, f, c) })
	}
}

func (p *parser) expect(n *yaml.Node, field string, x *Expectation) {
	var outcomes []string
	for _, o := range evaluate.Outcomes {
		outcomes = append(outcomes, string(o))
	}
	results := []string{evaluate.Satisfied, evaluate.NotSatisfied, evaluate.Excepted, evaluate.Unclear, evaluate.NotApplicable}
	p.Members(n, field, map[string]reader{
		"decision": p.oneOf(&x.Decision, outcomes...),
		"reason":   p.into(&x.Reason),
		"controls": func(n *yaml.Node, f string) {
			x.Controls = map[string]ControlExpectation{}
			p.Each(n, f, maxCases, func(id string, _, n *yaml.Node, f string) {
				var one ControlExpectation
				if n.Kind == yaml.ScalarNode {
					p.oneOf(&one.Result, results...)(n, f)
				} else {
					p.Members(n, f, map[string]reader{"result": p.oneOf(&one.Result, results...), "reason": p.into(&one.Reason)})
				}
				x.Controls[id] = one
			})
		},
	})
}

func (p *parser) evidence(n *yaml.Node, field string, c *Case) {
	s := &Submission{Kind: kindname.Attestation, Submitter: "token:test", Recorded: c.Time, source: source{n.Line, n.Column, field}}
	var path, predicateType string
	var document, predicate *structpb.Value
	value := func(to **structpb.Value) reader {
		return func(n *yaml.Node, f string) { *to = p.Value(n, f, maxDepth, maxValues) }
	}
	p.Members(n, field, map[string]reader{
		"file": p.into(&path), "document": value(&document), "predicate_type": p.into(&predicateType), "predicate": value(&predicate),
		"kind": p.into(&s.Kind), "media_type": p.into(&s.MediaType), "submitter": p.into(&s.Submitter), "recorded": p.time(&s.Recorded),
		"verified": func(n *yaml.Node, f string) { p.List(n, f, maxItems, p.signer(s)) },
	})
	if s.Recorded.After(c.Time) {
		p.Wrong(n, strictyaml.Join(field, "recorded"), "must not be after the time of the case")
	}
	forms := 0
	for _, has := range []bool{path != "", document != nil, predicateType != ""} {
		if has {
			forms++
		}
	}
	var err error
	switch {
	case forms != 1:
		p.Wrong(n, field, "must have exactly one of file, document, and predicate_type with predicate")
	case path != "":
		if s.Payload, err = p.open(path); err != nil {
			p.Wrong(n, strictyaml.Join(field, "file"), "%s", err)
		}
	case document != nil:
		s.Payload, err = protojson.Marshal(document)
	default:
		s.Payload, err = protojson.Marshal(statement(c, predicateType, predicate))
	}
	if err != nil && path == "" {
		p.Wrong(n, field, "%s", err)
	}
	c.Evidence = append(c.Evidence, s)
}

func (p *parser) signer(s *Submission) reader {
	return func(n *yaml.Node, field string) {
		var one entry.Signer
		p.Members(n, field, map[string]reader{"identity": p.into(&one.Identity), "issuer": p.into(&one.Issuer), "key": p.into(&one.KeyID)})
		if (one.KeyID != "") == (one.Identity != "" && one.Issuer != "") {
			p.Wrong(n, field, "must have either key, or identity and issuer")
		}
		s.Verified = append(s.Verified, one)
	}
}

// statement returns an in-toto statement about the artifact of a case.
func statement(c *Case, predicateType string, predicate *structpb.Value) *structpb.Value {
	digest := map[string]*structpb.Value{}
	for alg, v := range c.Artifact.Digest {
		digest[alg] = structpb.NewStringValue(v)
	}
	object := func(fields map[string]*structpb.Value) *structpb.Value {
		return structpb.NewStructValue(&structpb.Struct{Fields: fields})
	}
	subject := object(map[string]*structpb.Value{"name": structpb.NewStringValue(c.Artifact.Name), "digest": object(digest)})
	fields := map[string]*structpb.Value{
		"_type": structpb.NewStringValue("https://in-toto.io/Statement/v1"), "predicateType": structpb.NewStringValue(predicateType),
		"subject": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{subject}}),
	}
	if predicate != nil {
		fields["predicate"] = predicate
	}
	return object(fields)
}

func (p *parser) exception(n *yaml.Node, field string, c *Case) {
	m := &munimentv1.ExceptionRequest{Scope: &munimentv1.ExceptionScope{}, Reason: "test"}
	s := &Submission{Kind: kindname.ExceptionRequest, Recorded: c.Time, source: source{n.Line, n.Column, field}}
	x := &Exception{Request: s}
	var expires time.Time
	p.Members(n, field, map[string]reader{
		"id": p.into(&m.Id), "control": p.into(&m.Control), "findings": p.all(&m.Findings), "globs": p.all(&m.Scope.Globs), "environments": p.all(&m.Scope.Environments),
		"expires": p.time(&expires), "requested": p.time(&s.Recorded), "requester": p.into(&s.Submitter), "approvers": p.all(&x.Approvers),
	})
	if len(m.Scope.Globs) == 0 {
		m.Scope.Subjects = []*munimentv1.Artifact{{Name: c.Artifact.Name, Digest: c.Artifact.Digest}}
	}
	switch {
	case m.Id == "" || m.Control == "" || s.Submitter == "" || expires.IsZero():
		p.Wrong(n, field, "must have id, control, requester and expires")
	case s.Recorded.After(c.Time):
		p.Wrong(n, strictyaml.Join(field, "requested"), "must not be after the time of the case")
	}
	m.Expires, x.ID = timestamppb.New(expires), m.Id
	var err error
	if s.Payload, err = protojson.Marshal(m); err != nil {
		p.Wrong(n, field, "%s", err)
	}
	c.Exceptions = append(c.Exceptions, x)
}
