package oci

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"muniment.dev/muniment/internal/publicaddr"
	"muniment.dev/muniment/verifiers/dsse"
)

// move copies a manifest from one tag to another.
func move(t *testing.T, host, from, to string) {
	t.Helper()
	a, err := name.NewTag(host + "/" + from)
	if err != nil {
		t.Fatal(err)
	}
	b, err := name.NewTag(host + "/" + to)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Put(b, d); err != nil {
		t.Fatal(err)
	}
}

// A liar is a registry with one image, whose other answers are the test's.
type liar struct {
	image     string // its manifest
	referrers http.HandlerFunc
	manifests http.HandlerFunc // other ones
	blobs     http.HandlerFunc
}

func (l *liar) digest() string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(l.image))) }

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handle := func(h http.HandlerFunc) {
		if h == nil {
			h = http.NotFound
		}
		h(w, r)
	}
	switch p := r.URL.Path; {
	case p == "/v2/":
	case strings.HasSuffix(p, "/manifests/latest"), strings.HasSuffix(p, "/manifests/"+l.digest()):
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		fmt.Fprint(w, l.image)
	case strings.Contains(p, "/referrers/"):
		handle(l.referrers)
	case strings.Contains(p, "/manifests/"):
		handle(l.manifests)
	case strings.Contains(p, "/blobs/"):
		handle(l.blobs)
	default:
		http.NotFound(w, r)
	}
}

func (l *liar) ask(t *testing.T) (*Report, error) {
	t.Helper()
	if l.image == "" {
		l.image = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1},"layers":[]}`
	}
	s := httptest.NewServer(l)
	t.Cleanup(s.Close)
	r, err := Open(strings.TrimPrefix(s.URL, "http://")+"/app:latest", Options{})
	if err != nil {
		t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := dsse.NewKey("", public)
	if err != nil {
		t.Fatal(err)
	}
	return Verify(t.Context(), r, keyCriteria(t, k), nil)
}

func answer(mediaType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = io.WriteString(w, text)
	}
}

// endless never stops to answer.
func endless(mediaType, begin, more string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, err := io.WriteString(w, begin)
		for chunk := strings.Repeat(more, 1+(64<<10)/len(more)); err == nil; {
			_, err = io.WriteString(w, chunk)
		}
	}
}

const indexType, manifestType = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"

func referrer(digest string) string {
	return `{"mediaType":"` + manifestType + `","digest":"` + digest + `","size":1}`
}

func listOf(descriptors ...string) string {
	return `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + strings.Join(descriptors, ",") + `]}`
}

func TestRegistryWithoutAnAnswer(t *testing.T) {
	many := make([]string, MaxAttestations+1)
	for i := range many {
		many[i] = referrer(fmt.Sprintf("sha256:%064x", i))
	}
	for _, test := range []struct {
		name    string
		liar    liar
		tooMuch bool
		want    string
	}{
		{"garbage instead of a list", liar{referrers: answer(indexType, "garbage")}, false, "list of referrers"},
		{"an endless list", liar{referrers: endless(indexType, `{"manifests":[`, referrer("sha256:"+strings.Repeat("1", 64))+",")}, true, "more than 4194304 bytes"},
		{"endless pages", liar{referrers: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<`+r.URL.Path+`?n=1>; rel="next"`)
			answer(indexType, listOf())(w, r)
		}}, true, "64 pages"},
		{"pages on another host", liar{referrers: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<http://other.example/v2/app/referrers/x>; rel="next"`)
			answer(indexType, listOf())(w, r)
		}}, false, "other.example"},
		{"many referrers", liar{referrers: answer(indexType, listOf(many...))}, true, "more than 1024 manifests"},
		{"a list of a million things that are nothing", liar{referrers: answer(indexType, `{"manifests":[`+strings.Repeat("{},", 1_300_000)+`{}]}`)}, true, "more than 1024 manifests"},
		{"an error", liar{referrers: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }}, false, "403"},
		{"an endless manifest under the tag of referrers", liar{manifests: endless(indexType, `{"x":"`, "x")}, true, "more than 4194304 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			report, err := test.liar.ask(t)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatalf("it is an answer: %+v", report)
			}
			if errors.Is(err, ErrTooMuch) != test.tooMuch || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 256<<20 {
				t.Errorf("%d bytes allocated", spent)
			}
		})
	}
}

