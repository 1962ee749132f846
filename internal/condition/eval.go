package condition

import (
	"fmt"
	"math"
	"math/big"
	"slices"

	"cel.dev/cel-go/common/ast"
	celfunctions "cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// An evaluation evaluates one condition with one set of values.
//
// cel-go's own interpreter counts the cost of a call after the call and checks
// its context only in comprehensions, so one call could take hours. An
// evaluation charges each node and each call to the decision's meter before it
// evaluates it. Values, conversions and most functions are those of cel-go.
type evaluation struct {
	of    *program
	names func(name string) ref.Val // nil if there is no such variable
	meter *Meter
	left  int // remaining units of this evaluation
	// unknown is the value of variables that Never does not know. It is an
	// error value, because their rules are those of unknown operands.
	unknown ref.Val
	err     error // budget spent or context ended; overrides any result
}

// A scope holds the variable of a macro. Its outer scopes are those of the
// enclosing macros.
type scope struct {
	name  string
	value ref.Val
	outer *scope
}

// charge pays for work that is about to be done. It returns an error value if
// that exceeds the budget.
func (e *evaluation) charge(units int) ref.Val {
	if e.err == nil {
		if units > e.left {
			e.err = fmt.Errorf("the condition %w on this evidence: it needs more than %d units of work", ErrBudget, Cost)
		} else {
			e.left -= units
			e.err = e.meter.Charge(units)
		}
	}
	if e.err != nil {
		return types.WrapErr(e.err)
	}
	return nil
}

func (e *evaluation) eval(x ast.Expr, s *scope) ref.Val {
	if err := e.charge(1); err != nil {
		return err
	}
	if r, ok := e.of.ast.ReferenceMap()[x.ID()]; ok && (x.Kind() == ast.IdentKind || x.Kind() == ast.SelectKind) {
		return e.ident(x, r, s)
	}
	switch x.Kind() {
	case ast.LiteralKind:
		return x.AsLiteral()
	case ast.SelectKind:
		return e.selects(x, s)
	case ast.CallKind:
		return e.call(x, s)
	case ast.ListKind:
		return e.list(x.AsList(), s)
	case ast.MapKind:
		return e.mapping(x.AsMap(), s)
	case ast.ComprehensionKind:
		return e.fold(x.AsComprehension(), s)
	}
	return types.NewErr("unsupported expression") // compile refuses it
}

func (e *evaluation) ident(x ast.Expr, r *ast.ReferenceInfo, s *scope) ref.Val {
	if r.Value != nil {
		return r.Value
	}
	for ; s != nil; s = s.outer {
		if s.name == r.Name {
			return s.value
		}
	}
	if t := e.of.ast.GetType(x.ID()); t.Kind() == types.TypeKind {
		if v, ok := e.of.provider.FindIdent(r.Name); ok {
			return v
		}
	}
	if v := e.names(r.Name); v != nil {
		return v
	}
	return types.NewErr("no such variable: %s", r.Name)
}

func (e *evaluation) selects(x ast.Expr, s *scope) ref.Val {
	sel := x.AsSelect()
	operand := e.eval(sel.Operand(), s)
	if types.IsError(operand) {
		return operand
	}
	m, ok := operand.(traits.Mapper)
	if !ok {
		return types.NewErr("no such member: a %s has no member %s", operand.Type().TypeName(), sel.FieldName())
	}
	v, found := m.Find(types.String(sel.FieldName()))
	switch {
	case sel.IsTestOnly():
		return types.Bool(found)
	case !found:
		return types.NewErr("no such key: %s", sel.FieldName())
	}
	return v
}

func (e *evaluation) call(x ast.Expr, s *scope) ref.Val {
	call := x.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case "_&&_":
		return e.logical(args, s, types.False)
	case "_||_":
		return e.logical(args, s, types.True)
	case "_?_:_":
		return e.conditional(args, s)
	case "@not_strictly_false":
		if v := e.eval(args[0], s); v == types.False {
			return types.False
		}
		return types.True
	}
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	values := make([]ref.Val, len(args))
	for i, a := range args {
		if values[i] = e.eval(a, s); types.IsError(values[i]) {
			return values[i]
		}
	}
	f := functions[call.FunctionName()]
	switch {
	case call.FunctionName() == "_[_]":
		return e.index(values[0], values[1])
	case f.own != nil:
		return f.own(e, x.ID(), values)
	case f.cost == nil:
		return types.NewErr("no such function: %s", call.FunctionName()) // compile refuses it
	}
	if err := e.charge(f.cost(values)); err != nil {
		return err
	}
	return invoke(e.of.bindings[x.ID()], values)
}

