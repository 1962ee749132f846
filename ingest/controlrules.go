package ingest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
)

// checkControl refuses malformed patterns, unknown kinds, duplicate names and a
// control that includes itself. The expression of the condition and the names
// of signers and stages are checked where the control set is known.
func checkControl(m *munimentv1.Control, _ time.Time, _ *contents) error {
	if i := slices.Index(m.Includes, m.Id); i >= 0 {
		return payloadErrorf(fmt.Sprintf("includes[%d]", i), "control %q cannot include itself", m.Id)
	}
	if err := checkGlobs("appliesTo.names", m.GetAppliesTo().GetNames()); err != nil {
		return err
	}
	for i, mode := range m.Modes {
		if err := checkGlobs(fmt.Sprintf("modes[%d].environments", i), mode.Environments); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for i, r := range m.GetCheck().GetRequire() {
		path := fmt.Sprintf("check.require[%d]", i)
		if seen[r.Name] {
			return payloadErrorf(path+".name", "duplicate name %q", r.Name)
		}
		seen[r.Name] = true
		if err := checkRequirement(path, r); err != nil {
			return err
		}
	}
	return nil
}

func checkRequirement(path string, r *munimentv1.Requirement) error {
	for i, name := range r.Kinds {
		k, ok := kinds.Lookup(name)
		at := fmt.Sprintf("%s.kinds[%d]", path, i)
		switch {
		case !ok:
			return payloadErrorf(at, "unknown kind %q", name)
		case k.ByServer() && name != kindname.GateDecision:
			return payloadErrorf(at, "entries of kind %s are the log's own record, not evidence about an artifact", name)
		}
	}
	stated := func(name string) bool { k, ok := kinds.Lookup(name); return ok && k.HasPredicates() }
	if len(r.PredicateTypes) > 0 && len(r.Kinds) > 0 && !slices.ContainsFunc(r.Kinds, stated) {
		return payloadErrorf(path+".predicateTypes", "entries of kind %s have no predicate type", r.Kinds[0])
	}
	if err := checkGlobs(path+".predicateTypes", r.PredicateTypes); err != nil {
		return err
	}
	return checkGlobs(path+".submitters", r.Submitters)
}

// checkGlobs returns an error about the first malformed pattern.
func checkGlobs(path string, globs []string) error {
	for i, g := range globs {
		if err := glob.Check(g); err != nil {
			return payloadErrorf(fmt.Sprintf("%s[%d]", path, i), "%s", err)
		}
	}
	return nil
}

// checkControlSet refuses duplicates and malformed signers.
func checkControlSet(m *munimentv1.ControlSet, _ time.Time, _ *contents) error {
	if err := checkGlobs("environments", m.Environments); err != nil {
		return err
	}
	names, weight := map[string]bool{}, 0
	for i, s := range m.Signers {
		path := fmt.Sprintf("signers[%d]", i)
		if names[s.Name] {
			return payloadErrorf(path+".name", "duplicate name %q", s.Name)
		}
		names[s.Name] = true
		n, err := checkSigner(path, s)
		if err != nil {
			return err
		}
		if weight += n; weight > condition.MaxWeights {
			return payloadErrorf(path, "the regular expressions of all signers are too large together")
		}
	}
	ids := map[string]bool{}
	for i, c := range m.Controls {
		if ids[c.Id] {
			return payloadErrorf(fmt.Sprintf("controls[%d].id", i), "duplicate control %q", c.Id)
		}
		ids[c.Id] = true
	}
	return nil
}

// checkSigner checks that a signer has exactly one form. It returns the weight
// of the signer's regular expressions.
func checkSigner(path string, s *munimentv1.NamedSigner) (weight int, err error) {
	forms := 0
	for _, has := range []bool{s.Identity+s.IdentityRegexp+s.Issuer+s.IssuerRegexp != "", len(s.KeyIds) > 0, len(s.Submitters) > 0} {
		if has {
			forms++
		}
	}
	switch {
	case forms != 1:
		return 0, payloadErrorf(path, "must have exactly one of identity with issuer, keyIds, and submitters")
	case len(s.KeyIds) > 0:
		return 0, checkKeyIDs(path+".keyIds", s.KeyIds)
	case len(s.Submitters) > 0:
		return 0, checkGlobs(path+".submitters", s.Submitters)
	case (s.Identity == "") == (s.IdentityRegexp == ""):
		return 0, payloadErrorf(path+".identity", "must have either identity or identityRegexp")
	case (s.Issuer == "") == (s.IssuerRegexp == ""):
		return 0, payloadErrorf(path+".issuer", "must have either issuer or issuerRegexp")
	}
	for _, p := range []struct{ field, pattern string }{{".identityRegexp", s.IdentityRegexp}, {".issuerRegexp", s.IssuerRegexp}} {
		_, n, err := condition.Anchored(p.pattern)
		if err != nil {
			return 0, payloadErrorf(path+p.field, "%s", err)
		}
		weight += n
	}
	return weight, nil
}

// checkKeyIDs returns an error about the first key ID that no signer can have.
func checkKeyIDs(path string, ids []string) error {
	for i, id := range ids {
		if err := entry.CheckKeyID(id); err != nil {
			return payloadErrorf(fmt.Sprintf("%s[%d]", path, i), "%q: %s", id, err)
		}
	}
	return nil
}

// checkExceptionRequest refuses requests that have expired. A request for
// break-glass can arrive late, as a record of what was done without the ledger.
func checkExceptionRequest(m *munimentv1.ExceptionRequest, now time.Time, _ *contents) error {
	end := m.Expires.AsTime()
	switch {
	case m.Used != nil:
		if err := checkUse(m.Used.Time.AsTime(), end, now); err != nil {
			return err
		}
	case m.BreakGlass && end.After(now.Add(kinds.MaxBreakGlass)):
		return payloadErrorf("expires", "%s is more than 24 hours ahead: request an exception without breakGlass", end.Format(time.RFC3339))
	case !m.BreakGlass:
		if err := checkFuture(end, now); err != nil {
			return err
		}
	}
	if err := checkGlobs("scope.globs", m.Scope.Globs); err != nil {
		return err
	}
	return checkGlobs("scope.environments", m.Scope.Environments)
}

// checkUse refuses times that break-glass cannot have been used at. How long
// ago that was does not matter.
func checkUse(used, end, now time.Time) error {
	switch {
	case used.After(now.Add(kinds.MaxClockSkew)):
		return payloadErrorf("used.time", "%s is in the future: correct the clock of the machine that signed it", used.Format(time.RFC3339))
	case !end.After(used):
		return payloadErrorf("expires", "%s is not after the use at %s", end.Format(time.RFC3339), used.Format(time.RFC3339))
	case end.After(used.Add(kinds.MaxBreakGlass)):
		return payloadErrorf("expires", "%s is more than 24 hours after the use at %s", end.Format(time.RFC3339), used.Format(time.RFC3339))
	}
	return nil
}

// checkExceptionDecision refuses renewals that have expired.
func checkExceptionDecision(m *munimentv1.ExceptionDecision, now time.Time, _ *contents) error {
	if m.Expires == nil {
		return nil
	}
	return checkFuture(m.Expires.AsTime(), now)
}

func checkFuture(end, now time.Time) error {
	if end.After(now) {
		return nil
	}
	return payloadErrorf("expires", "%s is in the past: an exception must end in the future", end.Format(time.RFC3339))
}

// checkKeyEvent refuses a key that no evidence can be signed with, because its
// ID is misspelled, or that is not the public key.
func checkKeyEvent(m *munimentv1.KeyEvent, _ time.Time, _ *contents) error {
	if m.KeyId != "" {
		if err := entry.CheckKeyID(m.KeyId); err != nil {
			return payloadErrorf("keyId", "%q: %s", m.KeyId, err)
		}
	}
	if m.PublicKey == "" {
		return nil
	}
	if !strings.HasSuffix(strings.TrimRight(m.PublicKey, "\r\n"), "-----END PUBLIC KEY-----") {
		return payloadErrorf("publicKey", "must be one PEM block of the type PUBLIC KEY")
	}
	der, err := pemfile.SubjectPublicKeyInfo([]byte(m.PublicKey))
	if err != nil {
		return payloadErrorf("publicKey", "not a public key: %s", err)
	}
	if _, err := dsse.ParseKey("", []byte(m.PublicKey)); err != nil {
		return payloadErrorf("publicKey", "%s", err)
	}
	if id := entry.SHA256(der); m.KeyId != id {
		return payloadErrorf("keyId", "not the ID of publicKey, which is %s", id)
	}
	return nil
}