// A registry that goes silent is given up, whether it has begun to answer or
// not.
func TestSilentRegistry(t *testing.T) {
	for name, begin := range map[string]string{"at once": "", "in the middle": `{"manifests":[`} {
		t.Run(name, func(t *testing.T) {
			l := liar{image: manifestOf("a/b", "x", 1), referrers: func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					answer(indexType, begin)(w, r)
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			}}
			s := httptest.NewServer(&l)
			t.Cleanup(s.Close)
			r, err := Open(strings.TrimPrefix(s.URL, "http://")+"/app:latest", Options{Silence: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if report, err := Verify(t.Context(), r, Criteria{}, nil); err == nil || !strings.Contains(err.Error(), "the registry sent nothing for 100ms") {
				t.Errorf("got %+v, %v", report, err)
			}
		})
	}
}

// manifestOf is the manifest of an artifact with one layer.
func manifestOf(mediaType, data string, size int64) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"x/y","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:%064d","size":2},"layers":[{"mediaType":%q,"digest":"sha256:%x","size":%d}]}`,
		manifestType, 0, mediaType, sha256.Sum256([]byte(data)), size)
}

// A broken attachment is a finding, and the other attachments are still
// examined.
func TestBrokenAttachments(t *testing.T) {
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	for _, test := range []struct {
		name, manifest string
		blob           string
		want           Result
		reason         string
	}{
		{"a bundle that is none", manifestOf(bundle, "garbage", 7), "garbage", Malformed, "sigstore bundle"},
		{"an envelope that is none", manifestOf("application/vnd.dsse.envelope.v1+json", "{}", 2), "{}", Malformed, ""},
		{"a statement that is none", manifestOf("application/vnd.in-toto+json", "{}", 2), "{}", Malformed, "_type: missing"},
		{"a signature without one", manifestOf(mediaTypeSimpleSigning, "{}", 2), "{}", Malformed, "dev.cosignproject.cosign/signature is missing"},
		{"an unknown type", manifestOf("application/zip", "x", 1), "x", Unread, "not a bundle"},
		{"no manifest", "garbage", "", Malformed, "not the manifest of an artifact"},
		{"a huge blob", manifestOf(bundle, "x", MaxBlob+1), "x", Malformed, "134217729 bytes"},
		{"a blob that is not there", manifestOf(bundle, "x", 1), "", Malformed, "does not have the blob"},
	} {
		t.Run(test.name, func(t *testing.T) {
			digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(test.manifest)))
			l := liar{referrers: answer(indexType, listOf(referrer(digest), referrer("sha256:"+strings.Repeat("9", 64))))}
			l.manifests = func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, digest) {
					http.NotFound(w, r)
					return
				}
				answer(manifestType, test.manifest)(w, r)
			}
			if test.blob != "" {
				l.blobs = answer("application/octet-stream", test.blob)
			}
			report, err := l.ask(t)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := json.Marshal(report.Artifacts[0].Findings)
			if report.Verified || len(report.Artifacts[0].Findings) != 2 {
				t.Fatalf("got %s", got)
			}
			if f := report.Artifacts[0].Findings[0]; f.Result != test.want || !strings.Contains(f.Reason, test.reason) {
				t.Errorf("got %s", got)
			}
			if f := report.Artifacts[0].Findings[1]; f.Result != Malformed || !strings.Contains(f.Reason, "does not have it") {
				t.Errorf("got %s", got)
			}
		})
	}
}

// One bad referrer does not prevent the others from being examined.
func TestUnusableReferrers(t *testing.T) {
	good := manifestOf("application/vnd.in-toto+json", "{}", 2)
	goodDigest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(good)))
	other := manifestOf("application/vnd.in-toto+json", "[]", 2)
	otherDigest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(other)))
	for _, test := range []struct {
		name      string
		first     string           // descriptor
		manifest  http.HandlerFunc // of the digest 1111…
		otherBlob http.HandlerFunc
		want      string
	}{
		{"a digest that is a path", referrer("sha256:../../../x"), nil, nil, "malformed digest"},
		{"no digest", "{}", nil, nil, "malformed digest"},
		{"not an object", "7", nil, nil, "malformed digest"},
		{"annotations that are a list", `{"digest":"sha256:` + strings.Repeat("1", 64) + `","annotations":["x"]}`, answer(manifestType, "{}"), nil, "digest"},
		{"a size that is text", `{"digest":"sha256:` + strings.Repeat("1", 64) + `","size":"1"}`, answer(manifestType, "{}"), nil, "digest"},
		{"a platform that is text, and no digest", `{"platform":"linux"}`, nil, nil, "malformed digest"},
		{"a repeated member", `{"mediaType":"x","mediaType":"y"}`, nil, nil, "malformed digest"},
		{"half a surrogate pair", `{"annotations":{"a":"\udce9"}}`, nil, nil, "malformed digest"},
		{"text that is not UTF-8", "{\"annotations\":{\"a\":\"\xff\"}}", nil, nil, "malformed digest"},
		{"a manifest that is not what was asked for", referrer("sha256:" + strings.Repeat("1", 64)), answer(manifestType, "{}"), nil, "digest"},
		{"a manifest that is forbidden", referrer("sha256:" + strings.Repeat("1", 64)), func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, nil, "403"},
		{"an endless manifest", referrer("sha256:" + strings.Repeat("1", 64)), endless(manifestType, `{"x":"`, "x"), nil, "more than 4194304 bytes"},
		{"a forged blob", referrer(otherDigest), nil, answer("application/octet-stream", "xx"), "read blob"},
		{"a blob on another machine", referrer(otherDigest), nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
		}, "169.254.169.254"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := liar{referrers: answer(indexType, listOf(test.first, referrer(goodDigest)))}
			l.manifests = func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, goodDigest):
					answer(manifestType, good)(w, r)
				case strings.HasSuffix(r.URL.Path, otherDigest):
					answer(manifestType, other)(w, r)
				case strings.HasSuffix(r.URL.Path, "1111") && test.manifest != nil:
					test.manifest(w, r)
				default:
					http.NotFound(w, r)
				}
			}
			l.blobs = func(w http.ResponseWriter, r *http.Request) {
				if test.otherBlob != nil && !strings.HasSuffix(r.URL.Path, fmt.Sprintf("%x", sha256.Sum256([]byte("{}")))) {
					test.otherBlob(w, r)
					return
				}
				answer("application/octet-stream", "{}")(w, r)
			}
			report, err := l.ask(t)
			if err != nil {
				t.Fatal(err)
			}
			found := report.Artifacts[0].Findings
			if len(found) != 2 || found[0].Result != Unusable || !strings.Contains(found[0].Reason, test.want) || strings.Contains(found[0].Reason, "unusable") || found[1].Result == Unusable || report.Unusable != 1 || report.Verified {
				t.Errorf("got %+v", found)
			}
		})
	}
}

