package main

import (
	"bytes"
	"fmt"
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
	const n = 2000
	var file, out bytes.Buffer
	if err := generate(&file, 7, n); err != nil {
		t.Fatal(err)
	}
	inputs := bytes.Split(bytes.TrimSuffix(file.Bytes(), []byte("\n")), []byte("\n"))
	if err := verifyAll(&file, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != n || len(inputs) != n {
		t.Fatalf("%d lines for %d inputs, want %d", len(lines), len(inputs), n)
	}
	type results struct {
		all, verified int
		codes         map[string]int
	}
	kinds := map[string]*results{}
	for i, line := range lines {
		in, id, err := read(inputs[i])
		if err != nil || id != i {
			t.Fatalf("input %d: id %d, %v", i, id, err)
		}
		kind := fmt.Sprintf("%T", in)
		r := kinds[kind]
		if r == nil {
			r = &results{codes: map[string]int{}}
			kinds[kind] = r
		}
		r.all++
		if f := strings.Fields(line); f[1] == "verified" {
			r.verified++
		} else {
			r.codes[f[2]]++
		}
	}
	for kind, least := range map[string]int{"*main.input": 28, "*main.exported": 45, "*main.evidence": 25, "*main.signed": 20, "*main.configured": 45, "*main.trusted": 3} {
		r := kinds[kind]
		if r == nil || len(r.codes) < least || r.verified*20 < r.all {
			t.Errorf("%s: %+v; want %d different codes, and one in 20 verified", kind, r, least)
		}
	}
}
