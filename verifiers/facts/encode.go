package facts

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrEncoding is the error of bytes that Encode did not write, or that another
// version of this program wrote. muniment reindex writes the facts again.
var ErrEncoding = errors.New("not encoded facts of this version: run muniment reindex")

// encoding is the first byte of encoded facts. It changes with the encoding and
// with Version.
const encoding = 1

// Encode returns the facts as the store keeps them. Equal facts have equal
// bytes.
func (f *Facts) Encode() []byte {
	c := &coder{encode: true, index: map[string]int{}}
	c.out = append(make([]byte, 0, 1024), encoding)
	c.facts(f)
	return c.out
}

// Decode returns the facts that Encode wrote.
func Decode(data []byte) (*Facts, error) {
	if len(data) == 0 || data[0] != encoding {
		return nil, ErrEncoding
	}
	// strings of the facts are parts of in
	c := &coder{in: string(data[1:]), table: make([]string, 0, len(data)/32)}
	f := &Facts{Version: Version}
	c.facts(f)
	if c.bad || c.in != "" {
		return nil, ErrEncoding
	}
	f.normalize()
	return f, nil
}

// A coder encodes or decodes, so that one function for each type does both.
//
// Numbers are uvarints. A string is its number, from 1, if it has occurred
// before, and otherwise 0, its length and its bytes. A list is its length and
// its elements, and a group a byte for its presence.
type coder struct {
	encode bool

	out   []byte
	index map[string]int // numbers of strings

	in    string
	table []string // strings by number
	bad   bool
}

func (c *coder) number(n *uint64) {
	if c.encode {
		c.out = binary.AppendUvarint(c.out, *n)
		return
	}
	for shift := 0; shift < 64 && c.in != ""; shift += 7 {
		b := c.in[0]
		c.in = c.in[1:]
		*n |= uint64(b&0x7F) << shift
		if b < 0x80 {
			return
		}
	}
	c.bad, c.in = true, ""
}

func (c *coder) text(s *string) {
	if c.encode {
		at, again := c.index[*s]
		if again {
			c.out = binary.AppendUvarint(c.out, uint64(at))
			return
		}
		c.index[*s] = len(c.index) + 1
		c.out = append(c.out, 0)
		c.out = binary.AppendUvarint(c.out, uint64(len(*s)))
		c.out = append(c.out, *s...)
		return
	}
	var at, length uint64
	if c.number(&at); at > 0 {
		if at > uint64(len(c.table)) {
			c.bad, c.in = true, ""
			return
		}
		*s = c.table[at-1]
		return
	}
	if c.number(&length); length > uint64(len(c.in)) {
		c.bad, c.in = true, ""
		return
	}
	*s, c.in = c.in[:length], c.in[length:]
	c.table = append(c.table, *s)
}

// value codes a number of any size.
func value[T ~uint8 | ~uint64 | ~int](c *coder, v *T) {
	n := uint64(*v)
	c.number(&n)
	if *v = T(n); uint64(*v) != n {
		c.bad = true
	}
}

func (c *coder) flag(v *bool) {
	n := uint64(0)
	if *v {
		n = 1
	}
	c.number(&n)
	*v = n == 1
}

func (c *coder) float(v *float64) {
	n := math.Float64bits(*v)
	c.number(&n)
	*v = math.Float64frombits(n)
}

func list[T any](c *coder, all *[]T, each func(*coder, *T)) {
	n := uint64(len(*all))
	c.number(&n)
	if !c.encode && n > 0 {
		if n > uint64(len(c.in)) { // each element has at least one byte
			c.bad, c.in = true, ""
			return
		}
		*all = make([]T, n)
	}
	for i := range *all {
		if c.bad {
			return
		}
		each(c, &(*all)[i])
	}
}

func group[T any](c *coder, g **T, each func(*coder, *T)) {
	present := *g != nil
	if c.flag(&present); !present {
		return
	}
	if *g == nil {
		*g = new(T)
	}
	each(c, *g)
}

