package adaptivecache

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPage checks that the Go code of docs/cache.md is that of the examples and
// the test of reports, which run.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/cache.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, name := range []string{"example_test.go", "../cachereport_test.go"} {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(code)) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	text := strings.Join(lines, "\n")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		t.Fatal("the page has no Go")
	}
	for _, block := range blocks {
		var want []string
		for line := range strings.Lines(block[1]) {
			want = append(want, strings.TrimSpace(line))
		}
		if !strings.Contains(text, strings.Join(want, "\n")) {
			t.Errorf("no example contains\n%s", block[1])
		}
	}
}
