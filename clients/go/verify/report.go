package verify

import (
	"bytes"
	"encoding/json"

	"muniment.dev/muniment/internal/safetext"
)

// A Verdict is the result of a verification.
type Verdict string

// The verdicts.
const (
	Verified    Verdict = "verified"
	NotVerified Verdict = "not-verified"
	// Error means that the file may be good or bad: the call is wrong, or an
	// input could not be read.
	Error Verdict = "error"
)

// A Report is the result of a verification. Its JSON is specified in
// docs/spec/verify.md, section 4, and is the same in all SDKs, except for
// messages. One of the results is not nil if the file is verified: the one of
// its kind.
type Report struct {
	File    string  // as the caller named it
	Kind    Kind    // "" if it was not recognized
	Verdict Verdict // Verified, or why not

	// The first failing check, unless verified.
	Code    string // from the specification of the kind
	Step    int    // of that specification; 0 for errors of the caller
	Message string // for people

	Receipt        *ReceiptResult        // of a receipt
	Bundle         *BundleResult         // of a Sigstore bundle
	Export         *ExportResult         // of an export
	Stream         *EvidenceBundleResult // of a stream
	EvidenceBundle *EvidenceBundleResult // of an evidence bundle

	// Warnings are the codes of checks that were not performed and of claims
	// that deserve attention, if the file is verified.
	Warnings []string
}

// failure returns the report of an error of the caller.
func failure(f *File, kind Kind, code, message string) *Report {
	return &Report{File: f.name, Kind: kind, Verdict: Error, Code: code, Message: message}
}

// refusal returns the report of a failed check. Step 0 is an error of the
// caller.
func refusal(f *File, kind Kind, code string, step int, message string) *Report {
	if step == 0 {
		return failure(f, kind, code, message)
	}
	return &Report{File: f.name, Kind: kind, Verdict: NotVerified, Code: code, Step: step, Message: message}
}

// success returns the report of a verified file, with the result that set sets.
func success(f *File, kind Kind, warnings []string, set func(*Report)) *Report {
	r := &Report{File: f.name, Kind: kind, Verdict: Verified, Warnings: append([]string{}, warnings...)}
	set(r)
	return r
}

// results returns what is proven and claimed, or nil.
func (r *Report) results() (proven, claimed any) {
	switch {
	case r.Receipt != nil:
		return &r.Receipt.Proven, &r.Receipt.Claimed
	case r.Bundle != nil:
		return &r.Bundle.Proven, &r.Bundle.Claimed
	case r.Export != nil:
		return &r.Export.Proven, &r.Export.Claimed
	case r.Stream != nil:
		return &r.Stream.Proven, &r.Stream.Claimed
	case r.EvidenceBundle != nil:
		return &r.EvidenceBundle.Proven, &r.EvidenceBundle.Claimed
	}
	return nil, nil
}

// MarshalJSON returns the JSON of the report.
func (r *Report) MarshalJSON() ([]byte, error) {
	out := struct {
		File     string    `json:"file"`
		Kind     Kind      `json:"kind,omitempty"`
		Verdict  Verdict   `json:"verdict"`
		Code     string    `json:"code,omitempty"`
		Step     *int      `json:"step,omitempty"`
		Message  string    `json:"message,omitempty"`
		Proven   any       `json:"proven,omitempty"`
		Claimed  any       `json:"claimed,omitempty"`
		Warnings *[]string `json:"warnings,omitempty"`
	}{File: r.File, Kind: r.Kind, Verdict: r.Verdict, Code: r.Code, Message: r.Message}
	if r.Verdict == Verified {
		out.Proven, out.Claimed = r.results()
		out.Warnings = &r.Warnings
	} else {
		out.Step = &r.Step
	}
	return encode(out)
}

// JSON returns the JSON of the report on one line, without the characters that
// could control a terminal.
func (r *Report) JSON() []byte {
	text, err := r.MarshalJSON()
	if err != nil {
		panic(err) // a report consists of values that have a JSON form
	}
	return []byte(safetext.Escape(string(text)))
}

// encode returns the JSON of a value, with < and > as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
