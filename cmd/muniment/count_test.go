package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 entry": count(1, "entry"), "0 entries": count(uint64(0), "entry"), "2 keys": count(2, "key"), "1 byte": count(int64(1), "byte"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	// What is printed counts by that function alone.
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	bare := regexp.MustCompile(`(Fprintf\(a\.stdout|line\(|in its tree).*%d (entries|tenants|files|bytes|rules)\b`)
	for _, name := range files {
		if name == "count_test.go" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := bare.Find(text); found != nil {
			t.Errorf("%s: use count in %s", name, found)
		}
	}
}
