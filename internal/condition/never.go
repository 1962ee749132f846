package condition

import (
	"context"
	"errors"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A Literal is a text that a condition compares with a member of an object.
type Literal struct {
	Value        string
	Line, Column int // from 1
}

// ComparedWith returns the texts that the condition compares with members of
// the name by == or in.
func (c *program) ComparedWith(member string) []Literal {
	var all []Literal
	selects := func(x ast.Expr) bool {
		return x.Kind() == ast.SelectKind && !x.AsSelect().IsTestOnly() && x.AsSelect().FieldName() == member
	}
	add := func(x ast.Expr) {
		if s, ok := literal(x); ok {
			at := c.ast.SourceInfo().GetStartLocation(x.ID())
			all = append(all, Literal{s, at.Line(), at.Column() + 1})
		}
	}
	ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.CallKind || len(x.AsCall().Args()) != 2 {
			return
		}
		left, right := x.AsCall().Args()[0], x.AsCall().Args()[1]
		switch name := x.AsCall().FunctionName(); {
		case name == "_==_" && selects(left):
			add(right)
		case name == "_==_" && selects(right):
			add(left)
		case name == "@in" && selects(left) && right.Kind() == ast.ListKind:
			for _, element := range right.AsList().Elements() {
				add(element)
			}
		}
	}))
	return all
}

func literal(x ast.Expr) (string, bool) {
	if x.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := x.AsLiteral().Value().(string)
	return s, ok
}

// Never returns why the condition cannot be true, given the values of some
// variables, whatever the values of the others are. It returns nil if the
// condition can be true, and if that is hard to tell.
func (c *program) Never(known map[string]any) error {
	read := false
	unknown := types.NewErr("unknown")
	e := &evaluation{of: c, meter: NewMeter(context.Background(), Cost), left: Cost, unknown: unknown, names: func(name string) ref.Val {
		if v, ok := known[name]; ok {
			return Value(v)
		}
		read = true
		return unknown
	}}
	err := e.result(c.ast.Expr())
	if read && !errors.Is(err, ErrFalse) {
		return nil
	}
	return err
}

// maxStates bounds the values of an accumulator that anyOf considers.
const maxStates = 8

// anyOf evaluates a comprehension over a list or map that is not known. Its
// result is unknown, unless it is the same for all lists.
func (e *evaluation) anyOf(x ast.ComprehensionExpr, s *scope) ref.Val {
	states := []ref.Val{e.eval(x.AccuInit(), s)}
	for i := 0; i < len(states); i++ {
		inner := &scope{name: x.IterVar(), value: e.unknown, outer: &scope{name: x.AccuVar(), value: states[i], outer: s}}
		if e.eval(x.LoopCondition(), inner) == types.False {
			continue
		}
		next := e.eval(x.LoopStep(), inner)
		if types.IsError(next) || len(states) == maxStates {
			return e.unknown
		}
		if !e.among(next, states) {
			states = append(states, next)
		}
	}
	var results []ref.Val
	for _, state := range states {
		v := e.eval(x.Result(), &scope{name: x.AccuVar(), value: state, outer: s})
		if types.IsError(v) || len(results) > 0 && !e.among(v, results) {
			return e.unknown
		}
		results = append(results, v)
	}
	return results[0]
}

func (e *evaluation) among(v ref.Val, all []ref.Val) bool {
	for _, other := range all {
		if e.equal(v, other) == types.True {
			return true
		}
	}
	return false
}
