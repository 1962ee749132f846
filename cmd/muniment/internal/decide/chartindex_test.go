package decide

import (
	"net/url"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestGateIndex decodes rewritten indexes as Helm does, and looks for an
// address that Helm would fetch without asking.
func TestGateIndex(t *testing.T) {
	entry := func(members string) string {
		return "apiVersion: v1\nentries:\n  gateway:\n    - name: gateway\n      version: 1.10\n" + members
	}
	tests := []struct {
		name, index string
		confined    bool
		urls        []string
		left        int
		err         string
	}{
		{name: "relative", index: entry("      urls: [gateway-1.10.tgz]\n      digest: abc\n"), urls: []string{"muniment+https://charts.example.com/stable/gateway-1.10.tgz"}},
		{name: "below the host", index: entry("      urls: [/other/gateway-1.10.tgz]\n"), urls: []string{"muniment+https://charts.example.com/other/gateway-1.10.tgz"}},
		{name: "absolute", index: entry("      urls: ['https://charts.example.com/a.tgz', 'http://cdn.example.com/a.tgz', oci://registry.example.com/a:1]\n"), urls: []string{"muniment+https://charts.example.com/a.tgz", "muniment+http://cdn.example.com/a.tgz", "muniment+oci://registry.example.com/a:1"}},
		{name: "rewritten before", index: entry("      urls: ['muniment+https://charts.example.com/a.tgz']\n"), urls: []string{"muniment+https://charts.example.com/a.tgz"}},
		{name: "scheme in capitals", index: entry("      urls: ['HTTPS://charts.example.com/a.tgz']\n"), urls: []string{"muniment+https://charts.example.com/a.tgz"}},
		{name: "members in capitals", index: "ENTRIES: {gateway: [{name: gateway, version: '1', URLs: [a.tgz], DIGEST: abc}]}\n", urls: []string{"muniment+https://charts.example.com/stable/a.tgz"}},
		{name: "JSON", index: `{"entries":{"gateway":[{"name":"gateway","version":"1","urls":["a.tgz"],"digest":"abc"}]}}`, urls: []string{"muniment+https://charts.example.com/stable/a.tgz"}},
		{name: "credentials in the address", index: entry("      urls: ['https://kim:secret@charts.example.com/a.tgz']\n"), urls: []string{"muniment+https://charts.example.com/a.tgz"}},
		{name: "another host", index: entry("      urls: ['https://evil.example/a.tgz', a.tgz, '//evil.example/b.tgz']\n"), confined: true, urls: []string{"muniment+https://charts.example.com/stable/a.tgz"}, left: 2},
		{name: "another host only", index: entry("      urls: ['https://evil.example/a.tgz']\n"), confined: true, left: 1},
		{name: "no address", index: entry("      digest: abc\n")},
		{name: "file", index: entry("      urls: ['file:///etc/passwd']\n"), err: "line 6: must be an address with https, http or oci"},
		{name: "another plugin", index: entry("      urls: ['s3://charts/a.tgz']\n"), err: "must be an address with"},
		{name: "alias", index: "x: &u [a.tgz]\n" + entry("      urls: *u\n"), err: "anchors and aliases"},
		{name: "merge", index: entry("      <<: {urls: [a.tgz]}\n"), err: "anchors and aliases"},
		{name: "a map for a list", index: entry("      urls: {a: b}\n"), err: "must be a list of URLs"},
		{name: "binary", index: entry("      urls: [!!binary aHR0cHM6Ly9h]\n"), err: "line 6: tags such as !!binary are not supported"},
		{name: "binary name", index: entry("      URLS: [a.tgz]\n      !!binary dXJscw==: [https://evil.example/a.tgz]\n"), err: "line 7: tags"},
		{name: "binary name of the digest", index: entry("      urls: [a.tgz]\n      !<tag:yaml.org,2002:binary> ZGlnZXN0: abc\n"), err: "line 7: tags"},
		{name: "binary name of the entries", index: entry("      urls: [a.tgz]\n") + "!!binary RW50cmllcw==: {gateway: [{name: gateway, version: '1', urls: ['https://evil.example/a.tgz']}]}\n", err: "line 7: tags"},
		{name: "no entries", index: "apiVersion: v1\n", err: "entries: missing"},
		{name: "a page", index: "<html>not found</html>", err: "must be a map"},
		{name: "empty", index: "", err: "not YAML"},
		{name: "nested", index: "a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\nentries: {}\n", err: "nested too deeply"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at, err := url.Parse("https://charts.example.com/stable/index.yaml")
			if err != nil {
				t.Fatal(err)
			}
			out, left, err := gateIndex([]byte(test.index), at, test.confined)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q; index:\n%s", err, test.err, out)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var tree map[string]any
			if err := yaml.Unmarshal(out, &tree); err != nil {
				t.Fatal(err)
			}
			var urls []string
			walkIndex(tree, func(name string, value any) {
				switch strings.ToLower(name) {
				case "digest":
					t.Errorf("a digest is left:\n%s", out)
				case "urls":
					for _, u := range value.([]any) {
						urls = append(urls, u.(string))
					}
				}
			})
			if strings.Join(urls, " ") != strings.Join(test.urls, " ") || left != test.left {
				t.Errorf("addresses %q and %d left out, want %q and %d", urls, left, test.urls, test.left)
			}
			if strings.Contains(test.index, "1.10\n") && len(urls) > 0 && !strings.Contains(string(out), "version: 1.10\n") {
				t.Errorf("the version has changed:\n%s", out)
			}
		})
	}
}

// walkIndex calls f for each member of a tree.
func walkIndex(n any, f func(name string, value any)) {
	switch n := n.(type) {
	case map[string]any:
		for name, value := range n {
			f(name, value)
			walkIndex(value, f)
		}
	case []any:
		for _, value := range n {
			walkIndex(value, f)
		}
	}
}
