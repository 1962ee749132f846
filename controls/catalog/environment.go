package catalog

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/internal/condition"
)

// environment declares the variables of conditions, as specified in
// docs/spec/decision.md, section 5. They have no values here.
var environment = sync.OnceValues(func() (*condition.Environment[struct{}], error) {
	objects := cel.ListType(cel.MapType(cel.StringType, cel.DynType))
	var variables []condition.Variable[struct{}]
	for name, t := range map[string]*cel.Type{
		"subject": cel.MapType(cel.StringType, cel.DynType), "stage": cel.StringType, "environment": cel.StringType,
		"now": cel.TimestampType, "parameters": cel.DynType,
		"evidence": objects, "vulnerabilities": objects, "findings": objects,
	} {
		variables = append(variables, condition.Variable[struct{}]{Name: name, Type: t, Value: func(struct{}) ref.Val { return nil }})
	}
	return condition.New(variables...)
})
