package policy

import (
	"fmt"
	"regexp"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	celfunctions "cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// A condition is a type-checked CEL expression (https://cel.dev) over the facts
// of a submission.
type condition struct {
	source   string
	weight   int // of its regular expressions
	ast      *ast.AST
	provider types.Provider
	patterns map[int64]*pattern               // by the ID of a call of matches
	bindings map[int64]*celfunctions.Overload // by the ID of a call of a library function
}

// A pattern is a regular expression that can match anywhere in a text.
type pattern struct {
	*regexp.Regexp
	weight int
}

// environment declares the variables of docs/spec/policy.md.
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

// A conditionError is an error at a line of the expression.
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
		e := &conditionError{line: 1, message: "invalid CEL expression"}
		if all := issues.Errors(); len(all) > 0 {
			e.line, e.message = all[0].Location.Line(), fmt.Sprintf("column %d: %s", all[0].Location.Column()+1, all[0].Message)
		}
		return nil, e
	}
	c := &condition{source: source, ast: checked.NativeRep(), provider: env.CELTypeProvider(), patterns: map[int64]*pattern{}, bindings: map[int64]*celfunctions.Overload{}}
	if e := c.prepare(); e != nil {
		return nil, e
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, &conditionError{line: 1, message: fmt.Sprintf("evaluates to type %s: must be true or false", t)}
	}
	return c, nil
}

// bindings has the library's implementations, by the names of overloads and
// functions.
var bindings = sync.OnceValues(func() (map[string]*celfunctions.Overload, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	all := map[string]*celfunctions.Overload{}
	for _, f := range env.Functions() {
		overloads, err := f.Bindings()
		if err != nil {
			return nil, err
		}
		for _, o := range overloads {
			all[o.Operator] = o
		}
	}
	return all, nil
})

// prepare refuses unsupported expressions, compiles the regular expressions and
// looks up the implementations of functions.
func (c *condition) prepare() (e *conditionError) {
	wrong := func(x ast.Expr, format string, args ...any) {
		if at := c.ast.SourceInfo().GetStartLocation(x.ID()); e == nil {
			e = &conditionError{line: at.Line(), message: fmt.Sprintf("column %d: ", at.Column()+1) + fmt.Sprintf(format, args...)}
		}
	}
	bound, err := bindings()
	if err != nil {
		return &conditionError{line: 1, message: err.Error()}
	}
	ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.StructKind, ast.UnspecifiedExprKind:
			wrong(x, "message construction is not supported")
		case ast.CallKind:
			c.prepareCall(x, bound, wrong)
		}
	}))
	return e
}

func (c *condition) prepareCall(x ast.Expr, bound map[string]*celfunctions.Overload, wrong func(ast.Expr, string, ...any)) {
	name := x.AsCall().FunctionName()
	if why := refusal(name); why != "" {
		wrong(x, "%s is not allowed: %s", plainName(name), why)
		return
	}
	if name == "matches" {
		args := x.AsCall().Args()
		literal := args[len(args)-1]
		if literal.Kind() != ast.LiteralKind {
			wrong(literal, "the pattern of matches must be a literal: the cost of a pattern from the evidence has no bound")
			return
		}
		text, _ := literal.AsLiteral().Value().(string)
		weight, err := weigh(text)
		if err == nil {
			p := &pattern{weight: weight}
			p.Regexp, err = regexp.Compile(text)
			c.patterns[x.ID()] = p
		}
		if c.weight += weight; err != nil {
			wrong(x, "%s", err)
		}
		return
	}
	if functions[name].cost == nil {
		return
	}
	var f *celfunctions.Overload
	if ids := c.ast.ReferenceMap()[x.ID()].OverloadIDs; len(ids) == 1 {
		f = bound[ids[0]]
	}
	if f == nil {
		f = bound[name]
	}
	if f == nil {
		wrong(x, "%s is not allowed: it is not implemented", plainName(name))
		return
	}
	c.bindings[x.ID()] = f
}

// holds returns nil if the condition is true, and errFalse if it is false. The
// work is charged to the decision's meter.
func (c *condition) holds(m *meter, names func(string) ref.Val) error {
	e := &evaluation{of: c, names: names, meter: m, left: conditionCost}
	out := e.eval(c.ast.Expr(), nil)
	switch {
	case e.err != nil:
		return e.err
	case types.IsError(out):
		return fmt.Errorf("the condition cannot be evaluated: %s", shorten(out.(*types.Err).Error()))
	case out == types.True:
		return nil
	case out == types.False:
		return errFalse
	default:
		return fmt.Errorf("the condition evaluates to type %s: must be true or false", out.Type().TypeName())
	}
}
