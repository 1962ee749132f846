package sigstore

import (
	"errors"
	"fmt"
)

// A Code is the reason for a verdict of Trust.Verify
// (docs/spec/sigstore-verification.md, section 5).
type Code string

// Steps maps each code to its step. Errors of the caller are step 0.
var Steps = map[Code]int{
	"policy-missing": 0, "identity-missing": 0, "key-malformed": 0, "trusted-root-malformed": 0,
	"bundle-malformed": 1, "bundle-version": 1, "promise-missing": 1, "proof-missing": 1,
	"material-mismatch": 2,
	"artifact-missing":  3, "statement-malformed": 3, "artifact-mismatch": 3,
	"entry-missing": 4, "entry-duplicate": 4, "entry-kind": 4, "entry-malformed": 4, "entry-signature": 4, "entry-key": 4, "entry-digest": 4,
	"promise-signature": 4, "checkpoint-invalid": 4, "checkpoint-mismatch": 4, "inclusion": 4, "log-unknown": 4,
	"log-validity": 5, "time-missing": 5, "timestamp-invalid": 5,
	"certificate-malformed": 6, "certificate-time": 6, "certificate-untrusted": 6,
	"sct-missing": 7, "sct-invalid": 7,
	"algorithm-unsupported": 8, "signature": 8,
	"issuer-mismatch": 9, "identity-mismatch": 9,
	"library": 10,
}

// A Refusal is the error of Trust.Verify. It wraps ErrNotVerified if it is a
// verdict, and not if the caller made an error.
type Refusal struct {
	Code Code
	Err  error
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s: %v", r.Code, r.Err) }

// Unwrap returns the error that describes the problem, and ErrNotVerified.
func (r *Refusal) Unwrap() []error {
	if r.NotChecked() {
		return []error{r.Err}
	}
	return []error{r.Err, ErrNotVerified}
}

// NotChecked reports whether the call was wrong, so that there is no verdict.
func (r *Refusal) NotChecked() bool { return Steps[r.Code] == 0 || r.Code == "artifact-missing" }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{code, fmt.Errorf(format, args...)}
}

var errNoAuthority = errors.New("the trusted root has no timestamp authority")
