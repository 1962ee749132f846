package catalog

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// checkRoundTrip checks that a set is the same after a way through its entries.
func checkRoundTrip(t *testing.T, s *Set) {
	t.Helper()
	entries, err := s.Entries()
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1]
	if len(entries) != len(s.Controls)+1 || last.Kind != kindname.ControlSet {
		t.Fatalf("%d entries for %d controls, the last of kind %s", len(entries), len(s.Controls), last.Kind)
	}
	var payloads [][]byte
	for i, e := range entries[:len(entries)-1] {
		if e.Kind != kindname.Control || e.ID != s.Controls[i].Id {
			t.Errorf("entry %d is of kind %s and control %s", i, e.Kind, e.ID)
		}
		payloads = append(payloads, e.Payload)
	}
	slices.Reverse(payloads)
	back, err := FromEntries(last.Payload, append(payloads, []byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if !bytes.Equal(e.Payload, again[i].Payload) || e.Digest != again[i].Digest {
			t.Errorf("entry %d is\n%s\nand was\n%s", i, again[i].Payload, e.Payload)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, name := range Templates() {
		checkRoundTrip(t, mustParse(t, template(t, name)))
	}
	checkRoundTrip(t, mustParse(t, head+"valid_for: 90m\nunknown_image_fields: warn\nimage_paths: [{api_version: a/v1, kind: B, path: 'c[].d'}]\n"+controls+
		control("parameters: {x: [1, 2.5, null, {y: true}]}, sla_days: {critical: 0, low: 3650}, exceptions: {max_days: 0, approvers: 8}, applies_to: {types: [file], names: ['**']}, "+
			"check: {require: [{name: a, signers: [ci], max_age: 36h, min_signers: 1, optional: true}]}")))
}

// TestFromEntries checks that entries which do not form a valid set are
// refused.
func TestFromEntries(t *testing.T) {
	entries, err := mustParse(t, head+controls+control("check: {"+scan+"}")).Entries()
	if err != nil {
		t.Fatal(err)
	}
	one, set := entries[0], entries[1]
	of := func(payload []byte, old, new string) []byte {
		if !bytes.Contains(payload, []byte(old)) {
			t.Fatalf("%s does not contain %s", payload, old)
		}
		return bytes.Replace(payload, []byte(old), []byte(new), 1)
	}
	changed := func(old, new string) (a, b []byte) {
		c := of(one.Payload, old, new)
		return of(set.Payload, one.Digest, entry.SHA256(c)), c
	}
	retired, retiredControl := changed(`"active"`, `"retired"`)
	renamed, renamedControl := changed(`"id":"A"`, `"id":"B"`)
	never, neverControl := changed(`"check":{`, `"check":{"condition":"false",`)
	for name, c := range map[string]struct {
		set, control []byte
		want         string
	}{
		"missing":      {set.Payload, []byte("{}"), "control A: no document with the digest sha256:"},
		"changed":      {set.Payload, of(one.Payload, `"t"`, `"u"`), "no document with the digest"},
		"not JSON":     {[]byte("{"), one.Payload, "control set: "},
		"unknown":      {of(set.Payload, `{`, `{"x":1,`), one.Payload, "unknown field"},
		"retired":      {retired, retiredControl, "its state is retired"},
		"another ID":   {renamed, renamedControl, "the document is that of control B"},
		"stage":        {of(set.Payload, `"deploy"`, `"other"`), one.Payload, `controls[0].modes[0].stage: stage "deploy" is not defined`},
		"signer":       {of(set.Payload, `"name":"ci"`, `"name":"cd"`), one.Payload, `"ci" is not a signer`},
		"never passes": {never, neverControl, "the control can never be satisfied"},
		"too large":    {[]byte(strings.Repeat(" ", MaxSize+1)), one.Payload, "too large"},
	} {
		if _, err := FromEntries(c.set, [][]byte{c.control}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := FromEntries(set.Payload, [][]byte{one.Payload}); err != nil {
		t.Error(err)
	}
}
