package dependants

import (
	"fmt"
	"strings"

	"muniment.dev/muniment/conductor/backfill/catalog"
)

// definitions tries what is created again at cutover: views, triggers, rules,
// policies and functions. Their statements are changed to use the temporary
// table. Triggers and rules of partitions, and policies and rules of other
// tables, are not tried.
func (p *preparation) definitions() error {
	table := p.t.Ref.Relation()
	local := map[string]string{table: p.stage}
	views := ""
	for _, v := range p.t.Views {
		schema, name := split(v.Relation)
		local[ident(schema, name)] = ident("pg_temp", name)
		views += fmt.Sprintf("CREATE TEMPORARY VIEW %s AS %s;", ident(name), retarget(strings.TrimSuffix(v.Definition, ";"), local))
		if got, err := p.try("view", v.Relation, views, accepted); err != nil || got == "" {
			return err // those that read it would fail, too
		}
	}
	try := func(code, object, definition string) error {
		_, err := p.try(code, object, retarget(definition, local), accepted)
		return err
	}
	for _, g := range p.t.Triggers {
		if g.OnColumn && g.Table == p.t.Identity.OID && g.Name != p.t.Ref.Trigger() {
			if err := try("trigger", g.Name, g.Definition); err != nil {
				return err
			}
		}
	}
	for _, x := range p.t.Policies {
		if x.OnColumn && p.isTable(x.Relation) {
			if err := try("policy", x.Name, "CREATE POLICY tried ON "+p.stage+conditions(x)); err != nil {
				return err
			}
		}
	}
	for _, f := range p.t.Functions {
		name, _, _ := strings.Cut(f.Identity, "(")
		schema, bare := split(name)
		local[ident(schema, bare)] = ident("pg_temp", bare)
		if err := try("function", f.Identity, f.Definition); err != nil {
			return err
		}
	}
	return nil
}

// conditions returns the conditions of a policy.
func conditions(x catalog.Policy) (text string) {
	if x.Using != nil {
		text += " USING (" + *x.Using + ")"
	}
	if x.Check != nil {
		text += " WITH CHECK (" + *x.Check + ")"
	}
	return text
}

// isTable reports whether a qualified name is that of the table.
func (p *preparation) isTable(relation string) bool {
	schema, name := split(relation)
	return schema == p.t.Ref.Schema && name == p.t.Ref.Table
}

// split returns the parts of a qualified name.
func split(qualified string) (schema, name string) {
	first := nextToken(qualified)
	return unquote(first), unquote(strings.TrimPrefix(qualified[len(first):], "."))
}

func unquote(name string) string {
	if !strings.HasPrefix(name, `"`) {
		return name
	}
	return strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
}

// retarget replaces qualified names in a definition. The keys are quoted.
func retarget(definition string, names map[string]string) string {
	var tokens []string
	for rest := definition; rest != ""; {
		token := nextToken(rest)
		tokens, rest = append(tokens, token), rest[len(token):]
	}
	var out strings.Builder
	for i := 0; i < len(tokens); i++ {
		if i+2 < len(tokens) && tokens[i+1] == "." {
			if name, ok := names[ident(unquote(tokens[i]), unquote(tokens[i+2]))]; ok {
				out.WriteString(name)
				i += 2
				continue
			}
		}
		out.WriteString(tokens[i])
	}
	return out.String()
}
