package condition

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// maxExact is the smallest double that integers around it can be rounded to.
const maxExact = 1 << 53

// isExact reports whether the double is the number in the text, or too small
// for integers to be rounded to it.
func isExact(f float64, text string) bool {
	if math.Abs(f) < maxExact || math.IsInf(f, 0) || math.IsNaN(f) {
		return true
	}
	exact, ok := new(big.Rat).SetString(text)
	return ok && exact.Cmp(new(big.Rat).SetFloat64(f)) == 0
}

// checkLiteral refuses a double in the source of a condition that is rounded.
// The rounded number could equal a value that differs from the written one.
func (c *program) checkLiteral(x ast.Expr, source []rune, wrong func(ast.Expr, string, ...any)) {
	f, ok := x.AsLiteral().(types.Double)
	at, known := c.ast.SourceInfo().GetOffsetRange(x.ID())
	if !ok || !known || int(at.Start) >= len(source) {
		return
	}
	text := string(source[at.Start:])
	digits := strings.TrimLeft(text, "-+")
	end := strings.IndexFunc(digits, func(r rune) bool { return !strings.ContainsRune("0123456789.eE+-", r) })
	if end < 0 {
		end = len(digits)
	}
	// What follows the exponent may be an operator.
	for ; end > 0; end-- {
		if _, ok := new(big.Float).SetString(digits[:end]); ok {
			break
		}
	}
	if number := digits[:end]; !isExact(math.Abs(float64(f)), number) {
		wrong(x, "%s has no exact double, and would be compared as %.0f: use an integer, or a number that has one", number, math.Abs(float64(f)))
	}
}

// ownDouble converts to a double. A large number without an exact double is an
// error, as it is in documents.
func ownDouble(e *evaluation, _ int64, args []ref.Val) ref.Val {
	if err := e.charge(linear(args)); err != nil {
		return err
	}
	out := args[0].ConvertToType(types.DoubleType)
	f, ok := out.(types.Double)
	if !ok {
		return out
	}
	text := ""
	switch v := args[0].(type) {
	case types.Int, types.Uint:
		text = fmt.Sprint(v.Value())
	case types.String:
		text = string(v)
	default:
		return out
	}
	if !isExact(float64(f), text) {
		return types.NewErr("a large number without an exact double cannot be compared")
	}
	return out
}
