package documents

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSplit(t *testing.T) {
	for data, want := range map[string][]string{
		"{}\n{}":                               {"{}", "{}"},
		"{\"a\":1}\r\n\n \t{} \n{}\n":          {`{"a":1}`, "{}", "{}"},
		"{}":                                   nil,
		"":                                     nil,
		"[]\n[]":                               nil,
		"{\n}":                                 nil,
		"{}\nx":                                nil,
		"{}\n{\n}\n":                           nil,
		"{\"a\":\"\\udce9\"}\n{\"a\":1e400}\n": {`{"a":"\udce9"}`, `{"a":1e400}`},
	} {
		if want == nil {
			want = []string{data} // the file is the only document
		}
		got, err := Split([]byte(data))
		if err != nil || len(got) != len(want) {
			t.Errorf("%q: %q, %v", data, got, err)
			continue
		}
		for i, w := range want {
			if string(got[i]) != w {
				t.Errorf("%q: document %d is %q, want %q", data, i, got[i], w)
			}
		}
	}
	if _, err := Split([]byte(strings.Repeat("{}\n", Max+1))); !errors.Is(err, ErrTooMany) {
		t.Error("no bound of the documents: ", err)
	}
}

// Find reads a file in pieces of any size, and finds what Split does.
func TestFind(t *testing.T) {
	large := []byte(`{"a":"` + strings.Repeat("x", 200_000) + `"}`)
	file := bytes.Join([][]byte{large, []byte(` {"b":2}`), large, nil}, []byte("\r\n"))
	want, err := Split(file)
	if err != nil || len(want) != 3 {
		t.Fatalf("%d documents, %v", len(want), err)
	}
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(file), "in halves": iotest.HalfReader(bytes.NewReader(file))} {
		sections, err := Find(r, nil)
		if err != nil || len(sections) != len(want) {
			t.Fatalf("%s: %v, %v", name, sections, err)
		}
		for i, s := range sections {
			if !bytes.Equal(file[s.Offset:s.Offset+s.Size], want[i]) {
				t.Errorf("%s: document %d is at %v", name, i, s)
			}
		}
	}
	refuse := func([]byte) bool { return false }
	if sections, err := Find(bytes.NewReader(file), refuse); sections != nil || err != nil {
		t.Errorf("lines that are refused: %v, %v", sections, err)
	}
	broken := errors.New("broken")
	if _, err := Find(io.MultiReader(strings.NewReader("{}\n"), iotest.ErrReader(broken)), nil); !errors.Is(err, broken) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

// At most the limit of a line without an end is held.
func TestLongLine(t *testing.T) {
	endless := &counter{}
	if sections, err := find((&lines{r: bufio.NewReader(endless), max: 1 << 20}).next, nil); sections != nil || err != nil {
		t.Errorf("%v, %v", sections, err)
	}
	if endless.n > 2<<20 {
		t.Errorf("%d bytes were read of a line", endless.n)
	}
}

// A counter is a file of one endless line.
type counter struct{ n int }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '{'
	}
	c.n += len(p)
	return len(p), nil
}
