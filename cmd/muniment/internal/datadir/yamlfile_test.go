package datadir

import (
	"strings"
	"testing"
	"time"
)

func TestDecodeYAML(t *testing.T) {
	type item struct {
		Name string `yaml:"name"`
	}
	type config struct {
		Listen  string            `yaml:"listen"`
		Bytes   int64             `yaml:"payload_bytes"`
		Next    *uint64           `yaml:"next"`
		Quiet   time.Duration     `yaml:"quiet"`
		From    *time.Time        `yaml:"from"`
		Public  bool              `yaml:"public"`
		Items   []item            `yaml:"items"`
		Claims  map[string]string `yaml:"claims"`
		Anchors []string          `yaml:"anchors"`
	}
	for text, want := range map[string]string{
		"":                     "",
		"# nothing\n":          "",
		"listen:\npublic: yes": "line 2: public: must be true or false",
		"payload_bytes: 5\nnext: 7\nquiet: 1h\nfrom: 2026-11-01T08:00:00Z\nitems: [{name: a}]\nclaims: {sub: b}\nanchors: [c]": "",
		"payload_bites: 5":                  "line 1: unknown key payload_bites: did you mean payload_bytes?",
		"payload-bytes: 5":                  "line 1: unknown key payload-bytes: did you mean payload_bytes?",
		"frobnicate: 5":                     "line 1: unknown key frobnicate",
		"items:\n  - nome: a":               "line 2: unknown key items[0].nome: did you mean name?",
		"listen: a\nlisten: b":              "line 2: listen is set twice",
		"payload_bytes: many":               "line 1: payload_bytes: must be a whole number",
		"payload_bytes: 1.5":                "line 1: payload_bytes: must be a whole number",
		"next: -1":                          "line 1: next: must be a whole number of at least 0",
		"quiet: 5":                          "line 1: quiet: must be a duration such as 30s, 10m or 24h",
		"from: yesterday":                   "line 1: from: must be a time such as 2026-11-01T08:00:00Z",
		"items: {name: a}":                  "line 1: items: must be a list",
		"items: [a]":                        "line 1: items[0]: must be a map of keys and values",
		"listen: [a]":                       "line 1: listen: must be text",
		"claims: {sub: [a]}":                "line 1: claims.sub: must be text",
		"PRIVATE+KEY+a+0123+AAAA":           "line 1: must be a map of keys and values",
		"a: b\n c: [":                       "not YAML",
		"listen: a\n---\nlisten: b":         "must be one YAML document",
		strings.Repeat("ab", 32) + ": here": "line 1: unknown key (not shown)",
	} {
		var c config
		got := ""
		if err := DecodeYAML([]byte(text), &c); err != nil {
			got = err.Error()
		}
		if got != want && !(want == "not YAML" && strings.HasSuffix(got, want)) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