// Redirects and token services lead to public and allowed addresses only,
// whatever their names.
func TestAddresses(t *testing.T) {
	for _, bad := range []string{"127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
		"::1", "::", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1", "ff02::1"} {
		if err := checkAddress(netip.AddrPortFrom(netip.MustParseAddr(bad), 443).String(), nil); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, good := range []string{"8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"} {
		if err := checkAddress(netip.AddrPortFrom(netip.MustParseAddr(good), 443).String(), nil); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	allowed, err := publicaddr.Parse([]string{"10.0.0.0/8", "fd00::1"})
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.1.2.3": true, "192.168.1.1": false, "fd00::1": true, "fd00::2": false} {
		if err := checkAddress(netip.AddrPortFrom(netip.MustParseAddr(ip), 1).String(), allowed); (err == nil) != want {
			t.Errorf("%s: %v", ip, err)
		}
	}
	if _, err := publicaddr.Parse([]string{"registry.example"}); err == nil {
		t.Error("a name is an address")
	}

	// A name that resolves to this machine, from a registry that is not on it.
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request has arrived") }))
	defer s.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	g, err := newGuarded("registry.example", remote.DefaultTransport, nil)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:"+port, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.RoundTrip(req); !errors.Is(err, ErrAddress) {
		t.Errorf("a name of a loopback address: %v", err)
	}
	for host, want := range map[string]bool{"localhost:5000": true, "127.0.0.1:5000": true, "[::1]:5000": true, "127.0.0.1": true, "registry.example": false, "localhost.example:1": false, "10.0.0.1:5000": false} {
		if isLoopbackHost(host) != want {
			t.Errorf("%s", host)
		}
	}
}

func TestOpen(t *testing.T) {
	for _, bad := range []string{"", "oci://", "UPPER/case", "host/app@sha256:12", "http://host/app"} {
		if _, err := Open(bad, Options{}); err == nil {
			t.Errorf("%q is a reference", bad)
		}
	}
}
