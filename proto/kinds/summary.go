package kinds

import "strings"

// Summary returns one line about an entry of the kind, made of the attributes
// and controls of its header, or "" if the kind has no summary of its own. The
// result is untrusted text.
func (k *Kind) Summary(attributes map[string]string, controls []string) string {
	var out strings.Builder
	rest := k.Template
	for rest != "" {
		plain, group, ok := strings.Cut(rest, "[")
		text, _ := fill(plain, attributes, controls)
		out.WriteString(text)
		if !ok {
			break
		}
		group, rest, _ = strings.Cut(group, "]")
		if text, complete := fill(group, attributes, controls); complete {
			out.WriteString(text)
		}
	}
	return out.String()
}

// fill replaces the placeholders of a template. It reports whether all of them
// have a value.
func fill(template string, attributes map[string]string, controls []string) (text string, complete bool) {
	var out strings.Builder
	complete = true
	for {
		plain, rest, ok := strings.Cut(template, "{")
		out.WriteString(plain)
		if !ok {
			return out.String(), complete
		}
		name, after, _ := strings.Cut(rest, "}")
		value := placeholder(name, attributes, controls)
		complete = complete && value != ""
		out.WriteString(value)
		template = after
	}
}

func placeholder(name string, attributes map[string]string, controls []string) string {
	name, form, _ := strings.Cut(name, "|")
	if name == "controls" {
		return strings.Join(controls, ", ")
	}
	value := attributes[name]
	if form == "day" {
		value, _, _ = strings.Cut(value, "T")
	}
	return value
}
