package chartindex

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A folder may hold bundles as lines of one file.
func TestFolderOfLines(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "two.jsonl"), []byte("{\"a\":1}\n{\"a\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(`{"a":2}`)))
	data, err := Folder(dir)(t.Context(), digest)
	if err != nil || string(data) != `{"a":2}` {
		t.Errorf("%q, %v", data, err)
	}
}
