package kinds

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// walk calls visit for each field that appears in the header.
func walk(fields []field, visit func(field)) {
	for _, f := range fields {
		visit(f)
		walk(f.fields, visit)
	}
}

// TestTable checks that the options of the messages are complete and
// consistent.
func TestTable(t *testing.T) {
	if len(All()) != 18 {
		t.Errorf("%d kinds, want 18", len(All()))
	}
	placeholder := regexp.MustCompile(`\{(\w+)(\|day)?\}`)
	orders := map[uint32]string{}
	for _, k := range All() {
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(k.Name) {
			t.Errorf("%s: not lower case with hyphens", k.Name)
		}
		if message := strings.ToLower(string(k.message.Descriptor().Name())); message != strings.ReplaceAll(k.Name, "-", "") {
			t.Errorf("%s: its message is %s", k.Name, message)
		}
		if k.Class == 0 || k.Title == "" || k.Description == "" {
			t.Errorf("%s: lacks class, title or description", k.Name)
		}
		if !slices.Contains([]munimentv1.Role{0, munimentv1.Role_ROLE_APPENDER, munimentv1.Role_ROLE_APPROVER}, k.Author) {
			t.Errorf("%s: entries cannot be appended by %s", k.Name, k.Author)
		}
		if slices.Contains(k.OtherAuthors, k.Author) || k.ByServer() && len(k.OtherAuthors) > 0 {
			t.Errorf("%s: appended by %s and %v", k.Name, k.Author, k.OtherAuthors)
		}
		if k.NamedAppender && k.Author != munimentv1.Role_ROLE_APPROVER {
			t.Errorf("%s: naming the kind in a grant changes nothing for %s", k.Name, k.Author)
		}
		if k.Typed() && k.MediaType != "application/vnd.muniment."+k.Name+".v1+json" {
			t.Errorf("%s: media type %s", k.Name, k.MediaType)
		}
		if k.Typed() != (k.message.Descriptor().Fields().Len() > 0) {
			t.Errorf("%s: a typed kind has fields, and another has none", k.Name)
		}
		if k.Typed() && !k.ByServer() && (k.MaxBytes <= 0 || k.MaxBytes > 1<<20) {
			t.Errorf("%s: size limit %d, want 1 to 1 MiB: documents are parsed whole", k.Name, k.MaxBytes)
		}
		if (k.Relation == "") != (k.order == 0) || k.order != 0 && orders[k.order] != "" {
			t.Errorf("%s: relation %q has the order %d", k.Name, k.Relation, k.order)
		}
		orders[k.order] = k.Name

		attributes := []string{"controls"}
		walk(k.fields, func(f field) {
			attributes = append(attributes, f.attribute)
			checkPlace(t, f)
		})
		for _, name := range k.KeyFacts {
			if !slices.Contains(attributes, name) {
				t.Errorf("%s: key fact %s is not an attribute of a field", k.Name, name)
			}
		}
		for _, m := range placeholder.FindAllStringSubmatch(k.Template, -1) {
			if !slices.Contains(attributes, m[1]) {
				t.Errorf("%s: the summary uses %s, which is not an attribute of a field", k.Name, m[1])
			}
		}
		if rest := placeholder.ReplaceAllString(k.Template, ""); strings.ContainsAny(rest, "{}|") || strings.Count(rest, "[") != strings.Count(rest, "]") {
			t.Errorf("%s: malformed summary %q", k.Name, k.Template)
		}
	}
}

// checkPlace checks that a field's type fits its part of the header.
func checkPlace(t *testing.T, f field) {
	t.Helper()
	d := f.descriptor
	switch f.part {
	case munimentv1.HeaderPart_HEADER_PART_SUBJECT, munimentv1.HeaderPart_HEADER_PART_MATERIAL:
		if d.Message() == nil || d.Message().Name() != "Artifact" && d.Message().Name() != "ExportFile" {
			t.Errorf("%s: not an artifact", d.FullName())
		}
	case munimentv1.HeaderPart_HEADER_PART_CONTROL:
		if d.Kind() != protoreflect.StringKind {
			t.Errorf("%s: not a string", d.FullName())
		}
	}
	if f.attribute != "" && d.Message() != nil && !d.IsList() && d.Message().FullName() != "google.protobuf.Timestamp" {
		t.Errorf("%s: an attribute cannot hold a message", d.FullName())
	}
	if d.IsMap() {
		t.Errorf("%s: a map has no place in the header", d.FullName())
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		kind       string
		attributes map[string]string
		want       string
	}{
		{"exception-request", map[string]string{"exception": "EXC-17", "expires": "2099-01-01T00:00:00Z"}, "exception EXC-17 from C-1, C-2, requested until 2099-01-01"},
		{"exception-decision", map[string]string{"exception": "{kim}[", "decision": "renew", "expires": "x"}, "exception {kim}[: renew until x"},
		{"gate-decision", map[string]string{"stage": "prod", "decision": "blocked"}, "prod: blocked"},
		{"gate-decision", map[string]string{"stage": "prod", "decision": "blocked", "environment": "eu"}, "prod: blocked in eu"},
		{"key-event", map[string]string{"keyId": "K", "event": "retired", "from": "2026-01-02T00:00:00Z"}, "key K retired from 2026-01-02"},
		{"key-event", map[string]string{"identity": "me", "event": "retired", "from": "2026-01-02T00:00:00Z"}, "me retired from 2026-01-02"},
		{"triage-action", map[string]string{"incident": "INC-1", "playbook": "P1", "action": "flush", "result": "succeeded", "actor": "kim"}, "INC-1: P1 flush (succeeded), by kim"},
		{"triage-action", map[string]string{"incident": "INC-1", "playbook": "P1", "action": "flush", "phase": "intent", "actor": "kim"}, "INC-1: P1 flush, intent, by kim"},
		{"triage-action", map[string]string{"incident": "INC-1", "playbook": "P1", "action": "flush", "phase": "outcome", "result": "failed", "actor": "kim"}, "INC-1: P1 flush, outcome (failed), by kim"},
		{"attestation", nil, ""},
	} {
		k, ok := Lookup(c.kind)
		if !ok {
			t.Fatalf("no kind %s", c.kind)
		}
		if got := k.Summary(c.attributes, []string{"C-1", "C-2"}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.kind, got, c.want)
		}
	}
}

func TestRelations(t *testing.T) {
	want := []string{"found-by", "excepted-by", "gated-by", "measured-by", "acted-on-by", "exported-in", "listed-in", "reported-by", "vetted-by", "backfilled-by"}
	if got := Relations(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
