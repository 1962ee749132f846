package main

import (
	"bytes"
	"strings"
	"testing"
)

// A seed determines the inputs, and the inputs reach every check.
func TestGenerate(t *testing.T) {
	var files [2]bytes.Buffer
	for i := range files {
		if err := generate(&files[i], 7, 50); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
		t.Error("two runs with one seed give different files")
	}
	var file, out bytes.Buffer
	if err := generate(&file, 7, 1500); err != nil {
		t.Fatal(err)
	}
	if err := verifyAll(&file, &out); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for _, line := range lines {
		f := strings.Fields(line)
		if f[1] == "verified" {
			f[2] = ""
		}
		seen[f[1]+" "+f[2]]++
	}
	if len(lines) != 1500 || len(seen) < 28 {
		t.Errorf("%d lines, %d different verdicts and codes: %v", len(lines), len(seen), seen)
	}
	if n := seen["verified "]; n < 75 {
		t.Errorf("only %d of 1500 verify", n)
	}
}
