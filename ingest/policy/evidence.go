package policy

import (
	"context"
	"runtime"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/evidence"
)

// Evidence is a parsed submission for a policy to decide about.
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
	Document  []byte // the payload, if it is JSON; nil otherwise
	// Unread is set if the payload is too large to be parsed. Predicate and
	// Document are nil then.
	Unread     bool
	Deviations []string // from the definition of the payload's type
	// Conforms is set if the payload was checked against the definition of its
	// type and has no deviations.
	Conforms bool
	// Opaque is why a signed payload that is declared to be a statement cannot
	// be read. Nil: it can.
	Opaque error
	// Incomplete is set if the predicate type or some of the subjects cannot be
	// read. It is always set if Opaque is.
	Incomplete bool
	// MaterialsIncomplete is set if Materials lacks some, because there are too
	// many or because the predicate cannot be read.
	MaterialsIncomplete bool

	Signed evidence.Signed // nil: no signatures
}

// maxParsed is the size limit in bytes of JSON that conditions can read.
// Parsing takes many times as much memory.
const maxParsed = 2 << 20

// smallJSON is the size in bytes up to which JSON is parsed without a slot for
// large documents.
const smallJSON = 64 << 10

// Slots limit concurrent decisions. A tenant gets at most half of them, however
// many policies it has had, so other tenants always find one.
var (
	deciding = newSlots(max(4, runtime.GOMAXPROCS(0))) // all decisions
	parsing  = newSlots(4)                             // decisions that hold large parsed documents
)

// hold waits for the slots that a decision needs, and returns the function that
// releases them.
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

// variables returns the function that resolves a condition's variables. Costly
// values are computed on first use, once for each decision.
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
			if ev.Incomplete {
				return errIncomplete(name)
			}
			return types.String(ev.PredicateType)
		case "size":
			return types.Int(ev.Size)
		case "subjects":
			if ev.Incomplete {
				return errIncomplete(name)
			}
			return c.once(name, func() any { return artifacts(ev.Subjects) })
		case "materials":
			if ev.Incomplete || ev.MaterialsIncomplete {
				return errIncomplete(name)
			}
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

// errIncomplete is the value of a variable that other programs could read
// differently. It keeps rules that deny from being evaded, because an error
// counts as met in them.
func errIncomplete(name string) ref.Val {
	return types.NewErr("%s cannot be read completely", name)
}

// once computes a variable's value on first use.
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
