package ingest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// messages are the messages of the typed kinds.
var messages = map[string]proto.Message{
	"backfill-checkpoint": &munimentv1.BackfillCheckpoint{}, "backfill-step": &munimentv1.BackfillStep{}, "config": &munimentv1.Config{}, "control": &munimentv1.Control{}, "erasure": &munimentv1.Erasure{},
	"control-set": &munimentv1.ControlSet{}, "exception-decision": &munimentv1.ExceptionDecision{}, "exception-request": &munimentv1.ExceptionRequest{}, "key-event": &munimentv1.KeyEvent{},
	"export-manifest": &munimentv1.ExportManifest{}, "finding": &munimentv1.Finding{}, "gate-decision": &munimentv1.GateDecision{},
	"inventory": &munimentv1.Inventory{}, "metric-snapshot": &munimentv1.MetricSnapshot{}, "triage-action": &munimentv1.TriageAction{},
	"verification-report": &munimentv1.VerificationReport{}, "vetting": &munimentv1.Vetting{},
}

// filled returns the canonical JSON, as a tree, of a message with all fields
// set.
func filled(t *testing.T, m protoreflect.Message) any {
	t.Helper()
	fill(m)
	text, err := protojson.Marshal(m.Interface())
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonTree(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil && !f.HasOptionalKeyword() && m.WhichOneof(f.ContainingOneof()) != nil:
		case f.IsMap() && f.MapValue().Kind() == protoreflect.StringKind:
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("a_b").MapKey(), protoreflect.ValueOfString("x"))
		case f.IsMap():
		case f.IsList() && f.Message() != nil:
			fill(m.Mutable(f).List().AppendMutable().Message())
		case f.IsList():
			m.Mutable(f).List().Append(sample(f))
		case f.Message() != nil && f.Message().FullName() == "google.protobuf.Struct":
			m.Mutable(f)
		case f.Message() != nil:
			fill(m.Mutable(f).Message())
		default:
			m.Set(f, sample(f))
		}
	}
}

func sample(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(3)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(7)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(7)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	default:
		panic(fmt.Sprintf("no sample of kind %v: give it one", f.Kind()))
	}
}

// respellings returns other forms that ProtoJSON accepts for a member of the
// canonical tree.
func respellings(f protoreflect.FieldDescriptor, name string, v any) map[string]any {
	all := map[string]any{name: nil} // null is another spelling of absent
	if f.TextName() != f.JSONName() {
		all[f.TextName()] = v
	}
	switch n, isNumber := v.(json.Number); {
	case isNumber:
		all[name+"#string"] = n.String()
	case f.Kind() == protoreflect.Uint64Kind && !f.IsList(), f.Kind() == protoreflect.Int64Kind && !f.IsList():
		all[name+"#number"] = json.Number(v.(string))
	case f.Kind() == protoreflect.Uint64Kind:
		all[name+"#number"] = []any{json.Number("7")}
	}
	return all
}

