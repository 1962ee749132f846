package report_test

import (
	"bytes"

	"testing"

	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/controls/report/reportrig"
	"muniment.dev/muniment/ledger/store/memstore"
)

func TestStory(t *testing.T) {
	rig := reportrig.New(memstore.New())
	defer rig.Close()
	r, err := rig.Gather(rig.Story())
	if err != nil {
		t.Fatal(err)
	}
	var page, again bytes.Buffer
	for _, b := range []*bytes.Buffer{&page, &again} {
		if err := report.HTML(b, r); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(page.Bytes(), again.Bytes()) {
		t.Error("the same release has other bytes")
	}
}