// invoke calls an implementation of the library.
func invoke(f *celfunctions.Overload, args []ref.Val) ref.Val {
	switch {
	case f == nil || f.OperandTrait != 0 && !args[0].Type().HasTrait(f.OperandTrait):
	case len(args) == 1 && f.Unary != nil:
		return f.Unary(args[0])
	case len(args) == 2 && f.Binary != nil:
		return f.Binary(args[0], args[1])
	case f.Function != nil:
		return f.Function(args...)
	}
	return types.NewErr("no such overload")
}

// logical evaluates && or ||. An operand with the value decides determines the
// result even if the other operand is an error.
func (e *evaluation) logical(args []ast.Expr, s *scope, decides types.Bool) ref.Val {
	var wrong ref.Val
	for _, a := range args {
		v := e.eval(a, s)
		b, ok := v.(types.Bool)
		switch {
		case ok && b == decides:
			return decides
		case !ok && wrong == nil && types.IsError(v):
			wrong = v
		case !ok && wrong == nil:
			wrong = types.MaybeNoSuchOverloadErr(v)
		}
	}
	if wrong != nil {
		return wrong
	}
	return !decides
}

func (e *evaluation) conditional(args []ast.Expr, s *scope) ref.Val {
	switch v := e.eval(args[0], s); {
	case v == types.True:
		return e.eval(args[1], s)
	case v == types.False:
		return e.eval(args[2], s)
	case types.IsError(v):
		return v
	default:
		return types.MaybeNoSuchOverloadErr(v)
	}
}

func (e *evaluation) index(operand, key ref.Val) ref.Val {
	if err := e.charge(Text(length(key))); err != nil {
		return err
	}
	switch of := operand.(type) {
	case traits.Mapper:
		if v, found := of.Find(key); found {
			return v
		}
		return types.NewErr("no such key")
	case traits.Lister:
		return of.Get(key)
	}
	return types.MaybeNoSuchOverloadErr(operand)
}

func (e *evaluation) list(x ast.ListExpr, s *scope) ref.Val {
	values := make([]ref.Val, 0, x.Size())
	for _, element := range x.Elements() {
		v := e.eval(element, s)
		if types.IsError(v) {
			return v
		}
		values = append(values, v)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, values)
}

func (e *evaluation) mapping(x ast.MapExpr, s *scope) ref.Val {
	m := make(map[ref.Val]ref.Val, x.Size())
	for _, entry := range x.Entries() {
		k := e.eval(entry.AsMapEntry().Key(), s)
		if types.IsError(k) {
			return k
		}
		v := e.eval(entry.AsMapEntry().Value(), s)
		if types.IsError(v) {
			return v
		}
		switch k.(type) {
		case types.String, types.Int, types.Uint, types.Bool:
		default:
			return types.NewErr("a %s cannot be a key", k.Type().TypeName())
		}
		if err := e.charge(Text(length(k))); err != nil {
			return err
		}
		if _, twice := m[k]; twice {
			return types.NewErr("duplicate key")
		}
		m[k] = v
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, m)
}

// fold evaluates the comprehension that a macro was expanded to.
func (e *evaluation) fold(x ast.ComprehensionExpr, s *scope) ref.Val {
	over := e.eval(x.IterRange(), s)
	if e.unknown != nil && over == e.unknown {
		return e.anyOf(x, s)
	}
	if types.IsError(over) {
		return over
	}
	elements, err := e.elements(over)
	if err != nil {
		return err
	}
	accu := &scope{name: x.AccuVar(), value: e.eval(x.AccuInit(), s), outer: s}
	if l, ok := accu.value.(traits.Lister); ok && l.Size() == types.IntZero {
		accu.value = types.NewMutableList(types.DefaultTypeAdapter)
	}
	for v := range elements {
		inner := &scope{name: x.IterVar(), value: v, outer: accu}
		if e.eval(x.LoopCondition(), inner) == types.False {
			break
		}
		accu.value = e.eval(x.LoopStep(), inner)
		if e.err != nil {
			return types.WrapErr(e.err)
		}
	}
	result := e.eval(x.Result(), accu)
	if l, ok := result.(traits.MutableLister); ok {
		return l.ToImmutableList()
	}
	return result
}

