package export

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// Limits of the members of a predicate.
const (
	maxFieldSets   = 64
	maxFields      = 1024
	maxLicences    = 16
	maxGeographies = 512
	maxClaims      = 64
	maxLocations   = 64
	maxEvidence    = 64
	maxMechanisms  = 256
	maxCount       = 1_000_000
)

var (
	namePattern      = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`)
	timePattern      = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`)
	mediaTypePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$`)
)

// Read reads the file of a manifest, without verifying its signatures. It
// performs steps 1 and 3 of docs/spec/export-manifest.md, section 7. The error
// is an *Error.
func Read(file []byte) (*Manifest, error) {
	e, err := parseEnvelope(file)
	if err != nil {
		return nil, at(stepEnvelope, err)
	}
	m, err := parseStatement(e.payload)
	return m, at(stepStatement, err)
}

// ReadStatement reads the statement of a manifest. The error is an *Error.
func ReadStatement(text []byte) (*Manifest, error) {
	m, err := parseStatement(text)
	return m, at(stepStatement, err)
}

// A subject is a subject of the statement.
type subject struct {
	name   string
	sha256 entry.Hash
}

// parseStatement reads the statement, as steps 3.1 to 3.9 specify.
func parseStatement(payload []byte) (*Manifest, error) {
	r := &statementReader{m: &Manifest{}}
	if err := strictjson.Parse(payload, r.statement); err != nil {
		var own *Error
		if errors.As(err, &own) {
			return nil, own
		}
		return nil, fail(StatementMalformed, "statement: %w", err)
	}
	for _, check := range []func() error{r.numbers, r.m.ranges, r.m.names, r.m.duplicates, r.compareSubjects} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return r.m, nil
}

// A statementReader reads a statement. Numbers are read in a second pass,
// because they have a code of their own.
type statementReader struct {
	m        *Manifest
	subjects []subject
	pending  []func() error
}

func (r *statementReader) statement(o *strictjson.Object) error {
	for _, c := range []struct {
		name, want string
		code       Code
	}{{"_type", statementType, StatementVersion}, {"predicateType", PredicateType, OtherPredicate}} {
		if !o.Has(c.name) {
			continue
		}
		if s, ok := o.PeekString(c.name); ok && s != c.want {
			return fail(c.code, "%s: %q, want %q", c.name, s, c.want)
		}
	}
	o.String("_type")
	o.String("predicateType")
	r.list(o, "subject", MaxFiles, func(o *strictjson.Object) error {
		s := subject{name: o.String("name")}
		readDigest(o, &s.sha256)
		r.subjects = append(r.subjects, s)
		return nil
	})
	o.RequiredObject("predicate", r.predicate)
	return nil
}

func (r *statementReader) predicate(o *strictjson.Object) error {
	m := r.m
	if m.Tenant = o.String("tenant"); o.Err() == nil {
		if err := entry.CheckTenantName(m.Tenant); err != nil {
			return fmt.Errorf("tenant: %w", err)
		}
	}
	m.ExportID = pattern(o, "exportId", namePattern)
	m.Created = readTime(o, "created")
	r.list(o, "files", MaxFiles, r.file)
	if o.Object("use", func(o *strictjson.Object) error { return r.use(o, &m.Use) }); o.Err() != nil {
		return nil
	}
	o.RequiredObject("residency", func(o *strictjson.Object) error {
		r.list(o, "claims", maxClaims, r.claim)
		return nil
	})
	o.RequiredObject("licenses", func(o *strictjson.Object) error {
		m.SPDXListVersion = sized(o, "spdxListVersion", 32)
		return nil
	})
	o.Object("privacy", r.privacy)
	return nil
}

func (r *statementReader) file(o *strictjson.Object) error {
	f := File{Name: o.String("name")}
	readDigest(o, &f.SHA256)
	f.Size = o.Integer("size")
	f.MediaType = pattern(o, "mediaType", mediaTypePattern)
	if o.Has("rows") {
		n := o.Integer("rows")
		f.Rows = &n
	}
	f.License = licences(o)
	if o.Has("fieldSets") {
		r.list(o, "fieldSets", maxFieldSets, func(o *strictjson.Object) error {
			f.FieldSets = append(f.FieldSets, FieldSet{Fields: texts(o, "fields", maxFields, 256), License: licences(o)})
			return nil
		})
	}
	r.m.Files = append(r.m.Files, f)
	return nil
}

// use reads limits on places.
func (r *statementReader) use(o *strictjson.Object, into **Use) error {
	u := &Use{}
	*into = u
	lists := map[string]*[]Geography{"storage-allowed": &u.StorageAllowed, "storage-forbidden": &u.StorageForbidden, "processing-included": &u.ProcessingIncluded, "processing-excluded": &u.ProcessingExcluded}
	some := false
	for name, list := range lists {
		if !o.Has(name) {
			continue
		}
		some = true
		r.list(o, name, maxGeographies, func(o *strictjson.Object) error {
			*list = append(*list, geography(o))
			return nil
		})
	}
	if !some && o.Err() == nil {
		return errors.New("no member limits the places")
	}
	return nil
}

func geography(o *strictjson.Object) Geography {
	g := Geography{Country: sized(o, "country", 64)}
	if o.Has("state") {
		g.State = sized(o, "state", 64)
	}
	return g
}

func (r *statementReader) claim(o *strictjson.Object) error {
	c := Claim{Activity: o.String("activity")}
	if o.Err() == nil && c.Activity != Storage && c.Activity != Processing {
		return fmt.Errorf("activity: %q is neither %s nor %s", c.Activity, Storage, Processing)
	}
	r.list(o, "locations", maxLocations, func(o *strictjson.Object) error {
		l := Location{Geography: geography(o)}
		if o.Has("cloudRegion") {
			l.CloudRegion = sized(o, "cloudRegion", 64)
		}
		c.Locations = append(c.Locations, l)
		return nil
	})
	readSigner(o, "claimedBy", &c.ClaimedBy)
	if o.Has("evidence") {
		r.list(o, "evidence", maxEvidence, func(o *strictjson.Object) error {
			e := EvidenceEntry{Index: o.Integer("index")}
			readHash(o, "leafHash", &e.LeafHash)
			c.Evidence = append(c.Evidence, e)
			return nil
		})
	}
	r.m.Claims = append(r.m.Claims, c)
	return nil
}

func (r *statementReader) privacy(o *strictjson.Object) error {
	p := &Privacy{}
	r.m.Privacy = p
	o.RequiredObject("dp_flavor", func(o *strictjson.Object) error {
		p.Flavor = sized(o, "name", 64)
		return nil
	})
	o.RequiredObject("privacy_loss", func(o *strictjson.Object) error {
		p.Unit = sized(o, "privacy_unit", 256)
		if o.Has("privacy_unit_description") {
			p.UnitDescription = sized(o, "privacy_unit_description", 4096)
		}
		if p.Relation = o.String("neighboring_relation"); o.Err() == nil && p.Relation != "unbounded" && p.Relation != "bounded" {
			return fmt.Errorf("neighboring_relation: %q is neither unbounded nor bounded", p.Relation)
		}
		o.RequiredObject("privacy_parameters", func(o *strictjson.Object) error {
			r.decimal(o, "epsilon", &p.Parameters.Epsilon)
			r.optionalDecimal(o, "delta", &p.Parameters.Delta)
			r.optionalDecimal(o, "rho", &p.Parameters.Rho)
			return nil
		})
		return nil
	})
	r.list(o, "mechanisms", maxMechanisms, r.mechanism)
	o.RequiredObject("sensitivity", func(o *strictjson.Object) error {
		readSigner(o, "claimedBy", &p.SensitivityBy)
		return nil
	})
	o.RequiredObject("sampler", func(o *strictjson.Object) error {
		p.Sampler = sized(o, "name", 256)
		readSigner(o, "claimedBy", &p.SamplerBy)
		return nil
	})
	o.RequiredObject("budget", func(o *strictjson.Object) error {
		p.Budget = pattern(o, "name", namePattern)
		r.decimal(o, "epsilon", &p.BudgetEpsilon)
		r.optionalDecimal(o, "delta", &p.BudgetDelta)
		o.RequiredObject("spent", func(o *strictjson.Object) error {
			r.optionalDecimal(o, "epsilon", &p.SpentEpsilon)
			r.optionalDecimal(o, "rho", &p.SpentRho)
			return nil
		})
		return nil
	})
	return nil
}

func (r *statementReader) mechanism(o *strictjson.Object) error {
	m := Mechanism{Name: o.String("name")}
	if o.Err() == nil && m.Name != Gaussian && m.Name != Laplace {
		return fmt.Errorf("name: %q is neither %s nor %s", m.Name, Gaussian, Laplace)
	}
	sensitivity, scale := o.String("sensitivity"), o.String("scale")
	if m.Count = o.Integer("count"); o.Err() == nil && (m.Count == 0 || m.Count > maxCount) {
		return fmt.Errorf("count: must be between 1 and %d", maxCount)
	}
	p, at := r.m.Privacy, len(r.m.Privacy.Mechanisms)
	p.Mechanisms = append(p.Mechanisms, m)
	r.pending = append(r.pending, func() error {
		return errors.Join(
			parse(fmt.Sprintf("mechanisms[%d].sensitivity", at), sensitivity, ParseRational, &p.Mechanisms[at].Sensitivity),
			parse(fmt.Sprintf("mechanisms[%d].scale", at), scale, ParseRational, &p.Mechanisms[at].Scale))
	})
	return nil
}

func (r *statementReader) decimal(o *strictjson.Object, name string, into *Decimal) {
	s := o.String(name)
	r.pending = append(r.pending, func() error { return parse(name, s, ParseDecimal, into) })
}

func (r *statementReader) optionalDecimal(o *strictjson.Object, name string, into **Decimal) {
	if !o.Has(name) {
		return
	}
	d := &Decimal{}
	*into = d
	r.decimal(o, name, d)
}

func parse[T any](name, s string, read func(string) (T, error), into *T) error {
	v, err := read(s)
	if err != nil {
		return fmt.Errorf("%s: %.64q is %w", name, s, err)
	}
	*into = v
	return nil
}

// numbers performs step 3.5.
func (r *statementReader) numbers() error {
	for _, one := range r.pending {
		if err := one(); err != nil {
			return fail(NumberMalformed, "%w", err)
		}
	}
	return nil
}

// ranges performs step 3.6.
func (m *Manifest) ranges() error {
	p := m.Privacy
	if p == nil {
		return nil
	}
	for i, one := range p.Mechanisms {
		if one.Sensitivity.IsZero() || one.Scale.IsZero() {
			return fail(NumberRange, "mechanisms[%d]: sensitivity and scale must be greater than 0", i)
		}
	}
	for _, delta := range []*Decimal{p.Parameters.Delta, p.BudgetDelta} {
		if delta != nil && !delta.IsDelta() {
			return fail(NumberRange, "delta: %s is not between 0 and 1", delta)
		}
	}
	return nil
}

// IsDelta reports whether 0 < d < 1.
func (d *Decimal) IsDelta() bool { return d.units.Sign() > 0 && d.units.Cmp(scaleT) < 0 }

// names performs step 3.7.
func (m *Manifest) names() error {
	for _, f := range m.Files {
		if err := CheckName(f.Name); err != nil {
			return fail(NameUnsafe, "file %q: %w", f.Name, err)
		}
	}
	return nil
}

// deviceForm is the form of the names of devices of Windows, which no file has
// there, with any extension.
var deviceForm = regexp.MustCompile(`(?i)^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9]|LPT[0-9]) *$`)

// CheckName returns an error unless a name is valid for a file of an export.
func CheckName(name string) error {
	if name == "" || len(name) > 1024 {
		return errors.New("a name has 1 to 1,024 bytes")
	}
	for segment := range strings.SplitSeq(name, "/") {
		switch {
		case segment == "" || segment == "." || segment == "..":
			return fmt.Errorf("%q is not allowed as a part of a name", segment)
		case segment[0] == ' ' || segment[len(segment)-1] == ' ' || segment[len(segment)-1] == '.':
			return fmt.Errorf("the part %q begins or ends with a space, or ends with a dot", segment)
		}
		for i := range len(segment) {
			if c := segment[i]; c < 0x20 || c > 0x7e || strings.IndexByte(`\:*?"<>|`, c) >= 0 {
				return fmt.Errorf("unexpected character %q", c)
			}
		}
		if stem, _, _ := strings.Cut(segment, "."); deviceForm.MatchString(stem) {
			return fmt.Errorf("the part %q is the name of a device of Windows", segment)
		}
	}
	return nil
}