// TestOneSpelling checks that every field of every typed kind has one spelling:
// all others that ProtoJSON accepts are refused.
func TestOneSpelling(t *testing.T) {
	for _, name := range Kinds() {
		m := messages[name]
		if name == "attestation" {
			continue
		}
		if m == nil {
			t.Errorf("kind %s is not in the table of messages", name)
			continue
		}
		root := filled(t, m.ProtoReflect().New())
		check := func(what string, want bool) {
			t.Helper()
			text, err := json.Marshal(root)
			if err != nil {
				t.Fatal(err)
			}
			into := m.ProtoReflect().New().Interface()
			if err := protojson.Unmarshal(text, into); err != nil {
				return // not a spelling at all
			}
			if err := checkSpelling(text, into); (err == nil) != want {
				t.Errorf("%s: %s: %v\n%s", name, what, err, text)
			}
		}
		check("canonical", true)
		fields := 0
		var visit func(of protoreflect.MessageDescriptor, v any, path string)
		visit = func(of protoreflect.MessageDescriptor, v any, path string) {
			o, ok := v.(map[string]any)
			if !ok || of.FullName() == "google.protobuf.Struct" {
				return
			}
			for i := range of.Fields().Len() {
				f := of.Fields().Get(i)
				v, ok := o[f.JSONName()]
				if !ok {
					if f.ContainingOneof() == nil && !f.IsMap() {
						t.Errorf("%s: %s%s was not filled", name, path, f.JSONName())
					}
					continue
				}
				fields++
				for as, other := range respellings(f, f.JSONName(), v) {
					as, _, _ = strings.Cut(as, "#")
					delete(o, f.JSONName())
					o[as] = other
					check(path+as, false)
					delete(o, as)
					o[f.JSONName()] = v
				}
				if list, ok := v.([]any); ok && f.Message() != nil {
					visit(f.Message(), list[0], path+f.JSONName()+"[0].")
				} else if f.Message() != nil && !f.IsMap() {
					visit(f.Message(), v, path+f.JSONName()+".")
				}
			}
		}
		visit(m.ProtoReflect().Descriptor(), root, "")
		if fields < 3 {
			t.Errorf("%s: only %d fields were respelled", name, fields)
		}
	}
}

// TestSpellingRefusals checks the errors about other spellings.
func TestSpellingRefusals(t *testing.T) {
	all := examples(t)
	for _, c := range []struct{ kind, old, new, wantErr string }{
		{"export-manifest", `"privacyBudget"`, `"privacy_budget"`, "privacy_budget: must be spelled privacyBudget"},
		{"export-manifest", `"sizeBytes": "2048"`, `"sizeBytes": 2048`, `files[1].sizeBytes: must be spelled "2048"`},
		{"export-manifest", `"sizeBytes": "2048"`, `"size_bytes": "2048"`, "files[1].size_bytes: must be spelled sizeBytes"},
		{"export-manifest", `"epsilon": 0.25`, `"epsilon": "0.25"`, "privacyBudget.epsilon: must be spelled 0.25"},
		{"export-manifest", `"controls": [`, `"sources": null, "controls": [`, "sources"},
		{"export-manifest", `"created": "2026-07-01T06:00:00Z"`, `"created": "2026-07-01T08:00:00+02:00"`, "created: must be in UTC, such as 2026-07-01T06:00:00Z"},
		{"inventory", `"replicas": 6`, `"replicas": 6.0`, "items[0].replicas: must be spelled 6"},
		{"inventory", `"replicas": 6`, `"replicas": "6"`, "items[0].replicas: must be spelled 6"},
		{"control", `"maxDays": 14`, `"maxDays": "14"`, "exceptions.maxDays: must be spelled 14"},
		{"control", `"maxAgeSeconds": "86400"`, `"maxAgeSeconds": 86400`, `check.require[0].maxAgeSeconds: must be spelled "86400"`},
		{"control", `"modes": [`, `"include": null, "modes": [`, "include"},
		{"exception-decision", `"request": "31"`, `"request": 31`, `request: must be spelled "31"`},
		{"exception-request", `"reason"`, `"breakGlass": false, "reason"`, "breakGlass: must be omitted if empty"},
		{"finding", `"12", `, `12, `, `evidence[0]: must be spelled "12"`},
		{"finding", `"location"`, `"description": "", "location"`, "description: must be omitted if empty"},
		{"finding", `"location"`, `"title": "again", "location"`, "duplicate"},
		{"finding", `"name": "registry`, `"name": "x", "name": "registry`, "duplicate"},
	} {
		example := string(all[c.kind])
		if !strings.Contains(example, c.old) {
			t.Fatalf("the example of %s has no %s", c.kind, c.old)
		}
		_, err := table[c.kind].read("", []byte(strings.Replace(example, c.old, c.new, 1)), exampleTime)
		if err == nil || !strings.Contains(err.Error(), c.wantErr) {
			t.Errorf("%s: %s: %v does not contain %q", c.kind, c.new, err, c.wantErr)
		}
	}
}
