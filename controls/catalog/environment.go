package catalog

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/internal/condition"
)

// environment declares the variables of conditions, as specified in
// docs/spec/decision.md, section 5. Sets are only checked here, so the
// variables have no values except in tests.
var environment = sync.OnceValues(func() (*condition.Environment[map[string]ref.Val], error) {
	objects := cel.ListType(cel.MapType(cel.StringType, cel.DynType))
	var variables []condition.Variable[map[string]ref.Val]
	for name, t := range map[string]*cel.Type{
		"subject": cel.MapType(cel.StringType, cel.DynType), "stage": cel.StringType, "environment": cel.StringType,
		"now": cel.TimestampType, "parameters": cel.DynType,
		"evidence": objects, "vulnerabilities": objects, "findings": objects,
	} {
		variables = append(variables, condition.Variable[map[string]ref.Val]{Name: name, Type: t, Value: func(values map[string]ref.Val) ref.Val { return values[name] }})
	}
	return condition.New(variables...)
})
