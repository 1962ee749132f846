package ledger

import (
	"fmt"
	"testing"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// Callers read the version of the rules first, and then the rules. So a version
// is in force only when what it has changed is published.
func TestRulesAreNotAhead(t *testing.T) {
	tl := newTestLog(t, Config{})
	var drafts []Draft // of many streams, to take long
	for i := range 3000 {
		tt := newTestTenant(fmt.Sprintf("%04d", i))
		drafts = append(drafts, tt.draft(tt.name, func(h *entry.Header) { h.Kind, h.IdempotencyKey = kindname.Config, "rules" }))
	}
	change := tl.appendLater(drafts...)
	first := drafts[0].Stream
	before := tl.Rules(first)
	await(t, "the rules have changed", func() bool { return tl.Rules(first) != before })
	if size := tl.Published().Size; size == 0 {
		t.Error("rules are in force that are not published")
	}
	if a := <-change; a.err != nil {
		t.Fatal(a.err)
	}
}
