package facts

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"testing"
)

// With these flags TestCompared extracts the facts of documents for another
// extractor (.ci/decisions).
var (
	comparedDocuments = flag.String("documents", "", "file with cases of facts.json, one a line")
	comparedFacts     = flag.String("facts", "", "file to write their facts to, one a line")
)

// TestCompared extracts the facts of the documents in a file. Without the
// flags, it checks that those of the vectors survive writing them.
func TestCompared(t *testing.T) {
	if *comparedDocuments == "" {
		compareVectors(t)
		return
	}
	in, err := os.Open(*comparedDocuments)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(*comparedFacts)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	lines, decoder := bufio.NewWriter(out), json.NewDecoder(bufio.NewReader(in))
	for {
		var e vectorEntry
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(lines).Encode(e.facts(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := lines.Flush(); err != nil {
		t.Fatal(err)
	}
}

func compareVectors(t *testing.T) {
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for _, v := range all.Facts {
		line, err := json.Marshal(v.vectorEntry)
		if err != nil {
			t.Fatal(err)
		}
		var read vectorEntry
		if err := json.Unmarshal(line, &read); err != nil {
			t.Fatal(err)
		}
		if got, want := string(indent(t, read.facts(t))), string(indent(t, v.facts(t))); got != want {
			t.Errorf("%s: got  %s\nwant %s", v.Name, got, want)
		}
	}
}
