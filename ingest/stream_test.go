package ingest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/verifiers/external"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
)

// spaces returns a reader of n spaces.
func spaces(n int64) io.Reader { return io.LimitReader(blank{}, n) }

type blank struct{}

func (blank) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// TestStreamedPredicates checks that the rules for a payload depend neither on
// how it is sent nor on its size.
func TestStreamedPredicates(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{})
	in.MaxStream = 1 << 30
	statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"aa"}}],"predicateType":"` + intoto.KindType("backfill-checkpoint") + `","predicate":{"entity":"Asset"}`
	for _, padding := range []int64{0, 2 * inlineBytes} {
		payload := io.MultiReader(strings.NewReader(statement), spaces(padding), strings.NewReader("}"))
		r, err := in.AppendStream(context.Background(), who, &Stream{Kind: "attestation", Payload: payload, MediaType: intoto.MediaType})
		if err != nil {
			t.Fatal(err)
		}
		all := headers(t, in, who)
		if h := all[len(all)-1]; r.Index == 0 || !strings.HasPrefix(h.Attributes["deviation.1"], "predicate: ") {
			t.Errorf("an invalid predicate with %d bytes of padding: %v", padding, h.Attributes)
		}
	}
}

// TestDeniedDocumentsOfAnySize checks that padding does not hide a document
// from a rule that denies it.
func TestDeniedDocumentsOfAnySize(t *testing.T) {
	soak.WithoutRace(t)
	in, who := withAdmission(t, AdmissionConfig{})
	in.MaxStream = 1 << 30
	const text = `
version: 1
mode: enforce
rules:
  - name: no secrets
    deny: true
    condition: document != null && has(document.secret)
  - name: everything
    unsigned: true
`
	if _, err := in.Admission.SetPolicy(context.Background(), who, []byte(text), "for the test"); err != nil {
		t.Fatal(err)
	}
	for _, padding := range []int64{0, inlineBytes, 3 << 20, maxParsed} {
		payload := io.MultiReader(strings.NewReader(`{"secret":1`), spaces(padding), strings.NewReader("}"))
		_, err := in.AppendStream(context.Background(), who, &Stream{Kind: "attestation", Payload: payload, MediaType: "application/json"})
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Decision.Rule != "no secrets" {
			t.Errorf("with %d bytes of padding: %v", padding, err)
		}
	}
}

// TestMediaTypeParameters checks that parameters do not change the media types
// of parsed formats.
func TestMediaTypeParameters(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{})
	for _, mediaType := range []string{external.MediaType, helm.MediaType, intoto.MediaType} {
		r := appendOne(t, in, who, Submission{Kind: "attestation", MediaType: strings.ToUpper(mediaType) + "; v=1", Payload: []byte("{}")})
		var field *FieldError
		if !errors.As(r.Err, &field) || field.Field != "payload" {
			t.Errorf("%s with a parameter: %v", mediaType, r.Err)
		}
	}
}

// counted counts the bytes read from it.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// TestStreamedBundleOfEmptyValues checks that a bundle with too many values is
// refused as soon as these have arrived, whatever its claimed media type.
func TestStreamedBundleOfEmptyValues(t *testing.T) {
	in, who := withAdmission(t, AdmissionConfig{})
	in.MaxStream = 1 << 30
	many := io.LimitReader(repeated(",{}"), 60<<20)
	for _, c := range []struct{ mediaType, first string }{
		{"application/vnd.dev.sigstore.bundle.v0.3+json", `{"verificationMaterial":{"tlogEntries":[{}`},
		{"application/json", `{"dsseEnvelope":{},"verificationMaterial":{"tlogEntries":[{}`},
		{"", `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"tlogEntries":[{}`},
	} {
		payload := &counted{Reader: io.MultiReader(strings.NewReader(c.first), many, strings.NewReader("]}}"))}
		_, err := in.AppendStream(context.Background(), who, &Stream{Kind: "attestation", Payload: payload, MediaType: c.mediaType})
		var field *FieldError
		if !errors.As(err, &field) || field.Field != "payload" || !strings.Contains(field.Message(), "more than 20000 values") {
			t.Errorf("as %q: %v", c.mediaType, err)
		}
		if payload.n > inlineBytes+1 {
			t.Errorf("as %q: %d bytes were read", c.mediaType, payload.n)
		}
	}
	// Other documents can have any number of values.
	payload := io.MultiReader(strings.NewReader(`{"a":[0`), io.LimitReader(repeated(",{}"), 3*1<<20), strings.NewReader("]}"))
	if _, err := in.AppendStream(context.Background(), who, &Stream{Kind: "attestation", Payload: payload, MediaType: "application/json"}); err != nil {
		t.Error(err)
	}
}

// repeated returns an endless reader of repetitions of a text.
func repeated(text string) io.Reader { return &repeater{text: text} }

type repeater struct {
	text string
	at   int
}

func (r *repeater) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[(r.at+i)%len(r.text)]
	}
	r.at += len(p)
	return len(p), nil
}
