package policy

import (
	"slices"
	"sync"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json"

	"muniment.dev/muniment/ledger/receipt"
)

// Evidence is what a policy decides about.
type Evidence struct {
	Tenant        string
	Submitter     string
	Kind          string
	MediaType     string
	PredicateType string
	Size          int
	Subjects      []receipt.Subject
	Materials     []receipt.Subject
	Controls      []string
	Attributes    map[string]string

	Predicate  []byte   // JSON of the statement's predicate; nil if there is no statement
	Document   []byte   // JSON of the payload; nil if it is none
	Unread     bool     // the payload is too large for anybody to say what is in it; Predicate and Document are nil
	Deviations []string // where the payload is not as its type requires
	Conforms   bool     // the payload was compared with the definition of its type, and there are no deviations
	Opaque     error    // why the payload that is signed can't be read, though its type is that of statements; nil if it can
	Incomplete bool     // not all subjects, or not the predicate type, can be read; true if Opaque is not nil

	Signed Signed // nil: nothing that has signatures
}

// maxParsed is the largest JSON that conditions look into, in bytes: parsed, it takes many times as much memory.
const maxParsed = 2 << 20

// parsing bounds how many decisions that may hold parsed documents are made at once. Half of the places are for other policies.
var parsing = make(chan struct{}, 2*parsingOne)

// parsingOne bounds those by one policy, whose conditions may be slow.
const parsingOne = 2

// smallJSON is what may be parsed without counting.
const smallJSON = 64 << 10

// hold waits until the evidence may be parsed, and returns what is to be called when it is parsed no longer.
func (p *Policy) hold(ev *Evidence) func() {
	if len(ev.Predicate)+len(ev.Document) <= smallJSON || !slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Condition != nil }) {
		return func() {}
	}
	p.parsing <- struct{}{}
	parsing <- struct{}{}
	return func() { <-parsing; <-p.parsing }
}

// variables are the names that a condition may use. What is costly to make is made when it is used, once.
func (c *court) variables(by *proof) map[string]any {
	ev := c.ev
	v := map[string]any{
		"tenant": ev.Tenant, "submitter": ev.Submitter, "kind": ev.Kind, "media_type": ev.MediaType, "predicate_type": ev.PredicateType, "size": ev.Size,
		"subjects": artifacts(ev.Subjects), "materials": artifacts(ev.Materials), "controls": nonNil(ev.Controls), "attributes": words(ev.Attributes),
		"signer": map[string]string{}, "claims": map[string]string{}, "deviations": nonNil(ev.Deviations), "predicate": c.predicate, "document": c.document,
	}
	if by == nil {
		return v
	}
	var name string
	if by.signer != nil {
		name = by.signer.Name
	}
	var first receipt.Signer
	if len(by.signers) > 0 {
		first = by.signers[0]
	}
	v["signer"] = map[string]string{"name": name, "identity": first.Identity, "issuer": first.Issuer, "key_id": first.KeyID}
	v["claims"] = words(by.claims)
	return v
}

func artifacts(all []receipt.Subject) []map[string]any {
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

// lazily parses JSON when it is asked for. There may be none, which is null.
func lazily(what string, data []byte, unread bool) func() ref.Val {
	return sync.OnceValue(func() ref.Val {
		switch {
		case unread:
			return types.NewErr("the payload is too large for its %s to be looked into", what)
		case data == nil:
			return types.NullValue
		case len(data) > maxParsed:
			return types.NewErr("the %s has %d bytes, and no more than %d are looked into", what, len(data), maxParsed)
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			return types.NewErr("the %s is not JSON: %v", what, err)
		}
		return types.DefaultTypeAdapter.NativeToValue(v)
	})
}
