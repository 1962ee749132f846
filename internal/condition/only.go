package condition

import (
	"slices"

	"cel.dev/cel-go/common/ast"
)

// Only returns texts of which a string variable must be one for the condition
// to be anything but false. It reports whether the condition has this form:
// a comparison with == or in, alone, as an operand of &&, or as both of ||.
func (c *Condition[T]) Only(variable string) (texts []string, ok bool) {
	return only(c.ast.Expr(), variable)
}

func only(x ast.Expr, variable string) ([]string, bool) {
	if x.Kind() != ast.CallKind {
		return nil, false
	}
	call := x.AsCall()
	args := call.Args()
	if len(args) != 2 {
		return nil, false
	}
	left, right := args[0], args[1]
	switch call.FunctionName() {
	case "_==_":
		if names(right, variable) {
			left, right = right, left
		}
		text, isText := literal(right)
		return []string{text}, isText && names(left, variable)
	case "@in":
		if !names(left, variable) || right.Kind() != ast.ListKind {
			return nil, false
		}
		var texts []string
		for _, e := range right.AsList().Elements() {
			text, ok := literal(e)
			if !ok {
				return nil, false
			}
			texts = append(texts, text)
		}
		return texts, true
	case "_&&_":
		// An operand that is false decides alone.
		if texts, ok := only(left, variable); ok {
			return texts, true
		}
		return only(right, variable)
	case "_||_":
		a, ok := only(left, variable)
		b, also := only(right, variable)
		return slices.Concat(a, b), ok && also
	}
	return nil, false
}

func names(x ast.Expr, variable string) bool {
	return x.Kind() == ast.IdentKind && x.AsIdent() == variable
}
