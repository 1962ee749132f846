package chartindex

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/oci"
)

func TestParse(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	good := "chart: gateway-1.7.0\nprovenance: slsa-v1\nsignature: cosign:" + digest + "\n"
	for _, text := range []string{good, strings.Replace(good, "cosign:", "cosign:sha256:", 1)} {
		x, err := Parse([]byte(text))
		if err != nil || x.Chart != "gateway-1.7.0" || x.PredicateType != intoto.SLSAProvenanceV1 || x.Bundle != "sha256:"+digest {
			t.Errorf("%s: %+v, %v", text, x, err)
		}
	}
	for _, test := range []struct{ old, new, want string }{
		{good, "", "empty"},
		{"chart: gateway-1.7.0\n", "", "chart: missing"},
		{"provenance: slsa-v1\n", "", "provenance: missing"},
		{"slsa-v1", "slsa-v9", `provenance: must be one of slsa-v0.2, slsa-v1, not "slsa-v9"`},
		{"signature: cosign:" + digest, "", "signature: missing"},
		{"cosign:", "gpg:", "signature: "},
		{"cosign:" + digest, "cosign:latest", "signature: "},
		{digest, digest[1:], "signature: "},
		{"chart:", "charts:", `line 1: unknown member "charts": must be one of chart, provenance, signature`},
		{"chart: gateway-1.7.0", "chart: [a]", "line 1: chart: must be text, not a list"},
		{"chart: gateway-1.7.0", "chart: {a: b}", "line 1: chart: must be text, not a map"},
		{good, "- a\n", "line 1: must be a map, not a list"},
		{good, good + "chart: again\n", `line 4: duplicate member "chart"`},
		{good, good + ": : \x00", "not YAML"},
		{good, good + "---\n" + good, "more than one document"},
		{good, good + "#" + strings.Repeat("x", MaxSize), "more than 1048576 bytes"},
	} {
		if x, err := Parse([]byte(strings.Replace(good, test.old, test.new, 1))); !errors.Is(err, helm.ErrMalformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.80q instead of %q: %+v, %v, want %q", test.new, test.old, x, err, test.want)
		}
	}
}

// A chart passes the whole way: helm packs and pushes it, cosign attests it,
// and an index file that names the bundle proves it.
func TestIndexOfAttestedChart(t *testing.T) {
	w := newWorkshop(t)
	check := w.cosignKey()
	w.Pack("gateway", "1.7.0", "one")
	a, host := w.archive("gateway-1.7.0.tgz"), startRegistry(t)
	ref := w.push(host, "gateway-1.7.0.tgz", "gateway")
	w.Run("cosign", "attest", "--yes", "--key", "cosign.key", "--signing-config", "sc.json", "--type", "slsaprovenance1", "--predicate", "prov.json", ref)
	r, err := oci.Open(ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	artifacts, err := r.Artifacts(t.Context())
	if err != nil || artifacts[0].Chart == nil || artifacts[0].Chart.Archive != a.Digest || artifacts[0].Chart.Provenance == "" {
		t.Fatalf("the chart's manifest: %+v, %v", artifacts, err)
	}
	var bundle string
	if _, err := r.Each(t.Context(), func(found *oci.Attachment, problem error) error {
		bundle = found.Digest
		w.Write("bundles/some.name", found.Data)
		return problem
	}); err != nil {
		t.Fatal(err)
	}
	index := func(text string) *Index {
		t.Helper()
		x, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	text := "chart: gateway-1.7.0\nprovenance: slsa-v1\nsignature: cosign:" + bundle + "\n"
	got, err := index(text).Verify(t.Context(), a, Repository(r), check)
	if err != nil {
		t.Fatal(err)
	}
	if got.Manifest != artifacts[0].Digest || got.Proof.KeyName != "cosign.pub" {
		t.Errorf("got %+v", got)
	}

	folder := Folder(filepath.Join(w.Dir, "bundles"))
	if _, err := index(text).Verify(t.Context(), a, folder, check); !errors.Is(err, helm.ErrNotVerified) || !strings.Contains(err.Error(), "neither the archive") {
		t.Errorf("a bundle about a manifest that is not at hand: %v", err)
	}
	manifest, err := r.Manifest(t.Context(), artifacts[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	w.Write("bundles/manifest.json", manifest)
	if _, err := index(text).Verify(t.Context(), a, folder, check); err != nil {
		t.Errorf("with the manifest at hand: %v", err)
	}

	w.Pack("gateway", "1.7.0", "two")
	changed := w.archive("gateway-1.7.0.tgz")
	w.Pack("gateway", "1.8.0", "one")
	stranger := newWorkshop(t).cosignKey()
	none := strings.Repeat("0", 64)
	for _, test := range []struct {
		name, text string
		archive    *helm.Archive
		check      *evidence.Signer
		want       string
	}{
		{"another archive", text, changed, check, "neither the archive"},
		{"another chart", text, w.archive("gateway-1.8.0.tgz"), check, "the archive contains the chart gateway-1.8.0"},
		{"another kind of provenance", strings.Replace(text, "slsa-v1", "slsa-v0.2", 1), a, check, "the index file requires"},
		{"a bundle that is missing", strings.Replace(text, bundle, none, 1), a, check, "cannot find the bundle"},
		{"a bundle that is something else", strings.Replace(text, bundle, artifacts[0].Digest, 1), a, check, "sigstore bundle"},
		{"another key", text, a, stranger, "not verified"},
	} {
		for name, resolve := range map[string]Resolver{"folder": folder, "repository": Repository(r)} {
			if _, err := index(test.text).Verify(t.Context(), test.archive, resolve, test.check); !errors.Is(err, helm.ErrNotVerified) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %s: %v, want %q", test.name, name, err, test.want)
			}
		}
	}
	errBroken := errors.New("the disk is broken")
	broken := func(context.Context, string) ([]byte, error) { return nil, errBroken }
	if _, err := index(text).Verify(t.Context(), a, broken, check); !errors.Is(err, errBroken) || errors.Is(err, helm.ErrNotVerified) {
		t.Errorf("a resolver that fails: %v", err)
	}
	if _, err := index(text).Verify(t.Context(), a, Folder(filepath.Join(w.Dir, "missing")), check); !errors.Is(err, os.ErrNotExist) || errors.Is(err, helm.ErrNotVerified) {
		t.Errorf("a folder that is missing: %v", err)
	}
}

// A bundle of the archive itself is verified without a registry.
func TestIndexOfAttestedArchive(t *testing.T) {
	w := newWorkshop(t)
	check := w.cosignKey()
	w.Pack("gateway", "1.7.0", "one")
	if err := os.Mkdir(filepath.Join(w.Dir, "bundles"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.Run("cosign", "attest-blob", "--yes", "--key", "cosign.key", "--signing-config", "sc.json", "--type", "slsaprovenance1", "--predicate", "prov.json", "--bundle", "bundles/b.json", "gateway-1.7.0.tgz")
	x, err := Parse(fmt.Appendf(nil, "chart: gateway-1.7.0\nprovenance: slsa-v1\nsignature: cosign:%s\n", entry.SHA256(w.Read("bundles/b.json"))))
	if err != nil {
		t.Fatal(err)
	}
	a := w.archive("gateway-1.7.0.tgz")
	r, err := x.Verify(t.Context(), a, Folder(filepath.Join(w.Dir, "bundles")), check)
	if err != nil || r.Subject != a.Digest || r.Manifest != "" {
		t.Errorf("got %+v, %v", r, err)
	}
}