func (c *coder) facts(f *Facts) {
	c.text((*string)(&f.Exceeded))
	list(c, &f.Problems, func(c *coder, p *Problem) {
		c.text(&p.Path)
		c.text((*string)(&p.Code))
	})
	value(c, &f.ProblemCount)
	group(c, &f.Scan, func(c *coder, s *Scan) {
		c.list(&s.List)
		c.text(&s.Scanner.Name)
		c.text(&s.Scanner.Version)
		value(c, &s.Time)
		list(c, &s.Vulnerabilities, (*coder).vulnerability)
	})
	group(c, &f.VEX, func(c *coder, v *VEX) {
		c.list(&v.List)
		c.text(&v.Author)
		list(c, &v.Statements, (*coder).statement)
	})
	group(c, &f.SBOM, func(c *coder, s *SBOM) {
		c.list(&s.List)
		c.text(&s.Format)
		c.text(&s.Version)
		c.text(&s.Name)
		value(c, &s.Time)
		list(c, &s.Components, func(c *coder, p *Component) {
			c.pkg(&p.Package)
			list(c, &p.Licenses, (*coder).text)
		})
	})
	group(c, &f.Build, (*coder).build)
	group(c, &f.Test, func(c *coder, t *Test) {
		c.list(&t.List)
		c.text(&t.Result)
		c.text(&t.URL)
		list(c, &t.Configuration, (*coder).resource)
		list(c, &t.Passed, (*coder).text)
		list(c, &t.Warned, (*coder).text)
		list(c, &t.Failed, (*coder).text)
	})
	group(c, &f.Summary, func(c *coder, s *Summary) {
		c.list(&s.List)
		c.text(&s.Verifier)
		c.text(&s.Resource)
		c.resource(&s.Policy)
		c.text(&s.Result)
		list(c, &s.Levels, (*coder).text)
		value(c, &s.Time)
	})
	group(c, &f.Properties, func(c *coder, p *Properties) {
		c.list(&p.List)
		c.text(&p.Verifier)
		value(c, &p.Time)
		list(c, &p.Properties, func(c *coder, one *Property) {
			c.text(&one.Name)
			c.resource(&one.Target)
		})
	})
	group(c, &f.Checkpoint, func(c *coder, p *Checkpoint) {
		c.text(&p.Entity)
		c.text(&p.Checkpoint)
		c.float(&p.ACAScore)
		c.text(&p.Time)
		c.flag(&p.RollbackReady)
	})
	group(c, &f.Export, (*coder).export)
	c.later(f)
}

// later codes what was added to the encoding. It ends before the first part
// without which nothing would be lost, so that older encodings remain valid.
func (c *coder) later(f *Facts) {
	second := f.Export != nil && f.Export.Tenant != ""
	if c.encode && f.Vetting == nil && !second || !c.encode && c.in == "" {
		return
	}
	group(c, &f.Vetting, func(c *coder, v *Vetting) {
		c.text(&v.Image)
		value(c, &v.Vetted)
		value(c, &v.Expires)
	})
	if c.encode && !second || !c.encode && c.in == "" {
		c.bad = c.bad || f.Vetting == nil
		return
	}
	if f.Export == nil {
		c.bad = true
		return
	}
	c.exportV2(f.Export)
	c.bad = c.bad || f.Export.Tenant == ""
}

func (c *coder) list(l *List) {
	c.text((*string)(&l.Exceeded))
	value(c, &l.Dropped)
}

func (c *coder) vulnerability(v *Vulnerability) {
	c.text(&v.ID)
	list(c, &v.Aliases, (*coder).text)
	value(c, &v.Severity)
	value(c, &v.Score)
	if v.Severity > Critical || v.Score > 100 {
		c.bad = true
	}
	c.pkg(&v.Package)
	c.text(&v.Fixed)
	value(c, &v.Published)
}

