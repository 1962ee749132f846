package inputs

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestParse reads the example of the specification.
func TestParse(t *testing.T) {
	page, err := os.ReadFile("../../../docs/spec/triage.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(version: 1\notlp:.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatal("the specification has no example of inputs")
	}
	in, err := Parse(m[1])
	if err != nil {
		t.Fatal(err)
	}
	if o := in.OTLP; o.Severity != 17 || o.Quiet != 5*time.Minute || fmt.Sprint(o.Labels) != "map[cluster:k8s.cluster.name service:service.name]" {
		t.Errorf("%+v", o)
	}
	if g := in.JSON["grafana"]; g == nil || g.Source != "json/grafana" || g.Items != "/alerts" || g.Firing[0] != "firing" || g.Labels["service"] != "/labels/service" {
		t.Errorf("%+v", g)
	}
}

func TestWrong(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                                               "version: must be specified",
		"{version: 1, otlp: {a: 1}}":                                       "otlp.a: unknown member",
		"{version: 1, otlp: {severity: error}}":                            "must be TRACE, DEBUG",
		"{version: 1, otlp: {quiet: 1ms}}":                                 "must be a duration from 1s",
		"{version: 1, json: {A: {name: /a, quiet: 1m}}}":                   "must be 1 to 64 lowercase letters",
		"{version: 1, json: {a: {quiet: 1m}}}":                             "must have name",
		"{version: 1, json: {a: {name: /a}}}":                              "must have state, or quiet",
		"{version: 1, json: {a: {name: a, quiet: 1m}}}":                    "must be a JSON pointer",
		"{version: 1, json: {a: {name: /a, state: /b}}}":                   "must have state and firing together",
		"{version: 1, json: {a: {name: /a, state: /b, firing: [x]}}}":      "must have resolved, or quiet",
		"{version: 1, json: {a: {name: /a, quiet: 1m, labels: {s: /~2}}}}": "must be a JSON pointer",
		"{version: 1, json: {a: {name: /a, quiet: 1m, labels: {" + strings.Repeat("x", 257) + ": /x}}}}": "the name of a label has 1 to 256 bytes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