// duplicates performs step 3.8.
func (m *Manifest) duplicates() error {
	seen := map[string]bool{}
	for _, f := range m.Files {
		name := strings.ToLower(f.Name) // ASCII, after step 3.7
		if seen[name] {
			return fail(NameDuplicate, "file %q: another file has the same name, except for case", f.Name)
		}
		seen[name] = true
	}
	return nil
}

// compareSubjects performs step 3.9.
func (r *statementReader) compareSubjects() error {
	same := slices.EqualFunc(r.subjects, r.m.Files, func(s subject, f File) bool { return s.name == f.Name && s.sha256 == f.SHA256 })
	if !same {
		return fail(SubjectsDiffer, "the statement's subjects are not the predicate's files")
	}
	return nil
}

// list reads a required array of objects of limited length.
func (r *statementReader) list(o *strictjson.Object, name string, most int, read func(*strictjson.Object) error) {
	if !o.Has(name) {
		o.String(name) // reports that it is missing
		return
	}
	n := 0
	o.Objects(name, func(o *strictjson.Object) error {
		if n++; n > most {
			return fmt.Errorf("more than %d elements", most)
		}
		return read(o)
	})
}

// texts reads a required array of texts.
func texts(o *strictjson.Object, name string, most, size int) []string {
	if !o.Has(name) {
		o.String(name) // reports that it is missing
		return nil
	}
	all := o.StringArray(name)
	if len(all) > most {
		o.Fail(name, fmt.Errorf("more than %d elements", most))
	}
	for _, s := range all {
		if len(s) > size {
			o.Fail(name, fmt.Errorf("more than %d bytes", size))
		}
	}
	return all
}

