package receipt

import (
	"crypto/sha256"
	"encoding/json"
	"errors"

	"muniment.dev/muniment/ledger/entry"
)

// Verdicts of a report.
const (
	VerdictVerified   = "verified"
	VerdictRefused    = "refused"
	VerdictNotChecked = "not-checked" // the receipt may be good or bad
)

// A Report is the result of a verification in JSON. All verifiers write it in
// the form of docs/spec/receipt.md, section 5.
type Report struct {
	Receipt  string    `json:"receipt,omitempty"` // the file
	Verdict  string    `json:"verdict,omitempty"`
	Reason   *Reason   `json:"reason,omitempty"`
	Proven   *Proven   `json:"proven,omitempty"`
	Claimed  *Claimed  `json:"claimed,omitempty"`
	Content  string    `json:"content,omitempty"`
	Warnings *[]string `json:"warnings,omitempty"`
}

// A Reason is the reason why a receipt was not verified.
type Reason struct {
	Code    Code   `json:"code"`
	Step    int    `json:"step"`
	Message string `json:"message"`
}

// Proven is the part of a report that the receipt proves.
type Proven struct {
	Origin         string   `json:"origin"`
	Index          uint64   `json:"index"`
	Size           uint64   `json:"size"`
	Root           string   `json:"root"`
	LeafHash       string   `json:"leafHash"`
	Tag            string   `json:"tag"`
	StreamID       string   `json:"streamId,omitempty"`
	Seq            *uint64  `json:"seq,omitempty"`
	Prev           string   `json:"prev,omitempty"`
	HeaderHash     string   `json:"headerHash"`
	HeaderSHA256   string   `json:"headerSha256,omitempty"`
	PayloadSHA256  string   `json:"payloadSha256,omitempty"`
	ExternalSHA256 string   `json:"externalSha256,omitempty"`
	TagChecked     bool     `json:"tagChecked"`
	Signers        []string `json:"signers"`
	Policy         string   `json:"policy"`
	Witnessed      bool     `json:"witnessed"`
}

// Claimed is the part of a report that is not proven: the log's claims, and the
// receipt's claim of an erasure.
type Claimed struct {
	Time   uint64          `json:"time"` // Unix milliseconds
	Erased []string        `json:"erased,omitempty"`
	Header json.RawMessage `json:"header,omitempty"`
}

// Values of Report.Content.
const (
	ContentChecked    = "checked"
	ContentNotChecked = "not-checked"
)

// Warnings of a report.
const (
	WarnNotWitnessed        = "not-witnessed"
	WarnContentNotChecked   = "content-not-checked"
	WarnErased              = "erased"
	WarnSignatureUnverified = "signature-unverified"
	WarnSignatureFailed     = "signature-failed"
	WarnNotAdmitted         = "not-admitted"
)

// NewReport returns the report on a result of Verify for a receipt's file. An
// error that is not an *Error is reported as Unreadable.
func NewReport(file string, s *Statement, err error) *Report {
	r := &Report{Receipt: file, Verdict: VerdictVerified}
	if err != nil {
		r.Verdict = VerdictRefused
		var e *Error
		if !errors.As(err, &e) {
			e = fail(Unreadable, "%w", err)
		}
		if e.Step == 0 {
			r.Verdict = VerdictNotChecked
		}
		r.Reason = &Reason{e.Code, e.Step, e.Message}
		return r
	}
	r.Proven, r.Claimed, r.Content = s.proven(), &Claimed{Time: s.Time, Erased: s.Erased(), Header: s.HeaderBytes}, ContentNotChecked
	if s.ContentChecked() {
		r.Content = ContentChecked
	}
	warnings := s.Warnings()
	r.Warnings = &warnings
	return r
}

// Erased returns the parts that the receipt claims were erased. The claim is
// not proven.
func (s *Statement) Erased() []string {
	switch s.Form {
	case PayloadErased:
		return []string{"payload"}
	case HeaderErased:
		return []string{"header", "payload"}
	}
	return nil
}

// ContentChecked reports whether the bytes of the evidence itself were checked.
// The payload of an entry by reference is not the evidence.
func (s *Statement) ContentChecked() bool {
	return s.ExternalSHA256 != nil || s.PayloadSHA256 != nil && s.Header != nil && s.Header.External == nil
}

// Warnings returns the warnings about a verified receipt.
func (s *Statement) Warnings() []string {
	all := []string{}
	for _, w := range []struct {
		code string
		when bool
	}{
		{WarnNotWitnessed, !s.Witnessed},
		{WarnContentNotChecked, !s.ContentChecked()},
		{WarnErased, s.Erased() != nil},
		{WarnSignatureUnverified, s.Header != nil && s.Header.Verification.Result == entry.Unverified},
		{WarnSignatureFailed, s.Header != nil && s.Header.Verification.Result == entry.Failed},
		{WarnNotAdmitted, s.Header != nil && s.Header.NotAdmitted()},
	} {
		if w.when {
			all = append(all, w.code)
		}
	}
	return all
}

func (s *Statement) proven() *Proven {
	p := &Proven{Origin: s.Origin, Index: s.Index, Size: s.Size, Root: s.Root.String(), LeafHash: s.LeafHash.String(), Tag: s.Tag.String(),
		HeaderHash: s.HeaderHash.String(), TagChecked: s.TagChecked, Signers: s.Signers, Policy: s.Policy, Witnessed: s.Witnessed}
	if s.Link != nil {
		p.StreamID, p.Seq, p.Prev = s.Link.StreamID.String(), &s.Link.Seq, s.Link.Prev.String()
	}
	if s.Header != nil {
		p.HeaderSHA256 = entry.Hash(sha256.Sum256(s.HeaderBytes)).String()
	}
	if s.PayloadSHA256 != nil {
		p.PayloadSHA256 = s.PayloadSHA256.String()
	}
	if s.ExternalSHA256 != nil {
		p.ExternalSHA256 = s.ExternalSHA256.String()
	}
	return p
}
