package export

import (
	"errors"
	"fmt"

	"encoding/json"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// Requirements are the JSON of what a tenant requires. Members can be nil.
type Requirements struct {
	Licenses  json.RawMessage // array of texts of licences
	Residency json.RawMessage // object as in use
	Epsilon   json.RawMessage // object with budget, epsilon and delta
}

// Parsed are parsed requirements.
type Parsed struct {
	Licenses  *AllowList
	Residency *Use
	Epsilon   *EpsilonRequirement
}

// ReadRequirements reads a JSON object with the members licenses, residency and
// epsilon, all of them optional. The error is an *Error of the caller.
func ReadRequirements(text []byte) (Parsed, error) {
	if err := strictjson.CheckObject(text); err != nil {
		return Parsed{}, callerError(RequirementMalformed, "%w", err)
	}
	members, err := membersOf(text)
	if err != nil {
		return Parsed{}, callerError(RequirementMalformed, "%w", err)
	}
	var r Requirements
	known := map[string]*json.RawMessage{"licenses": &r.Licenses, "residency": &r.Residency, "epsilon": &r.Epsilon}
	for name, value := range members {
		into, ok := known[name]
		if !ok {
			return Parsed{}, callerError(RequirementMalformed, "unknown member %q", name)
		}
		*into = value
	}
	return ParseRequirements(r)
}

// ParseRequirements reads requirements. The error is an *Error of the caller.
func ParseRequirements(r Requirements) (Parsed, error) {
	var out Parsed
	var err error
	if r.Licenses != nil {
		var texts []string
		if err := strictjson.CheckObject([]byte(`{"licenses":` + string(r.Licenses) + `}`)); err != nil {
			return out, callerError(RequirementMalformed, "licences: %w", err)
		}
		if err := json.Unmarshal(r.Licenses, &texts); err != nil || texts == nil {
			return out, callerError(RequirementMalformed, "licences: not an array of texts")
		}
		if out.Licenses, err = NewAllowList(texts); err != nil {
			return out, err
		}
	}
	if r.Residency != nil {
		reader := &statementReader{m: &Manifest{}}
		err := strictjson.Parse(r.Residency, func(o *strictjson.Object) error { return reader.use(o, &out.Residency) })
		if err == nil {
			err = out.Residency.check()
		}
		if err != nil {
			return out, callerError(RequirementMalformed, "residency: %w", err)
		}
	}
	if r.Epsilon != nil {
		if out.Epsilon, err = parseEpsilon(r.Epsilon); err != nil {
			return out, callerError(RequirementMalformed, "epsilon: %w", err)
		}
	}
	return out, nil
}

func parseEpsilon(text []byte) (*EpsilonRequirement, error) {
	e := &EpsilonRequirement{}
	r := &statementReader{}
	err := strictjson.Parse(text, func(o *strictjson.Object) error {
		e.Budget = o.OptionalString("budget")
		r.decimal(o, "epsilon", &e.Epsilon)
		r.decimal(o, "delta", &e.Delta)
		return nil
	})
	if err == nil {
		err = r.numbers()
	}
	switch {
	case err != nil:
		return nil, err
	case e.Budget != "" && !namePattern.MatchString(e.Budget):
		return nil, fmt.Errorf("budget: %q is not a name", e.Budget)
	case !e.Delta.IsDelta():
		return nil, errors.New("delta: must be greater than 0 and less than 1")
	}
	return e, nil
}
