package oci

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/verifiers/format"
)

// harvest returns the attachments of a reference and the errors among them.
func harvest(t *testing.T, ref string) (all []*Attachment, problems []error) {
	t.Helper()
	r, err := Open(ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Harvest(t.Context(), func(a *Attachment, problem error) error {
		if problem != nil {
			problems = append(problems, problem)
			return nil
		}
		all = append(all, a)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all, problems
}

// A platform or list of referrers that the registry does not provide is
// reported, and does not hide the attachments of the others.
func TestHarvestOfAnIncompleteIndex(t *testing.T) {
	statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + strings.Repeat("2", 64) + `"}}],"predicateType":"https://example.com/p","predicate":{}}`
	referrerText := manifestOf("application/vnd.in-toto+json", statement, int64(len(statement)))
	platforms := []string{manifestOf("text/plain", "one", 3), manifestOf("text/plain", "two", 3)}
	digest := func(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }
	missing := "sha256:" + strings.Repeat("3", 64)
	descriptor := func(d string) string { return `{"mediaType":"` + manifestType + `","digest":"` + d + `","size":1}` }
	index := listOf(descriptor(missing), descriptor(digest(platforms[0])), descriptor(digest(platforms[1])))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p := r.URL.Path; {
		case p == "/v2/":
		case strings.HasSuffix(p, "/manifests/latest"):
			answer(indexType, index)(w, r)
		case strings.HasSuffix(p, "/manifests/"+digest(platforms[0])):
			answer(manifestType, platforms[0])(w, r)
		case strings.HasSuffix(p, "/manifests/"+digest(platforms[1])):
			answer(manifestType, platforms[1])(w, r)
		case strings.HasSuffix(p, "/referrers/"+digest(platforms[0])):
			http.Error(w, "no", http.StatusInternalServerError)
		case strings.HasSuffix(p, "/referrers/"+digest(platforms[1])):
			answer(indexType, listOf(descriptor(digest(referrerText))))(w, r)
		case strings.Contains(p, "/referrers/"):
			answer(indexType, listOf())(w, r)
		case strings.HasSuffix(p, "/manifests/"+digest(referrerText)):
			answer(manifestType, referrerText)(w, r)
		case strings.Contains(p, "/blobs/"):
			answer("application/octet-stream", statement)(w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	all, problems := harvest(t, strings.TrimPrefix(s.URL, "http://")+"/app:latest")
	if len(all) != 1 || all[0].Artifact.Digest != digest(platforms[1]) || string(all[0].Data) != statement {
		t.Errorf("got %+v", all)
	}
	for i, want := range []string{missing, "500"} {
		if len(problems) != 2 || !errors.Is(problems[i], ErrUnusable) || !strings.Contains(problems[i].Error(), want) {
			t.Fatalf("problems %q, want %q", problems, want)
		}
	}
	// verify-image gives no answer instead
	r, err := Open(strings.TrimPrefix(s.URL, "http://")+"/app:latest", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Each(t.Context(), func(*Attachment, error) error { return nil }); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("Each: %v", err)
	}
}

// Each attachment of the real cosign becomes a document that its signer's key
// verifies, wherever it is attached.
func TestHarvestedDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs it, with cosign")
	}
	c := newCosigner(t)
	for name, reg := range registries {
		t.Run(name, func(t *testing.T) {
			c.t = t
			host := reg.start(t)
			index, images := pushIndex(t, host, "app", "linux/amd64", "linux/arm64")
			c.attest(images[0])
			c.attestOld(images[1])
			c.signOld(index)
			all, problems := harvest(t, index)
			if len(all) != 3 || len(problems) > 0 {
				t.Fatalf("got %d attachments, %v", len(all), problems)
			}
			var sources []Source
			for _, a := range all {
				sources = append(sources, a.Source)
				d, err := a.Document()
				if err != nil {
					t.Fatal(err)
				}
				signed, err := format.Of(d.MediaType).Read(d.Data)
				if err != nil || signed.Signed == nil {
					t.Errorf("%s: %v", a.MediaType, err)
				}
				if a.Source != SourceCosignTag && string(d.Data) != string(a.Data) {
					t.Errorf("%s: the document was changed", a.MediaType)
				}
			}
			if !slices.Equal(sources, []Source{SourceCosignTag, reg.source, SourceCosignTag}) {
				t.Errorf("sources %q", sources)
			}
		})
	}
}
