package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// Bounds of one evaluation of a condition, and of all of one decision.
const (
	conditionCost = 1_000_000
	conditionTime = 250 * time.Millisecond
	decisionTime  = time.Second
)

// A condition is a CEL expression (https://cel.dev) over the facts of a submission.
type condition struct {
	source  string
	program cel.Program
	weight  int // of its regular expressions
}

// environment has the variables of docs/spec/policy.md.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	artifacts := cel.ListType(cel.MapType(cel.StringType, cel.DynType))
	words := cel.MapType(cel.StringType, cel.StringType)
	return cel.NewEnv(
		cel.Variable("tenant", cel.StringType),
		cel.Variable("submitter", cel.StringType),
		cel.Variable("kind", cel.StringType),
		cel.Variable("media_type", cel.StringType),
		cel.Variable("predicate_type", cel.StringType),
		cel.Variable("size", cel.IntType),
		cel.Variable("subjects", artifacts),
		cel.Variable("materials", artifacts),
		cel.Variable("controls", cel.ListType(cel.StringType)),
		cel.Variable("attributes", words),
		cel.Variable("signer", words),
		cel.Variable("claims", words),
		cel.Variable("deviations", cel.ListType(cel.StringType)),
		cel.Variable("predicate", cel.DynType),
		cel.Variable("document", cel.DynType),
		ext.Strings(), ext.Sets(),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.ParserExpressionSizeLimit(maxText), cel.ParserRecursionLimit(200),
	)
})

// A conditionError says on which line of the expression something is wrong.
type conditionError struct {
	line    int // from 1
	message string
}

func (e *conditionError) Error() string { return e.message }

func compile(source string) (*condition, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		e := &conditionError{line: 1, message: "not CEL"}
		if all := issues.Errors(); len(all) > 0 {
			e.line, e.message = all[0].Location.Line(), fmt.Sprintf("column %d: %s", all[0].Location.Column()+1, all[0].Message)
		}
		return nil, e
	}
	weight, e := checkCalls(checked.NativeRep())
	if e != nil {
		return nil, e
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, &conditionError{line: 1, message: fmt.Sprintf("it gives a %s, not true or false", t)}
	}
	program, err := env.Program(checked, cel.CostLimit(conditionCost), cel.InterruptCheckFrequency(64), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &conditionError{line: 1, message: err.Error()}
	}
	return &condition{source, program, weight}, nil
}

// multiplying are the string functions whose result may be as long as their arguments' lengths multiplied. Their cost is known only when it has been
// paid: one call on evidence of a megabyte would take a terabyte.
var multiplying = []string{"replace", "join", "format"}

// checkCalls returns the weight of the expression's regular expressions, and an error if one is too large or a call has a result without a bound.
func checkCalls(a *ast.AST) (weight int, e *conditionError) {
	wrong := func(x ast.Expr, format string, args ...any) {
		if at := a.SourceInfo().GetStartLocation(x.ID()); e == nil {
			e = &conditionError{line: at.Line(), message: fmt.Sprintf("column %d: ", at.Column()+1) + fmt.Sprintf(format, args...)}
		}
	}
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.CallKind {
			return
		}
		name := x.AsCall().FunctionName()
		if slices.Contains(multiplying, name) {
			wrong(x, "%s is not allowed, because what it makes has no bound; compare the parts", name)
		}
		if args := x.AsCall().Args(); name == "matches" && len(args) > 0 && args[len(args)-1].Kind() == ast.LiteralKind {
			pattern, _ := args[len(args)-1].AsLiteral().Value().(string)
			n, err := weigh(pattern)
			if weight += n; err != nil {
				wrong(x, "%s", err)
			}
		}
	}))
	return weight, e
}

// errFalse says that a condition does not hold. Any other error says that it can't be evaluated.
var errFalse = errors.New("the condition does not hold")

// holds evaluates the condition.
func (c *condition) holds(ctx context.Context, variables map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, conditionTime)
	defer cancel()
	out, _, err := c.program.ContextEval(ctx, variables)
	switch {
	case err != nil && (ctx.Err() != nil || strings.Contains(err.Error(), "interrupted")):
		return fmt.Errorf("the condition takes more than %s, or those before it have taken most of %s", conditionTime, decisionTime)
	case err != nil && strings.Contains(err.Error(), "cost limit"):
		return errors.New("the condition costs too much to evaluate on evidence of this size")
	case err != nil:
		return fmt.Errorf("the condition can't be evaluated: %w", err)
	case out == types.True:
		return nil
	case out == types.False:
		return errFalse
	default:
		return fmt.Errorf("the condition gives a %s, not true or false", out.Type().TypeName())
	}
}
