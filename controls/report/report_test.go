package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestEmpty checks that a release of nothing is a page that passes nothing.
func TestEmpty(t *testing.T) {
	r := &Release{Tenant: "acme", Log: Log{Origin: "log.example"}, Time: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<h1>Evidence</h1>", "Undecided", "No artifacts are selected", "log.example"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestVisible(t *testing.T) {
	if got := visible("a\u202eb\x00c\u200bd\te\xff"); got != "a⟨U+202E⟩b⟨U+0000⟩c⟨U+200B⟩d e\ufffd" {
		t.Errorf("%q", got)
	}
}

// TestLabels checks that each cell names its column, because a narrow screen
// shows rows as lists without the head of the table.
func TestLabels(t *testing.T) {
	for _, cell := range strings.Split(pageSource, "<td")[1:] {
		if tag, _, _ := strings.Cut(cell, ">"); !strings.Contains(tag, "data-label=") {
			t.Errorf("<td%s> has no data-label", tag)
		}
	}
}
