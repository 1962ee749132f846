package sigstore

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

var upper = regexp.MustCompile("[A-Z]")

// snake renames the members of a document as protobuf definitions have them.
func snake(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			if name == "payloadType" { // the definition has this very name
				out[name] = value
				continue
			}
			out[upper.ReplaceAllStringFunc(name, func(s string) string { return "_" + strings.ToLower(s) })] = snake(value)
		}
		return out
	case []any:
		for i := range v {
			v[i] = snake(v[i])
		}
	}
	return v
}

// ProtoJSON readers accept the names of the protobuf definition, too.
func TestSnakeCase(t *testing.T) {
	file, err := os.ReadFile("../testdata/jsonl/two.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewCertificateVerifier(PublicGood(), ForCertificates)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(file) {
		var document any
		if err := json.Unmarshal(line, &document); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(snake(document))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte(`"verification_material"`)) || !bytes.Contains(data, []byte(`"log_index"`)) {
			t.Fatal("the names were not converted")
		}
		b, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(b, nil); err != nil {
			t.Error(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d bundles", n)
	}
}
