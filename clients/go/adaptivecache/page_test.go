package adaptivecache

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPage checks that the Go code of docs/cache.md is that of the examples,
// which run.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/cache.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(examples)) {
		lines = append(lines, strings.TrimSpace(line))
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
