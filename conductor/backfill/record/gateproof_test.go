package record_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/conductor/backfill/record"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// lie starts a server in front of the ledger that returns the receipt of
// another entry for that of a decision.
func (r *rig) lie(index func() uint64) string {
	to, err := url.Parse(r.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/GetReceipt") {
			var m munimentv1.GetReceiptRequest
			body, err := io.ReadAll(req.Body)
			if err == nil {
				err = proto.Unmarshal(body, &m)
			}
			if err == nil {
				m.Index = index()
				body, err = proto.Marshal(&m)
			}
			if err != nil {
				r.t.Error(err)
			}
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		proxy.ServeHTTP(w, req)
	}))
	r.t.Cleanup(s.Close)
	return s.URL
}

// TestDecisionReceipt checks that a pass counts only with the receipt of the
// entry that records it.
func TestDecisionReceipt(t *testing.T) {
	r, o := newRig(t), newOutbox()
	r.control(control)
	honest := r.sender(r.options(o))
	blocked, err := honest.Ask(patient(t), "cutover", "")
	if err != nil || blocked.Passed() || blocked.LeafHash != "" {
		t.Fatalf("%+v, %v", blocked, err)
	}
	rehearse(t, o)
	if err := honest.Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	options := r.options(o)
	index := blocked.Entry
	options.Ledger.Server = r.lie(func() uint64 { return index })
	lying := r.sender(options)
	want := func(s *record.Sender, what, text string) {
		t.Helper()
		if _, err := s.Ask(patient(t), "cutover", ""); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
	}
	want(lying, "the receipt of another decision", fmt.Sprintf("it is for entry %d, and not for entry", index))
	index = o.acknowledged()[0].Index
	want(lying, "the receipt of another entry", "not_found")
	d, err := honest.Ask(patient(t), "cutover", "")
	if err != nil || !d.Passed() || len(d.LeafHash) != 64 {
		t.Errorf("%+v, %v", d, err)
	}

	options = r.options(newOutbox())
	r.issue("other")
	options.Ledger.Token = r.token
	want(r.sender(options), "a decision that another identity asked for", "use a control set that reads the steps of the job")
}
