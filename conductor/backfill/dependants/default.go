package dependants

import (
	"fmt"
	"strings"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// newDefault returns the default of the new column: the up expression with the
// old default in place of the column. It also returns how often it contains the
// old default.
func newDefault(c catalog.Column, target Target) (text string, n int) {
	value := fmt.Sprintf("(%s)::%s", *c.Default, c.Type)
	if strings.HasPrefix(*c.Default, "nextval(") {
		value = *c.Default // a larger type is often the reason for the backfill
	}
	text, n = substitute(target.Up, c.Name, value)
	return fmt.Sprintf("(%s)::%s", text, target.Type), n
}

// columnDefault tries the default of the new column. It is set by the swap:
// with a default, the trigger could not distinguish an INSERT that supplies the
// secondary column from one that supplies NULL for the primary one.
func (p *preparation) columnDefault() error {
	c := p.t.Column
	text, n := newDefault(c, p.target)
	refuse := func(why string) {
		p.plan.Findings = append(p.plan.Findings, catalog.Finding{
			Level: catalog.Blocks, Code: "default", Object: c.Name,
			Text:   "the default of the new column cannot be derived from the old one: " + why,
			Remedy: "drop the default for the time of the backfill, or use an expression of this column alone",
		})
	}
	if c.Volatile && n != 1 {
		refuse(fmt.Sprintf("%s would be evaluated %d times", *c.Default, n))
		return nil
	}
	before := len(p.plan.Findings)
	got, err := p.try("default", c.Name, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s", p.stage, ident(c.Name), text), accepted)
	if err == nil && got == "" {
		why := p.plan.Findings[before].Text
		p.plan.Findings = p.plan.Findings[:before]
		refuse(why)
	}
	return err
}

// nullable refuses a column whose domain does not accept NULL. After cutover,
// every INSERT that does not name the old column would fail before the trigger
// could set it.
func (p *preparation) nullable() error {
	c := p.t.Column
	before := len(p.plan.Findings)
	got, err := p.try("domain", c.Name, fmt.Sprintf("SELECT NULL::%s", c.Type), accepted)
	if err == nil && got == "" {
		f := &p.plan.Findings[before]
		f.Text = fmt.Sprintf("its type %s does not accept NULL, so each INSERT would fail after cutover", c.Type)
		f.Remedy = "change the type of the column to the base type of the domain, with a constraint of the table"
	}
	return err
}

// substitute replaces a column in an SQL expression by a value, and returns the
// number of replacements. It reads tokens only, so it can take another name for
// the column. The result is then refused as a default, because a default
// cannot contain columns and must be complete.
func substitute(expression, column, value string) (string, int) {
	var out strings.Builder
	n := 0
	for rest, last := expression, byte(0); rest != ""; {
		token := nextToken(rest)
		rest = rest[len(token):]
		following := strings.TrimLeft(rest, " \n\t")
		if named(token, column) && last != '.' && last != ':' && !strings.HasPrefix(following, "(") && !strings.HasPrefix(following, ".") {
			out.WriteString("(" + value + ")")
			n++
		} else {
			out.WriteString(token)
		}
		if strings.TrimSpace(token) != "" {
			last = token[len(token)-1]
		}
	}
	return out.String(), n
}

// named reports whether a token is the name of a column.
func named(token, column string) bool {
	return token == ident(column) || strings.ToLower(token) == column && token[0] != '"' && token[0] != '\''
}

// nextToken returns the first token of an SQL expression: a text, a quoted
// identifier, a word, or one other byte.
func nextToken(text string) string {
	switch c := text[0]; {
	case c == '\'' || c == '"':
		return quoted(text, 1, c, false)
	case (c == 'E' || c == 'e') && len(text) > 1 && text[1] == '\'':
		return quoted(text, 2, '\'', true)
	case inWord(c):
		end := 1
		for end < len(text) && (inWord(text[end]) || text[end] == '$') {
			end++
		}
		return text[:end]
	}
	return text[:1]
}

func inWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quoted returns a token up to its closing quote. Doubled quotes are read as
// two tokens, which changes nothing for the result.
func quoted(text string, start int, quote byte, escapes bool) string {
	for i := start; i < len(text); i++ {
		switch {
		case escapes && text[i] == '\\':
			i++
		case text[i] == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return text[:i+1]
		}
	}
	return text
}
