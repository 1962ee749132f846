package policy

import (
	"context"
	"runtime"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/ledger/entry"
)

// Evidence is what a policy decides about.
type Evidence struct {
	Tenant        string
	Submitter     string
	Kind          string
	MediaType     string
	PredicateType string
	Size          int
	Subjects      []entry.Subject
	Materials     []entry.Subject
	Controls      []string
	Attributes    map[string]string

	Predicate []byte // JSON of the statement's predicate; nil if there is no statement
	Document  []byte // JSON of the payload; nil if it is none
	// the payload is too large for anybody to say what is in it; Predicate and
	// Document are nil
	Unread     bool
	Deviations []string // where the payload is not as its type requires
	// the payload was compared with the definition of its type, and there are
	// no deviations
	Conforms bool
	// why the payload that is signed can't be read, though its type is that of
	// statements; nil if it can
	Opaque error
	// not all subjects, or not the predicate type, can be read; true if Opaque
	// is not nil
	Incomplete bool

	Signed Signed // nil: nothing that has signatures
}

// maxParsed is the largest JSON that conditions look into, in bytes: parsed, it
// takes many times as much memory.
const maxParsed = 2 << 20

// smallJSON is what may be parsed without a place for large documents.
const smallJSON = 64 << 10

// Places for decisions under way. Each tenant has at most half of them,
// whatever policies it has, so that another tenant's decisions always find one.
var (
	deciding = newSlots(max(4, runtime.GOMAXPROCS(0))) // all decisions
	parsing  = newSlots(4)                             // those that hold large parsed documents
)

// hold waits until the evidence may be decided about, and returns the function
// that ends that.
func (p *AdmissionPolicy) hold(ctx context.Context, ev *Evidence) (release func(), err error) {
	large := len(ev.Predicate)+len(ev.Document) > smallJSON && slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Condition != nil })
	if large {
		if err := parsing.acquire(ctx, ev.Tenant); err != nil {
			return nil, err
		}
	}
	if err := deciding.acquire(ctx, ev.Tenant); err != nil {
		if large {
			parsing.release(ev.Tenant)
		}
		return nil, err
	}
	return func() {
		deciding.release(ev.Tenant)
		if large {
			parsing.release(ev.Tenant)
		}
	}, nil
}

// variables returns the names that a condition may use. What is costly to make
// is made when it is used, once a decision.
func (c *court) variables(by *proof) func(name string) ref.Val {
	signer, claims := map[string]string{}, map[string]string{}
	if by != nil {
		var first entry.Signer
		if len(by.signers) > 0 {
			first = by.signers[0]
		}
		signer = map[string]string{"name": "", "identity": first.Identity, "issuer": first.Issuer, "key_id": first.KeyID}
		if by.signer != nil {
			signer["name"] = by.signer.Name
		}
		claims = words(by.claims)
	}
	ev := c.ev
	return func(name string) ref.Val {
		switch name {
		case "tenant":
			return types.String(ev.Tenant)
		case "submitter":
			return types.String(ev.Submitter)
		case "kind":
			return types.String(ev.Kind)
		case "media_type":
			return types.String(ev.MediaType)
		case "predicate_type":
			return types.String(ev.PredicateType)
		case "size":
			return types.Int(ev.Size)
		case "subjects":
			return c.once(name, func() any { return artifacts(ev.Subjects) })
		case "materials":
			return c.once(name, func() any { return artifacts(ev.Materials) })
		case "controls":
			return c.once(name, func() any { return nonNil(ev.Controls) })
		case "deviations":
			return c.once(name, func() any { return nonNil(ev.Deviations) })
		case "attributes":
			return c.once(name, func() any { return words(ev.Attributes) })
		case "signer":
			return types.DefaultTypeAdapter.NativeToValue(signer)
		case "claims":
			return types.DefaultTypeAdapter.NativeToValue(claims)
		case "predicate":
			return c.predicate()
		case "document":
			return c.document()
		}
		return nil
	}
}

// once makes a variable's value when it is first used.
func (c *court) once(name string, value func() any) ref.Val {
	v, ok := c.values[name]
	if !ok {
		v = types.DefaultTypeAdapter.NativeToValue(value())
		c.values[name] = v
	}
	return v
}

func artifacts(all []entry.Subject) []map[string]any {
	out := make([]map[string]any, len(all))
	for i, s := range all {
		out[i] = map[string]any{"name": s.Name, "digest": s.Digest}
	}
	return out
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func words(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
