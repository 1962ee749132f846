package oci

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/intoto"
)

func emptyIndex() v1.ImageIndex { return empty.Index }

func digestIn(ref string) string { return ref[strings.Index(ref, "@")+1:] }

func TestAttestedImage(t *testing.T) {
	c, stranger := newCosigner(t), newCosigner(t)
	for name, reg := range registries {
		t.Run(name, func(t *testing.T) {
			host := reg.start(t)
			ref := pushImage(t, host, "app")
			c.t, stranger.t = t, t
			if report := verify(t, ref, c.criteria()); report.Verified || len(report.Artifacts[0].Findings) != 0 {
				t.Errorf("before anything is attached: %+v", report)
			}
			stranger.attest(ref)
			if report := verify(t, ref, c.criteria()); report.Verified || len(report.Artifacts[0].Findings) != 1 || report.Artifacts[0].Findings[0].Result != NotVerified {
				t.Errorf("attested by a stranger: %+v", report.Artifacts[0].Findings)
			}
			c.attest(ref)
			criteria := c.criteria()
			criteria.PredicateType = intoto.SLSAProvenanceV1
			r, err := Open("oci://"+host+"/app:latest", Options{})
			if err != nil {
				t.Fatal(err)
			}
			var kept [][]byte
			report, err := Verify(t.Context(), r, criteria, func(f *Finding, data []byte) error {
				if !strings.HasPrefix(f.MediaType, "application/vnd.dev.sigstore.bundle") {
					t.Errorf("media type %s", f.MediaType)
				}
				kept = append(kept, bytes.Clone(data))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !report.Verified || len(report.Artifacts) != 1 || report.Artifacts[0].Digest != digestIn(ref) || len(kept) != 1 {
				t.Fatalf("got %+v", report)
			}
			for _, f := range report.Artifacts[0].Findings {
				if f.Source != reg.source {
					t.Errorf("found by %s, want %s", f.Source, reg.source)
				}
				if f.Counts && (f.KeyName != "cosign.pub" || f.Category != intoto.BuiltBy || f.Facts["runDetails.builder.id"] != "https://example.com/ci") {
					t.Errorf("got %+v", f)
				}
			}
			if data, err := r.Blob(t.Context(), counting(report)[0].Digest); err != nil || !bytes.Equal(data, kept[0]) {
				t.Errorf("the bundle by its digest: %v", err)
			}
			criteria.PredicateType = "https://example.com/other"
			if report := verify(t, ref, criteria); report.Verified {
				t.Error("verified with another predicate type")
			}
			if report := verify(t, pushImage(t, host, "other"), c.criteria()); report.Verified {
				t.Error("another image is verified")
			}
		})
	}
}

func counting(r *Report) []Finding {
	var out []Finding
	for _, a := range r.Artifacts {
		for _, f := range a.Findings {
			if f.Counts {
				out = append(out, f)
			}
		}
	}
	return out
}

func TestCosignTags(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs it, with cosign")
	}
	c := newCosigner(t)
	for name, reg := range registries {
		t.Run(name, func(t *testing.T) {
			host := reg.start(t)
			c.t = t
			attested, signed := pushImage(t, host, "attested"), pushImage(t, host, "signed")
			c.attestOld(attested)
			c.signOld(signed)
			for ref, category := range map[string]intoto.Category{attested: intoto.BuiltBy, signed: intoto.SignedBy} {
				report := verify(t, ref, c.criteria())
				if !report.Verified || len(counting(report)) != 1 {
					t.Fatalf("%s: %+v", ref, report.Artifacts[0].Findings)
				}
				if f := counting(report)[0]; f.Source != SourceCosignTag || f.Category != category || f.KeyName != "cosign.pub" {
					t.Errorf("%s: %+v", ref, f)
				}
				checkKept(t, ref, c.criteria())
				if report := verify(t, ref, newCosigner(t).criteria()); report.Verified || report.Artifacts[0].Findings[0].Result != NotVerified {
					t.Errorf("%s with another key: %+v", ref, report.Artifacts[0].Findings)
				}
			}
		})
	}
}

// checkKept makes sure that what is kept of cosign's tags is a bundle that
// verifies by itself, if not about the image: signatures are over a document.
func checkKept(t *testing.T, ref string, c Criteria) {
	t.Helper()
	r, err := Open(ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), r, c, func(_ *Finding, data []byte) error {
		d, err := format.Bundle.Read(data)
		if err != nil {
			return err
		}
		_, err = d.Verify(c.Signer, evidence.Free)
		return err
	}); err != nil {
		t.Errorf("%s: what is kept: %v", ref, err)
	}
}

// A signature of one image under the tag of another.
func TestSignatureMovedToAnotherImage(t *testing.T) {
	c := newCosigner(t)
	host := startReferrers(t)
	signed, other := pushImage(t, host, "app"), pushImage(t, host, "app")
	c.signOld(signed)
	c.attestOld(signed)
	for _, suffix := range []string{".sig", ".att"} {
		move(t, host, "app:"+strings.Replace(digestIn(signed), ":", "-", 1)+suffix, "app:"+strings.Replace(digestIn(other), ":", "-", 1)+suffix)
	}
	report := verify(t, other, c.criteria())
	if report.Verified || len(report.Artifacts[0].Findings) != 2 {
		t.Fatalf("got %+v", report.Artifacts[0].Findings)
	}
	for _, f := range report.Artifacts[0].Findings {
		if f.Result != NotVerified {
			t.Errorf("got %+v", f)
		}
	}
}

