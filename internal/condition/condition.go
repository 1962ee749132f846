// Package condition evaluates the conditions of policies and controls within
// bounds.
//
// A condition is a CEL expression (https://cel.dev). The functions, their costs
// and the values are those of docs/conditions.md. Packages that have
// conditions declare the variables.
package condition

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	celfunctions "cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// MaxText is the size limit of a condition in bytes.
const MaxText = 64 << 10

// A Variable is a name that conditions can refer to. T holds the values of one
// evaluation.
type Variable[T any] struct {
	Name string
	Type *cel.Type

	// Cost is what the first use costs, for docs/conditions.md. "" means
	// nothing besides the unit of the node. Value charges it.
	Cost string
	// Value is called for each use, so it keeps what is costly to compute.
	Value func(T) ref.Val
}

// An Environment compiles conditions over its variables. Goroutines can share
// it.
type Environment[T any] struct {
	env       *cel.Env
	bindings  map[string]*celfunctions.Overload // by the names of overloads and functions
	variables map[string]Variable[T]
}

// New returns the environment with these variables.
func New[T any](variables ...Variable[T]) (*Environment[T], error) {
	e := &Environment[T]{bindings: map[string]*celfunctions.Overload{}, variables: map[string]Variable[T]{}}
	options := []cel.EnvOption{
		ext.Strings(), ext.Sets(),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxText), cel.ParserRecursionLimit(200),
	}
	for _, v := range variables {
		if _, twice := e.variables[v.Name]; twice || v.Value == nil {
			return nil, fmt.Errorf("variable %s: declared twice, or without a value", v.Name)
		}
		e.variables[v.Name] = v
		options = append(options, cel.Variable(v.Name, v.Type))
	}
	var err error
	if e.env, err = cel.NewEnv(options...); err != nil {
		return nil, err
	}
	for _, f := range e.env.Functions() {
		overloads, err := f.Bindings()
		if err != nil {
			return nil, err
		}
		for _, o := range overloads {
			e.bindings[o.Operator] = o
		}
	}
	return e, nil
}

// A Condition is a compiled condition.
type Condition[T any] struct {
	program
	variables map[string]Variable[T]
}

// A program is a type-checked expression.
type program struct {
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

// An Error is an error at one place of an expression.
type Error struct {
	Line    int // from 1
	Column  int // from 1; 0 if the error is not at a certain column
	Message string
}

func (e *Error) Error() string {
	if e.Column == 0 {
		return e.Message
	}
	return fmt.Sprintf("column %d: %s", e.Column, e.Message)
}

// Compile compiles a condition. The error is an *Error.
func (e *Environment[T]) Compile(source string) (*Condition[T], error) {
	checked, issues := e.env.Compile(source)
	if issues.Err() != nil {
		wrong := &Error{Line: 1, Message: "invalid CEL expression"}
		if all := issues.Errors(); len(all) > 0 {
			wrong = &Error{all[0].Location.Line(), all[0].Location.Column() + 1, all[0].Message}
		}
		return nil, wrong
	}
	c := &Condition[T]{variables: e.variables, program: program{
		ast: checked.NativeRep(), provider: e.env.CELTypeProvider(),
		patterns: map[int64]*pattern{}, bindings: map[int64]*celfunctions.Overload{},
	}}
	if wrong := c.prepare(e.bindings, []rune(source)); wrong != nil {
		return nil, wrong
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, &Error{Line: 1, Message: fmt.Sprintf("evaluates to type %s: must be true or false", t)}
	}
	return c, nil
}

// Weight returns the total weight of the condition's regular expressions.
func (c *Condition[T]) Weight() int { return c.weight }

// prepare refuses unsupported expressions, compiles the regular expressions and
// looks up the implementations of functions.
func (c *program) prepare(bound map[string]*celfunctions.Overload, source []rune) (e *Error) {
	wrong := func(x ast.Expr, format string, args ...any) {
		if at := c.ast.SourceInfo().GetStartLocation(x.ID()); e == nil {
			e = &Error{at.Line(), at.Column() + 1, fmt.Sprintf(format, args...)}
		}
	}
	ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.StructKind, ast.UnspecifiedExprKind:
			wrong(x, "message construction is not supported")
		case ast.CallKind:
			c.prepareCall(x, bound, wrong)
		case ast.LiteralKind:
			c.checkLiteral(x, source, wrong)
		}
	}))
	return e
}

func (c *program) prepareCall(x ast.Expr, bound map[string]*celfunctions.Overload, wrong func(ast.Expr, string, ...any)) {
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

// ErrFalse reports that a condition is false. Any other error reports that it
// cannot be evaluated.
var ErrFalse = errors.New("the condition does not hold")

// Holds returns nil if the condition is true for the values, and ErrFalse if it
// is false. The work is charged to the decision's meter.
func (c *Condition[T]) Holds(m *Meter, of T) error {
	return c.holds(m, func(name string) ref.Val {
		if v, ok := c.variables[name]; ok {
			return v.Value(of)
		}
		return nil
	})
}

func (c *program) holds(m *Meter, names func(string) ref.Val) error {
	e := &evaluation{of: c, names: names, meter: m, left: Cost}
	return e.result(c.ast.Expr())
}

// result evaluates the whole condition.
func (e *evaluation) result(x ast.Expr) error {
	out := e.eval(x, nil)
	switch {
	case e.err != nil:
		return e.err
	case types.IsError(out):
		wrong := out.(*types.Err)
		return &unevaluable{"the condition cannot be evaluated: " + Shorten(wrong.Error()), wrong.Unwrap()}
	case out == types.True:
		return nil
	case out == types.False:
		return ErrFalse
	default:
		return fmt.Errorf("the condition evaluates to type %s: must be true or false", out.Type().TypeName())
	}
}

// An unevaluable condition is an error value. The cause is what Failed wrapped.
type unevaluable struct {
	text  string
	cause error
}

func (e *unevaluable) Error() string { return e.text }

func (e *unevaluable) Unwrap() error { return e.cause }

// Reads reports whether the condition names the variable. A variable of a macro
// with the same name counts, too.
func (c *Condition[T]) Reads(variable string) bool {
	for _, r := range c.ast.ReferenceMap() {
		if r.Name == variable && r.Value == nil && len(r.OverloadIDs) == 0 {
			return true
		}
	}
	return false
}

// maxReason is the size limit of a reason, in bytes.
const maxReason = 512

// Shorten returns a reason on one line, cut to a bounded size.
func Shorten(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
