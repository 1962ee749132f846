package oci

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestList lists registries in which an image hides under the tag of a
// signature.
func TestList(t *testing.T) {
	for kind, r := range registries {
		t.Run(kind, func(t *testing.T) {
			host := r.start(t)
			push := func(tag string) v1.Image {
				ref, err := name.NewTag(host + "/" + tag)
				if err != nil {
					t.Fatal(err)
				}
				image, err := random.Image(64, 1)
				if err != nil {
					t.Fatal(err)
				}
				if err := remote.Write(ref, image); err != nil {
					t.Fatal(err)
				}
				return image
			}
			attach := func(tag string, to v1.Image, layer types.MediaType) {
				at, err := partial.Descriptor(to)
				if err != nil {
					t.Fatal(err)
				}
				image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer([]byte("{}"), layer))
				if err != nil {
					t.Fatal(err)
				}
				ref, err := name.NewTag(host + "/" + tag)
				if err != nil {
					t.Fatal(err)
				}
				if err := remote.Write(ref, mutate.Subject(image, *at).(v1.Image)); err != nil {
					t.Fatal(err)
				}
			}
			planted := push("planted:1")
			attach("planted:module", planted, "application/wasm")
			attach("planted:system", planted, "application/vnd.erofs.layer.v1")
			attach("planted:signature", planted, "application/vnd.dev.cosign.simplesigning.v1+json")
			attach("planted:sbom", planted, "text/spdx+xml")
			push("shop/web:1.0")
			push("shop/web:1.1")
			push("other:latest")
			push("shop/web:sha256-" + strings.Repeat("a", 64) + ".sig")
			for _, c := range []struct {
				repositories []string
				want         []string
			}{
				{nil, []string{"other:latest image 1", "planted:1 image 1", "planted:module image 1", "planted:sbom attachment 0", "planted:signature attachment 0", "planted:system image 1", "shop/web:1.0 image 1", "shop/web:1.1 image 1", "shop/web:sha256-" + strings.Repeat("a", 64) + ".sig image 1"}},
				{[]string{"planted"}, []string{"planted:1 image 1", "planted:module image 1", "planted:sbom attachment 0", "planted:signature attachment 0", "planted:system image 1"}},
				{[]string{"other"}, []string{"other:latest image 1"}},
			} {
				var got []string
				err := List(t.Context(), host, c.repositories, Options{}, func(l *Listed) error {
					if strings.HasSuffix(l.Repository, "/planted") && strings.HasPrefix(l.Tag, "sha256-") {
						return l.Err // of the registry without the referrers API
					}
					got = append(got, fmt.Sprintf("%s:%s %s %d", strings.TrimPrefix(l.Repository, host+"/"), l.Tag, l.Form, len(l.Artifacts)))
					return l.Err
				})
				slices.Sort(got)
				if err != nil || !slices.Equal(got, c.want) {
					t.Errorf("%v, %v, want %v", got, err, c.want)
				}
			}
			if err := List(t.Context(), host, []string{"missing"}, Options{}, func(*Listed) error { return nil }); err == nil {
				t.Error("a repository that does not exist is listed")
			}
		})
	}
}

// TestEndlessList has registries whose lists do not end, or that lie.
func TestEndlessList(t *testing.T) {
	for what, c := range map[string]struct {
		catalog, tags, want string
	}{
		"endless pages":        {catalog: `{"repositories":["app"]}`, want: "pages of repositories"},
		"no repository":        {catalog: `{"repositories":[]}`, want: "lists none"},
		"a tag that is a path": {catalog: `{"repositories":["app"]}`, tags: `{"tags":["../../x"]}`, want: "which is not one"},
		"a missing manifest":   {catalog: `{"repositories":["app"]}`, tags: `{"tags":["gone"]}`, want: "does not have it"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/":
			case r.URL.Path == "/v2/_catalog":
				if c.tags == "" && strings.Contains(c.catalog, "a") && c.want == "pages of repositories" {
					w.Header().Set("Link", `</v2/_catalog?n=1>; rel="next"`)
				}
				fmt.Fprint(w, c.catalog)
			case strings.HasSuffix(r.URL.Path, "/tags/list"):
				fmt.Fprint(w, c.tags)
			default:
				http.NotFound(w, r)
			}
		}))
		err := List(t.Context(), strings.TrimPrefix(s.URL, "http://"), nil, Options{}, func(l *Listed) error { return l.Err })
		s.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
		if c.want == "pages of repositories" && !errors.Is(err, ErrTooMuch) {
			t.Errorf("%s: %v is not ErrTooMuch", what, err)
		}
	}
}
