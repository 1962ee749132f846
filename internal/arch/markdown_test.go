package arch

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the table of rooms into docs/architecture.md")

// TestDocument compares the table of rooms with docs/architecture.md.
func TestDocument(t *testing.T) {
	file := filepath.Join(root, "docs", "architecture.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := []byte("<!-- rooms: from internal/arch/rooms.go -->\n\n"), []byte("\n<!-- end of rooms -->")
	before, rest, found := bytes.Cut(text, begin)
	table, after, closed := bytes.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no table of rooms between %q and %q", file, begin, end)
	}
	if string(table) == Markdown() {
		return
	}
	if !*update {
		t.Fatalf("the table of rooms in %s differs from internal/arch/rooms.go: go test ./internal/arch -update", file)
	}
	text = bytes.Join([][]byte{before, begin, []byte(Markdown()), end, after}, nil)
	if err := os.WriteFile(file, text, 0o666); err != nil {
		t.Fatal(err)
	}
}