// elements returns the elements of a list, or the keys of a map in sorted
// order. The order makes the steps of an evaluation deterministic.
func (e *evaluation) elements(over ref.Val) (func(func(ref.Val) bool), ref.Val) {
	switch of := over.(type) {
	case traits.Mapper:
		n := int(of.Size().(types.Int))
		if err := e.charge(4 * n); err != nil {
			return nil, err
		}
		keys := make([]ref.Val, 0, n)
		for it := of.Iterator(); it.HasNext() == types.True; {
			keys = append(keys, it.Next())
		}
		slices.SortFunc(keys, func(a, b ref.Val) int {
			if c, ok := e.compare(a, b).(types.Int); ok {
				return int(c)
			}
			return 0
		})
		return slices.Values(keys), nil
	case traits.Lister:
		return func(yield func(ref.Val) bool) {
			for i := types.Int(0); i < of.Size().(types.Int) && yield(of.Get(i)); i++ {
			}
		}, nil
	}
	return nil, types.MaybeNoSuchOverloadErr(over)
}

// each returns stop if test returns stop for any element. Otherwise it returns
// the first error, or the negation of stop.
func (e *evaluation) each(l traits.Lister, test func(ref.Val) ref.Val, stop types.Bool) ref.Val {
	var wrong ref.Val
	for i := types.Int(0); i < l.Size().(types.Int); i++ {
		if err := e.charge(1); err != nil {
			return err
		}
		v := test(l.Get(i))
		if v == stop {
			return stop
		}
		if types.IsError(v) && wrong == nil {
			wrong = v
		}
	}
	if wrong != nil {
		return wrong
	}
	return !stop
}

func (e *evaluation) in(v ref.Val, l traits.Lister) ref.Val {
	return e.each(l, func(element ref.Val) ref.Val { return e.equal(element, v) }, types.True)
}

// equal compares two values recursively. Numbers of different types are equal
// if they are exactly the same number.
func (e *evaluation) equal(a, b ref.Val) ref.Val {
	if err := e.charge(1); err != nil {
		return err
	}
	if types.IsError(a) {
		return a
	}
	if types.IsError(b) {
		return b
	}
	if isNumber(a) && isNumber(b) {
		c, ok := compareNumbers(a, b)
		return types.Bool(ok && c == 0)
	}
	switch a := a.(type) {
	case traits.Mapper:
		if b, ok := b.(traits.Mapper); ok {
			return e.equalMaps(a, b)
		}
		return types.False
	case traits.Lister:
		b, ok := b.(traits.Lister)
		if !ok || a.Size() != b.Size() {
			return types.False
		}
		for i := types.Int(0); i < a.Size().(types.Int); i++ {
			if v := e.equal(a.Get(i), b.Get(i)); v != types.True {
				return v
			}
		}
		return types.True
	}
	if length(a) == length(b) {
		if err := e.charge(length(a) / bytesPerUnit); err != nil {
			return err
		}
	}
	return types.Equal(a, b)
}

func (e *evaluation) equalMaps(a, b traits.Mapper) ref.Val {
	if a.Size() != b.Size() {
		return types.False
	}
	for it := a.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		if err := e.charge(Text(length(k))); err != nil {
			return err
		}
		other, ok := b.Find(k)
		if !ok {
			return types.False
		}
		own, _ := a.Find(k)
		if v := e.equal(own, other); v != types.True {
			return v
		}
	}
	return types.True
}

// compare returns -1, 0 or 1, or an error.
func (e *evaluation) compare(a, b ref.Val) ref.Val {
	if err := e.charge(Text(min(length(a), length(b)))); err != nil {
		return err
	}
	if isNumber(a) && isNumber(b) {
		c, ok := compareNumbers(a, b)
		if !ok {
			return types.NewErr("NaN cannot be ordered")
		}
		return types.Int(c)
	}
	if c, ok := a.(traits.Comparer); ok && a.Type() == b.Type() {
		return c.Compare(b)
	}
	return types.NewErr("no such overload: a %s and a %s cannot be ordered", a.Type().TypeName(), b.Type().TypeName())
}

func isNumber(v ref.Val) bool {
	switch v.(type) {
	case types.Int, types.Uint, types.Double:
		return true
	}
	return false
}

// compareNumbers compares two numbers exactly, even integers above 2⁵³ with
// doubles. It reports false if one is NaN.
func compareNumbers(a, b ref.Val) (int, bool) {
	x, ok1 := exact(a)
	y, ok2 := exact(b)
	if !ok1 || !ok2 {
		return 0, false
	}
	return x.Cmp(y), true
}

func exact(v ref.Val) (*big.Float, bool) {
	switch n := v.(type) {
	case types.Int:
		return new(big.Float).SetInt64(int64(n)), true
	case types.Uint:
		return new(big.Float).SetUint64(uint64(n)), true
	case types.Double:
		if math.IsNaN(float64(n)) {
			return nil, false
		}
		return big.NewFloat(float64(n)), true
	}
	return nil, false
}