func TestPlatforms(t *testing.T) {
	c := newCosigner(t)
	for name, reg := range registries {
		t.Run(name, func(t *testing.T) {
			host := reg.start(t)
			c.t = t
			index, images := pushIndex(t, host, "app", "linux/amd64", "linux/arm64")
			c.attest(images[0])
			report := verify(t, index, c.criteria())
			if report.Verified || len(report.Artifacts) != 3 || !report.Artifacts[1].Attested || report.Artifacts[2].Attested {
				t.Fatalf("one platform of two: %+v", report)
			}
			if report.Artifacts[1].Platform != "linux/amd64" || report.Artifacts[2].Platform != "linux/arm64" || report.Artifacts[0].Platform != "" {
				t.Errorf("platforms %q, %q", report.Artifacts[1].Platform, report.Artifacts[2].Platform)
			}
			c.attest(images[1])
			if report := verify(t, index, c.criteria()); !report.Verified || report.Artifacts[0].Attested {
				t.Errorf("both platforms: %+v", report)
			}
			second, _ := pushIndex(t, host, "second", "linux/amd64", "linux/arm64")
			c.attest(second)
			if report := verify(t, second, c.criteria()); !report.Verified || !report.Artifacts[0].Attested {
				t.Errorf("the index: %+v", report)
			}
		})
	}
}

// buildKitIndex is an index as BuildKit makes it, with an attestation manifest
// for its one image.
func buildKitIndex(t *testing.T, host, statement string) string {
	t.Helper()
	ref, _ := buildKitIndexWith(t, host, statement, true)
	return ref
}

// buildKitIndexWith returns the references of the index and its image.
func buildKitIndexWith(t *testing.T, host, statement string, annotated bool) (string, string) {
	t.Helper()
	index, images := pushIndex(t, host, "build", "linux/amd64")
	_ = index
	layer := static.NewLayer([]byte(strings.ReplaceAll(statement, "DIGEST", strings.TrimPrefix(digestIn(images[0]), "sha256:"))), intoto.MediaType)
	attestations, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, Annotations: map[string]string{"in-toto.io/predicate-type": intoto.SLSAProvenanceV1}})
	if err != nil {
		t.Fatal(err)
	}
	attestations = mutate.MediaType(attestations, types.OCIManifestSchema1)
	r, err := Open(index, Options{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := r.puller.Get(t.Context(), r.ref)
	if err != nil {
		t.Fatal(err)
	}
	base, err := old.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	d := v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}
	if annotated {
		d.Annotations = map[string]string{annotationReferenceType: attestationManifest, annotationReferenceDigest: digestIn(images[0])}
	}
	return push(t, host, "build", mutate.AppendManifests(base, mutate.IndexAddendum{Add: attestations, Descriptor: d})), images[0]
}

// BuildKit's attestations are no platform, even if a copy of the index has
// lost their annotations. An image of an unknown platform is one.
func TestUnknownPlatform(t *testing.T) {
	c := newCosigner(t)
	host := startReferrers(t)
	ref, image := buildKitIndexWith(t, host, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"_","digest":{"sha256":"DIGEST"}}],"predicateType":"`+intoto.SLSAProvenanceV1+`","predicate":`+provenance+`}`, false)
	c.attest(image)
	report := verify(t, ref, c.criteria())
	if !report.Verified || len(report.Artifacts) != 2 || len(report.Artifacts[0].Findings) != 1 || report.Artifacts[0].Findings[0].Source != SourceBuildKit {
		t.Errorf("got %+v", report)
	}
	ref, images := pushIndex(t, host, "unknown", "linux/amd64", "unknown/unknown")
	c.attest(images[0])
	if report := verify(t, ref, c.criteria()); report.Verified || len(report.Artifacts) != 3 {
		t.Errorf("an image that nobody has attested passes: %+v", report)
	}
}

func TestBuildKit(t *testing.T) {
	c := newCosigner(t)
	statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"_","digest":{"sha256":"DIGEST"}}],"predicateType":"` + intoto.SLSAProvenanceV1 + `","predicate":` + provenance + `}`
	for name, reg := range registries {
		t.Run(name, func(t *testing.T) {
			c.t = t
			ref := buildKitIndex(t, reg.start(t), statement)
			report := verify(t, ref, c.criteria())
			if report.Verified || len(report.Artifacts) != 2 || len(report.Artifacts[1].Findings) != 1 {
				t.Fatalf("got %+v", report)
			}
			f := report.Artifacts[1].Findings[0]
			if f.Result != Unsigned || f.Source != SourceBuildKit || f.PredicateType != intoto.SLSAProvenanceV1 || f.Signer != nil || f.Counts || f.Reason != "it has no signature" {
				t.Errorf("got %+v", f)
			}
			c.attest(ref)
			if report := verify(t, ref, c.criteria()); !report.Verified {
				t.Error("the signed index is not verified")
			}
		})
	}
	host := startReferrers(t)
	for _, test := range []struct{ statement, want string }{
		{strings.Replace(statement, "DIGEST", strings.Repeat("0", 64), 1), "it is not about this artifact"},
		{strings.Replace(statement, `"id":"https://example.com/ci"`, `"id":""`, 1), "predicate.runDetails.builder.id"},
		{`{}`, "_type: missing"},
	} {
		report := verify(t, buildKitIndex(t, host, test.statement), c.criteria())
		if f := report.Artifacts[1].Findings[0]; report.Verified || !strings.Contains(f.Reason+strings.Join(f.Deviations, " "), test.want) {
			t.Errorf("%s: %+v", test.statement, f)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	c := newCosigner(t)
	ref := pushImage(t, startReferrers(t), "app")
	c.attest(ref)
	data, err := json.Marshal(verify(t, ref, c.criteria()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verified":true`, `"digest":"` + digestIn(ref), `"attestations":[{"source":"referrers"`, `"signer":{"keyId":"sha256:`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is not in %s", want, data)
		}
	}
}
