package connector

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/internal/safetext"
)

// A piece of a template is literal text, or the name of a value.
type piece struct {
	text string
	name bool
}

var placeholder = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// pieces splits a template at its placeholders, such as {key}.
func pieces(template string) (all []piece, err error) {
	for template != "" {
		literal, rest, open := strings.Cut(template, "{")
		name, after, closed := strings.Cut(rest, "}")
		if strings.Contains(literal, "}") || open && (!closed || !placeholder.MatchString(name)) {
			return nil, errors.New("a brace is not part of a placeholder such as {key}")
		}
		if literal != "" {
			all = append(all, piece{text: literal})
		}
		if open {
			all = append(all, piece{name, true})
		}
		template = after
	}
	return all, nil
}

// A targetPattern matches the names of targets, such as limit/{name}. Each of
// its placeholders stands for one or more characters other than a slash.
type targetPattern struct {
	prefix string // before the first placeholder
	expr   *regexp.Regexp
	names  []string
}

func parsePattern(s string) (*targetPattern, error) {
	all, err := pieces(s)
	if err != nil {
		return nil, err
	}
	p, expr := &targetPattern{}, "^"
	for i, piece := range all {
		switch {
		case !piece.name:
			expr += regexp.QuoteMeta(piece.text)
			if len(p.names) == 0 {
				p.prefix += piece.text
			}
		case i > 0 && all[i-1].name:
			return nil, errors.New("two placeholders without text between them")
		default:
			expr += "([^/]+?)"
			p.names = append(p.names, piece.text)
		}
	}
	p.expr = regexp.MustCompile(expr + "$")
	return p, nil
}

// match returns the values of the placeholders in the name of a target.
func (p *targetPattern) match(target string) (map[string]string, error) {
	found := p.expr.FindStringSubmatch(target)
	if found == nil {
		return nil, fmt.Errorf("target %s does not have the form of the setting target", safetext.Quoted(target))
	}
	values := map[string]string{}
	for i, name := range p.names {
		v := found[i+1]
		if old, again := values[name]; !plainName(v) || again && old != v {
			return nil, fmt.Errorf("target %s does not have the form of the setting target", safetext.Quoted(target))
		}
		values[name] = v
	}
	return values, nil
}

// A pathTemplate is a path, optionally with a query, of a URL. A value cannot
// leave its place: it is escaped as a segment of the path or a value of the
// query.
type pathTemplate struct{ path, query []piece }

func parsePath(s string, pattern *targetPattern) (*pathTemplate, error) {
	path, query, has := strings.Cut(s, "?")
	if u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(s)); err != nil || u.Host != "" || u.Scheme != "" || u.Fragment != "" || !strings.HasPrefix(path, "/") || has && query == "" || strings.Contains(path, "//") || strings.Contains(s, "#") {
		return nil, errors.New("must be the path of a URL, such as /limits/{name}")
	}
	t := &pathTemplate{}
	var err error
	if t.path, err = pieces(path); err == nil {
		t.query, err = pieces(query)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range append(append([]piece{}, t.path...), t.query...) {
		if p.name && !strings.Contains(" "+strings.Join(pattern.names, " ")+" ", " "+p.text+" ") {
			return nil, fmt.Errorf("{%s} is not part of the setting target", p.text)
		}
	}
	return t, nil
}

// render returns the path for the values of a target.
func (t *pathTemplate) render(values map[string]string) string {
	var b strings.Builder
	write := func(all []piece, escape func(string) string) {
		for _, p := range all {
			if p.name {
				b.WriteString(escape(values[p.text]))
			} else {
				b.WriteString(p.text)
			}
		}
	}
	write(t.path, url.PathEscape)
	if len(t.query) > 0 {
		b.WriteByte('?')
		write(t.query, url.QueryEscape)
	}
	return b.String()
}

// A valueTemplate is a JSON value. A string such as {burst:integer} stands for
// the value of a parameter of this type. In other strings, placeholders stand
// for characters of the string. So a value cannot leave its place.
type valueTemplate struct{ literal jsontext.Value }

var typedPlaceholder = regexp.MustCompile(`^\{([a-z][a-z0-9_]{0,63}):(integer|boolean)\}$`)

// walk calls a function with each string of the template that is not a name of
// a member, and returns the value with the results in their places.
func (t *valueTemplate) walk(replace func(s string) (jsontext.Value, error)) (jsontext.Value, error) {
	var b strings.Builder
	enc := jsontext.NewEncoder(&b)
	dec := jsontext.NewDecoder(strings.NewReader(string(t.literal)))
	for {
		if kind, n := dec.StackIndex(dec.StackDepth()); dec.PeekKind() == '"' && !(kind == '{' && n%2 == 0) {
			token, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			v, err := replace(token.String())
			if err != nil {
				return nil, err
			}
			if err := enc.WriteValue(v); err != nil {
				return nil, err
			}
		} else {
			token, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			if err := enc.WriteToken(token); err != nil {
				return nil, err
			}
		}
		if dec.StackDepth() == 0 {
			v := jsontext.Value(b.String())
			return v, v.Compact()
		}
	}
}

// parameters returns the names and the types of the parameters.
func (t *valueTemplate) parameters() (map[string]string, error) {
	all := map[string]string{}
	_, err := t.walk(func(s string) (jsontext.Value, error) {
		if m := typedPlaceholder.FindStringSubmatch(s); m != nil {
			all[m[1]] = m[2]
			return jsontext.Value("0"), nil
		}
		found, err := pieces(s)
		for _, p := range found {
			if p.name {
				all[p.text] = action.String
			}
		}
		return jsontext.Value("0"), err
	})
	return all, err
}

// render returns the value with the values of parameters.
func (t *valueTemplate) render(parameters map[string]string) (jsontext.Value, error) {
	return t.walk(func(s string) (jsontext.Value, error) {
		if m := typedPlaceholder.FindStringSubmatch(s); m != nil {
			kind := jsontext.Kind('0')
			if m[2] == action.Boolean {
				kind = 't'
			}
			v, err := typed(kind, parameters[m[1]])
			if err != nil {
				return nil, fmt.Errorf("parameter %s: %w", m[1], err)
			}
			return v, nil
		}
		all, err := pieces(s)
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		for _, p := range all {
			if !p.name {
				b.WriteString(p.text)
				continue
			}
			v, ok := parameters[p.text]
			if !ok {
				return nil, fmt.Errorf("the parameter %s is missing", p.text)
			}
			b.WriteString(v)
		}
		return jsontext.AppendQuote(nil, b.String())
	})
}
