package dsse

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/ledger/entry"
)

// ErrNotVerified is wrapped by errors that are a verdict: the envelope is
// well-formed but not signed with enough of the keys.
var ErrNotVerified = errors.New("not verified")

// A ThresholdError is the verdict that too few of the keys have signed. It
// wraps ErrNotVerified.
type ThresholdError struct {
	Threshold int
	Keys      []*Key // the accepted keys
	SignedBy  []*Key // the keys that signed

	unsupported error // why a signature could not be tried with any key
}

func (e *ThresholdError) Error() string {
	switch {
	case e.unsupported != nil && len(e.Keys) == 1:
		return fmt.Sprintf("DSSE envelope: %s: the key %s did not sign it, or signed it in another form: %s", ErrNotVerified, e.Keys[0], e.unsupported)
	case e.unsupported != nil && len(e.SignedBy) == 0:
		return fmt.Sprintf("DSSE envelope: %s: none of the %d keys given signed it, or signed it in another form: %s", ErrNotVerified, len(e.Keys), e.unsupported)
	case len(e.SignedBy) > 0:
		return fmt.Sprintf("DSSE envelope: %s: %d of the %d keys must have signed it, but only these did: %s", ErrNotVerified, e.Threshold, len(e.Keys), names(e.SignedBy))
	case len(e.Keys) == 1:
		return fmt.Sprintf("DSSE envelope: %s: the key %s did not sign it, or it was changed since", ErrNotVerified, e.Keys[0])
	default:
		return fmt.Sprintf("DSSE envelope: %s: none of the %d keys given signed it, or it was changed since", ErrNotVerified, len(e.Keys))
	}
}

// Unwrap returns ErrNotVerified and, if a signature could not be checked, an
// error that wraps ErrUnsupported.
func (e *ThresholdError) Unwrap() []error {
	if e.unsupported != nil {
		return []error{ErrNotVerified, e.unsupported}
	}
	return []error{ErrNotVerified}
}

func names(keys []*Key) string {
	s := make([]string, len(keys))
	for i, k := range keys {
		s[i] = k.String()
	}
	return strings.Join(s, ", ")
}

// A Result contains the verified payload and its signers.
type Result struct {
	PayloadType string
	Payload     []byte
	SignedBy    []*Key // in the order of the given keys, each once
}

// Signers returns the keys that signed, in the form used in headers.
func (r *Result) Signers() []entry.Signer {
	s := make([]entry.Signer, len(r.SignedBy))
	for i, k := range r.SignedBy {
		s[i].KeyID = k.ID
	}
	return s
}

// Verify checks that at least threshold different keys have signed the
// envelope. A key counts once, even if it is given twice or has signed twice.
// The key IDs of signatures are unsigned hints and do not count. The error
// wraps ErrMalformed or ErrNotVerified, unless the threshold cannot be met by
// the number of keys.
func Verify(data []byte, keys []*Key, threshold int) (*Result, error) {
	e, err := Parse(data)
	if err != nil {
		return nil, err
	}
	return e.Verify(keys, threshold)
}

// Verify is like the function Verify, but takes a parsed envelope.
func (e *Envelope) Verify(keys []*Key, threshold int) (*Result, error) {
	return e.VerifyWithin(nil, keys, threshold)
}

// A Charge pays for a given number of microseconds of work before it is done.
// If it returns an error, the work must not be done.
type Charge func(microseconds int) error

// VerifyWithin is Verify for callers with a budget. Each hash and each attempt
// to verify a signature is charged in advance. An error from charge is returned
// unchanged. Signatures that name the key are tried first, so a genuine
// envelope takes one attempt for each key that has signed.
func (e *Envelope) VerifyWithin(charge Charge, keys []*Key, threshold int) (*Result, error) {
	keys = distinct(keys)
	switch {
	case len(keys) == 0:
		return nil, errors.New("no key specified")
	case threshold < 1:
		return nil, fmt.Errorf("threshold %d: must be at least 1", threshold)
	case threshold > len(keys):
		return nil, fmt.Errorf("threshold %d: exceeds the number of different keys, which is %d", threshold, len(keys))
	}
	if charge == nil {
		charge = func(int) error { return nil }
	}
	if err := charge(1 + len(e.Payload)/hashedPerMicrosecond); err != nil {
		return nil, err
	}
	a := &attempts{e: e, m: e.message(), charge: charge, checked: make([]bool, len(e.signatures))}
	r := &Result{PayloadType: e.PayloadType, Payload: e.Payload}
	for _, k := range keys {
		ok, err := a.signedBy(k)
		if err != nil {
			return nil, err
		}
		if ok {
			r.SignedBy = append(r.SignedBy, k)
		}
	}
	if len(r.SignedBy) < threshold {
		verdict := &ThresholdError{Threshold: threshold, Keys: keys, SignedBy: r.SignedBy}
		if slices.Contains(a.checked, false) {
			verdict.unsupported = a.unsupported
		}
		return nil, verdict
	}
	return r, nil
}

// hashedPerMicrosecond is the number of bytes per microsecond when hashing with
// all hashes.
const hashedPerMicrosecond = 128

// attempts is the state of verifying one envelope.
type attempts struct {
	e           *Envelope
	m           *Message
	charge      Charge
	checked     []bool // whether the signature could be tried with a key
	unsupported error
}

// signedBy reports whether one of the signatures is by the key.
func (a *attempts) signedBy(k *Key) (bool, error) {
	for _, named := range []bool{true, false} {
		for i, sig := range a.e.signatures {
			if k.named(a.e.keyIDs[i]) != named {
				continue
			}
			cost := 1 + len(sig)/hashedPerMicrosecond
			if k.plausible(sig) {
				cost = k.cost()
			}
			if err := a.charge(cost); err != nil {
				return false, err
			}
			err := CheckSignature(k.public, a.m, sig)
			if errors.Is(err, ErrUnsupported) {
				a.unsupported = err
				continue
			}
			a.checked[i] = true
			if err == nil {
				return true, nil
			}
		}
	}
	return false, nil
}

// distinct removes repeated keys.
func distinct(keys []*Key) []*Key {
	seen := make(map[string]bool, len(keys))
	var out []*Key
	for _, k := range keys {
		if !seen[k.ID] {
			seen[k.ID] = true
			out = append(out, k)
		}
	}
	return out
}
