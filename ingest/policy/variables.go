package policy

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
)

// A view is the input of a rule's condition: the evidence, and the proof for
// its signer, or nil.
type view struct {
	*court
	by *proof
}

var (
	artifactsType = cel.ListType(cel.MapType(cel.StringType, cel.DynType))
	textsType     = cel.ListType(cel.StringType)
	wordsType     = cel.MapType(cel.StringType, cel.StringType)
)

// variables lists the variables of conditions, as specified in
// docs/spec/policy.md.
var variables = []condition.Variable[view]{
	{Name: "tenant", Type: cel.StringType, Value: func(v view) ref.Val { return condition.Value(v.ev.Tenant) }},
	{Name: "submitter", Type: cel.StringType, Value: func(v view) ref.Val { return condition.Value(v.ev.Submitter) }},
	{Name: "kind", Type: cel.StringType, Value: func(v view) ref.Val { return condition.Value(v.ev.Kind) }},
	{Name: "media_type", Type: cel.StringType, Value: func(v view) ref.Val { return condition.Value(v.ev.MediaType) }},
	{Name: "predicate_type", Type: cel.StringType, Value: view.predicateType},
	{Name: "size", Type: cel.IntType, Value: func(v view) ref.Val { return condition.Value(v.ev.Size) }},
	{Name: "subjects", Type: artifactsType, Value: view.subjects},
	{Name: "materials", Type: artifactsType, Value: view.materials},
	{Name: "controls", Type: textsType, Value: func(v view) ref.Val { return v.once("controls", func() any { return nonNil(v.ev.Controls) }) }},
	{Name: "attributes", Type: wordsType, Value: func(v view) ref.Val { return v.once("attributes", func() any { return words(v.ev.Attributes) }) }},
	{Name: "signer", Type: wordsType, Value: view.signer},
	{Name: "claims", Type: wordsType, Value: view.claims},
	{Name: "deviations", Type: textsType, Value: func(v view) ref.Val { return v.once("deviations", func() any { return nonNil(v.ev.Deviations) }) }},
	{Name: "predicate", Type: cel.DynType, Cost: condition.CostOfJSON, Value: func(v view) ref.Val { return v.parsed("predicate", v.ev.Predicate) }},
	{Name: "document", Type: cel.DynType, Cost: condition.CostOfJSON, Value: func(v view) ref.Val { return v.parsed("document", v.ev.Document) }},
}

var environment = sync.OnceValues(func() (*condition.Environment[view], error) { return condition.New(variables...) })

func (v view) predicateType() ref.Val {
	if v.ev.Incomplete {
		return errIncomplete("predicate_type")
	}
	return condition.Value(v.ev.PredicateType)
}

func (v view) subjects() ref.Val {
	if v.ev.Incomplete {
		return errIncomplete("subjects")
	}
	return v.once("subjects", func() any { return artifacts(v.ev.Subjects) })
}

func (v view) materials() ref.Val {
	if v.ev.Incomplete || v.ev.MaterialsIncomplete {
		return errIncomplete("materials")
	}
	return v.once("materials", func() any { return artifacts(v.ev.Materials) })
}

func (v view) signer() ref.Val {
	if v.by == nil {
		return condition.Value(map[string]string{})
	}
	var first entry.Signer
	if len(v.by.signers) > 0 {
		first = v.by.signers[0]
	}
	signer := map[string]string{"name": "", "identity": first.Identity, "issuer": first.Issuer, "key_id": first.KeyID}
	if v.by.signer != nil {
		signer["name"] = v.by.signer.Name
	}
	return condition.Value(signer)
}

func (v view) claims() ref.Val {
	if v.by == nil {
		return condition.Value(map[string]string{})
	}
	return condition.Value(words(v.by.claims))
}

// errIncomplete is the value of a variable that other programs could read
// differently. An error counts as met in deny rules, so such a variable cannot
// evade them.
func errIncomplete(name string) ref.Val {
	return condition.Failed("%s cannot be read completely", name)
}

// once computes a variable's value on first use in a decision.
func (c *court) once(name string, value func() any) ref.Val {
	return c.keep(name, func() ref.Val { return condition.Value(value()) })
}

func (c *court) keep(name string, value func() ref.Val) ref.Val {
	v, ok := c.values[name]
	if !ok {
		v = value()
		c.values[name] = v
	}
	return v
}

// parsed parses JSON of the evidence on first use in a decision.
func (c *court) parsed(what string, data []byte) ref.Val {
	return c.keep(what, func() ref.Val {
		switch {
		case what == "predicate" && c.ev.Opaque != nil:
			return condition.Failed("the predicate cannot be read: %v", c.ev.Opaque)
		case c.ev.Unread:
			return condition.Failed("the payload is too large for its %s to be parsed", what)
		}
		return condition.JSON(c.meter, what, data)
	})
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
