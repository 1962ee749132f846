package term

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 entry": Count(1, "entry"), "0 entries": Count(uint64(0), "entry"), "2 keys": Count(2, "key"), "1 byte": Count(int64(1), "byte"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	// Commands print counts with no other function.
	files, err := filepath.Glob("../*/*.go")
	if err != nil || len(files) < 50 {
		t.Fatal(files, err)
	}
	bare := regexp.MustCompile(`(Fprintf\(a\.Stdout|[lL]ine\(|in its tree).*%d (entries|tenants|files|bytes|rules)\b`)
	for _, name := range files {
		if filepath.Base(name) == "count_test.go" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := bare.Find(text); found != nil {
			t.Errorf("%s: use Count in %s", name, found)
		}
	}
}
