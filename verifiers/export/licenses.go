package export

import (
	"fmt"
	"strings"
)

const (
	maxExpression = 1024 // bytes
	maxNesting    = 16   // parentheses
)

// An expression is a parsed SPDX expression: an atom, or an operator with two
// or more operands.
type expression struct {
	operator string // AND, OR or "" for an atom
	operands []*expression

	license   string // text of the licence, with + or its LicenseRef
	exception string // "": none
}

// parseExpression reads an SPDX expression by the grammar of
// docs/spec/export-manifest.md, section 4.
func parseExpression(s string) (*expression, error) {
	p := &expressionParser{rest: s}
	e, err := p.expression(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	if err != nil {
		return nil, fail(LicenseMalformed, "licence %q: %w", s, err)
	}
	return e, nil
}

type expressionParser struct{ rest string }

func (p *expressionParser) expression(depth int) (*expression, error) {
	return p.list("OR", func() (*expression, error) {
		return p.list("AND", func() (*expression, error) { return p.factor(depth) })
	})
}

// list reads operands that an operator joins.
func (p *expressionParser) list(operator string, operand func() (*expression, error)) (*expression, error) {
	first, err := operand()
	if err != nil {
		return nil, err
	}
	e := &expression{operator: operator, operands: []*expression{first}}
	for p.operator(operator) {
		next, err := operand()
		if err != nil {
			return nil, err
		}
		e.operands = append(e.operands, next)
	}
	if len(e.operands) == 1 {
		return first, nil
	}
	return e, nil
}

// operator skips an operator with spaces around it, if one follows.
func (p *expressionParser) operator(name string) bool {
	rest := strings.TrimLeft(p.rest, " ")
	after, ok := strings.CutPrefix(rest, name)
	if !ok || len(rest) == len(p.rest) || !strings.HasPrefix(after, " ") {
		return false
	}
	p.rest = strings.TrimLeft(after, " ")
	return true
}

func (p *expressionParser) factor(depth int) (*expression, error) {
	inner, ok := strings.CutPrefix(p.rest, "(")
	if !ok {
		return p.atom()
	}
	if depth == maxNesting {
		return nil, fmt.Errorf("more than %d parentheses within each other", maxNesting)
	}
	p.rest = strings.TrimLeft(inner, " ")
	e, err := p.expression(depth + 1)
	if err != nil {
		return nil, err
	}
	if p.rest, ok = strings.CutPrefix(strings.TrimLeft(p.rest, " "), ")"); !ok {
		return nil, fmt.Errorf("a parenthesis is not closed")
	}
	return e, nil
}

func (p *expressionParser) atom() (*expression, error) {
	e := &expression{}
	var err error
	if e.license, err = p.license(); err == nil && p.operator("WITH") {
		e.exception, err = p.idstring()
	}
	return e, err
}

func (p *expressionParser) license() (string, error) {
	id, err := p.idstring()
	switch {
	case err != nil:
		return "", err
	case strings.HasPrefix(id, "DocumentRef-"):
		rest, ok := strings.CutPrefix(p.rest, ":")
		if !ok || id == "DocumentRef-" {
			return "", fmt.Errorf("%q is not followed by a LicenseRef", id)
		}
		p.rest = rest
		ref, err := p.idstring()
		if err == nil && !isLicenseRef(ref) {
			err = fmt.Errorf("%q is not a LicenseRef", ref)
		}
		return id + ":" + ref, err
	case strings.HasPrefix(id, "LicenseRef-"):
		if !isLicenseRef(id) {
			return "", fmt.Errorf("%q is not a LicenseRef", id)
		}
		return id, nil
	}
	if rest, ok := strings.CutPrefix(p.rest, "+"); ok {
		p.rest = rest
		id += "+"
	}
	return id, nil
}

func isLicenseRef(s string) bool { return strings.HasPrefix(s, "LicenseRef-") && s != "LicenseRef-" }

func (p *expressionParser) idstring() (string, error) {
	n := 0
	for n < len(p.rest) && isIDByte(p.rest[n]) {
		n++
	}
	id := p.rest[:n]
	switch id {
	case "":
		return "", fmt.Errorf("a licence is missing before %q", p.rest)
	case "AND", "OR", "WITH":
		return "", fmt.Errorf("%s is an operator", id)
	}
	p.rest = p.rest[n:]
	return id, nil
}

func isIDByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.'
}

// known returns an error unless all parts of the expression are known.
func (e *expression) known() error {
	for _, one := range e.operands {
		if err := one.known(); err != nil {
			return err
		}
	}
	if e.operator != "" {
		return nil
	}
	t := spdxTable()
	id := strings.TrimSuffix(e.license, "+")
	switch {
	case !strings.HasPrefix(id, "LicenseRef-") && !strings.HasPrefix(id, "DocumentRef-") && !t.licenses[id]:
		return fail(LicenseUnknown, "%q is not a licence of the SPDX list %s: for a licence of your own use LicenseRef-…", e.license, t.version)
	case e.exception != "" && !t.exceptions[e.exception]:
		return fail(LicenseUnknown, "%q is not an exception of the SPDX list %s", e.exception, t.version)
	}
	return nil
}

// text returns the text of an atom.
func (e *expression) text() string {
	if e.exception == "" {
		return e.license
	}
	return e.license + " WITH " + e.exception
}

// allowed reports whether the allow-list admits the expression.
func (e *expression) allowed(list map[string]bool) bool {
	switch e.operator {
	case "AND":
		for _, one := range e.operands {
			if !one.allowed(list) {
				return false
			}
		}
		return true
	case "OR":
		for _, one := range e.operands {
			if one.allowed(list) {
				return true
			}
		}
		return false
	}
	return list[e.text()]
}

// An AllowList is a tenant's list of licences.
type AllowList struct {
	texts   []string
	allowed map[string]bool
}

// NewAllowList returns the list of the texts of atoms. The error is an *Error
// of the caller.
func NewAllowList(texts []string) (*AllowList, error) {
	l := &AllowList{texts: texts, allowed: map[string]bool{}}
	for _, s := range texts {
		e, err := parseExpression(s)
		if err == nil {
			err = e.known()
		}
		if err == nil && (e.operator != "" || e.text() != s) {
			err = fmt.Errorf("%q is not a single licence", s)
		}
		if err != nil {
			return nil, callerError(RequirementMalformed, "licences: %w", err)
		}
		l.allowed[s] = true
	}
	return l, nil
}

// Decide returns nil if the list admits an SPDX expression, or an *Error. A
// nil list admits all that are well-formed and known.
func (l *AllowList) Decide(expression string) error {
	e, err := parseExpression(expression)
	if err == nil {
		err = e.known()
	}
	if err == nil && l != nil && !e.allowed(l.allowed) {
		err = fail(LicenseNotAllowed, "licence %q is not allowed", expression)
	}
	return at(stepLicences, err)
}
