package sigstore

import (
	"errors"
	"testing"

	"muniment.dev/muniment/verifiers/dsse"
)

// Any input gets a verdict: verified, not verified or malformed.
func FuzzVerify(f *testing.F) {
	for _, path := range []string{"examples/bundle-provenance.json", "examples/bundle-publish.json", bundles + "dsse.sigstore.json", bundles + "dsse-2sigs.sigstore.json", bundles + "othername.sigstore.json"} {
		f.Add(realFile(f, path))
	}
	k, err := dsse.ParseKey("npm", realFile(f, "examples/publish_key.pub"))
	if err != nil {
		f.Fatal(err)
	}
	verifiers := []*Verifier{
		certificates(f, PublicGood(), ForCertificates), keys(f, PublicGood(), ForKeys, k), keys(f, nil, noneNeeded, k),
		certificates(f, PublicGood(), Requirements{LogEntries: None, Timestamps: 1, SignedTimestamps: true, SCTs: None}),
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("Parse: %v does not wrap ErrMalformed", err)
			}
			return
		}
		for _, v := range verifiers {
			got, err := v.Verify(b, nil)
			if err != nil && !errors.Is(err, ErrNotVerified) || err == nil && (got.Signer.Identity == "") == (got.Signer.KeyID == "") {
				t.Errorf("Verify: %+v, %v", got, err)
			}
		}
	})
}

func FuzzTrustedRoot(f *testing.F) {
	f.Add(PublicGoodJSON())
	for _, name := range []string{"public-good.json", "public-key-validity.json", "scaffolding.json"} {
		f.Add(realFile(f, roots+name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseTrustedRoot(data)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%v does not wrap ErrMalformed", err)
		}
		if err == nil && r.Describe().Digest != r.Digest() {
			t.Error("the digest differs")
		}
	})
}