func licences(o *strictjson.Object) []string { return texts(o, "license", maxLicences, maxExpression) }

// sized reads a required text of 1 to most bytes.
func sized(o *strictjson.Object, name string, most int) string {
	s := o.String(name)
	if s == "" || len(s) > most {
		o.Fail(name, fmt.Errorf("must have 1 to %d bytes", most))
	}
	return s
}

func pattern(o *strictjson.Object, name string, p *regexp.Regexp) string {
	s := o.String(name)
	if !p.MatchString(s) {
		o.Fail(name, fmt.Errorf("does not have the form %s", p))
	}
	return s
}

func readTime(o *strictjson.Object, name string) string {
	s := pattern(o, name, timePattern)
	if t, err := time.Parse(time.RFC3339, s); err != nil || t.Year() < 1970 {
		o.Fail(name, errors.New("not a time since 1970"))
	}
	return s
}

func readDigest(o *strictjson.Object, into *entry.Hash) {
	o.RequiredObject("digest", func(o *strictjson.Object) error {
		readHash(o, "sha256", into)
		return nil
	})
}

func readHash(o *strictjson.Object, name string, into *entry.Hash) {
	s := o.String(name)
	h, err := entry.ParseHash(s)
	if err != nil || h.String() != s {
		o.Fail(name, errors.New("must be 64 lowercase hexadecimal digits"))
	}
	*into = h
}

func readSigner(o *strictjson.Object, name string, into *entry.Signer) {
	o.RequiredObject(name, func(o *strictjson.Object) error {
		if o.Has("keyId") {
			into.KeyID = o.String("keyId")
			if o.Err() == nil && !strings.HasPrefix(into.KeyID, "sha256:") {
				return errors.New("keyId: must be sha256: and 64 lowercase hexadecimal digits")
			}
			return entry.CheckKeyID(into.KeyID)
		}
		into.Identity, into.Issuer = sized(o, "identity", 2048), sized(o, "issuer", 2048)
		return nil
	})
}