func (c *coder) pkg(p *Package) {
	c.text(&p.PURL)
	c.text(&p.Name)
	c.text(&p.Version)
}

func (c *coder) statement(s *Statement) {
	c.text(&s.ID)
	list(c, &s.Aliases, (*coder).text)
	value(c, &s.Status)
	if s.Status > NotAffected {
		c.bad = true
	}
	c.text(&s.Justification)
	value(c, &s.Time)
	list(c, &s.Products, func(c *coder, p *Product) {
		c.identity(&p.Identity)
		list(c, &p.Subcomponents, (*coder).identity)
	})
	list(c, &s.Subcomponents, (*coder).identity)
}

func (c *coder) identity(id *Identity) {
	c.text(&id.ID)
	c.text(&id.PURL)
	c.digests(&id.Digests)
}

func (c *coder) digests(d *Digests) {
	list(c, (*[]Digest)(d), func(c *coder, one *Digest) {
		c.text(&one.Algorithm)
		c.text(&one.Value)
	})
}

func (c *coder) resource(r *Resource) {
	c.text(&r.Name)
	c.text(&r.URI)
	c.digests(&r.Digests)
}

func (c *coder) build(b *Build) {
	c.list(&b.List)
	c.text(&b.Builder)
	c.text(&b.Type)
	c.text(&b.Invocation)
	value(c, &b.Started)
	value(c, &b.Finished)
	parameters := string(b.Parameters)
	if c.text(&parameters); parameters != "" {
		b.Parameters = jsontext.Value(strings.Clone(parameters))
	}
	c.flag(&b.ParametersExceeded)
	list(c, &b.Materials, (*coder).resource)
}

// export codes what manifests of both versions have.
func (c *coder) export(e *Export) {
	c.text(&e.Name)
	value(c, &e.Created)
	list(c, &e.Regions, (*coder).text)
	list(c, &e.Licenses, (*coder).text)
	value(c, &e.Files)
	group(c, &e.Privacy, func(c *coder, p *Privacy) {
		spent := new(float64)
		if p.Spent != nil {
			*spent = *p.Spent
		}
		c.float(&p.Epsilon)
		c.float(spent)
		c.float(&p.Budget)
		c.float(&p.Delta)
		if !c.encode {
			p.Spent = spent
		}
	})
}

// exportV2 codes what only manifests of version 2 have.
func (c *coder) exportV2(e *Export) {
	c.list(&e.List)
	c.text(&e.Tenant)
	list(c, &e.Contents, func(c *coder, f *ExportFile) {
		c.text(&f.Name)
		c.digests(&f.Digests)
		value(c, &f.Size)
		c.text(&f.MediaType)
		group(c, &f.Rows, value)
		list(c, &f.Licenses, (*coder).text)
	})
	list(c, &e.Residency, func(c *coder, r *ResidencyClaim) {
		c.text(&r.Activity)
		list(c, &r.Locations, func(c *coder, l *Location) {
			c.text(&l.Country)
			c.text(&l.State)
			c.text(&l.CloudRegion)
		})
		c.signer(&r.ClaimedBy)
		value(c, &r.Evidence)
	})
	if e.Privacy != nil {
		c.privacyV2(e.Privacy)
	}
}

func (c *coder) signer(s *Signer) {
	c.text(&s.Identity)
	c.text(&s.Issuer)
	c.text(&s.KeyID)
}

func (c *coder) privacyV2(p *Privacy) {
	c.text(&p.Flavor)
	c.text(&p.Unit)
	c.text(&p.Relation)
	c.signer(&p.SensitivityBy)
	c.text(&p.Sampler)
	c.signer(&p.SamplerBy)
	c.text(&p.BudgetName)
	c.float(&p.BudgetDelta)
	if !c.encode {
		p.Spent = nil
	}
	for _, one := range []**float64{&p.Rho, &p.Spent, &p.SpentRho} {
		group(c, one, (*coder).float)
	}
	group(c, &p.AddsUp, (*coder).flag)
}
