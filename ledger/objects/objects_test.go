package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/bucketrig"
	"muniment.dev/muniment/ledger/store"
)

// quick opens a bucket that does not wait long for answers.
func quick(t *testing.T, url string) *Bucket {
	t.Helper()
	b, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	b.pause, b.patience = time.Millisecond, 5*time.Second
	return b
}

func TestBucket(t *testing.T) {
	rig := bucketrig.ForTest(t)
	ctx := t.Context()
	b := quick(t, rig.URL("some/prefix"))
	if err := b.Check(ctx); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 100_000)
	rand.Read(content)
	for name, content := range map[string][]byte{"a/0": content, "a/1": content[:1], "a/2": {}} {
		size := int64(len(content))
		if err := b.Confirm(ctx, name, size, Sum{}); !errors.Is(err, ErrMissing) {
			t.Errorf("an object that was not written: %v", err)
		}
		sum, err := b.Put(ctx, name, content)
		if err == nil {
			sum, err = b.Put(ctx, name, content)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Confirm(ctx, name, size, sum); err != nil {
			t.Error(err)
		}
		if err := b.Confirm(ctx, name, size+1, sum); !errors.Is(err, ErrWrong) {
			t.Errorf("another size is confirmed: %v", err)
		}
		if err := b.Confirm(ctx, name, size, Sum{}); !errors.Is(err, ErrWrong) {
			t.Errorf("another sum is confirmed: %v", err)
		}
		if got, err := b.Get(ctx, name, size); err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes of %d: %v", len(got), size, err)
		}
		for _, wrong := range []int64{size + 1, size + 1000} {
			if _, err := b.Get(ctx, name, wrong); !errors.Is(err, ErrWrong) {
				t.Errorf("%d bytes were read of %d: %v", wrong, size, err)
			}
		}
		for range 2 {
			if err := b.Delete(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Get(ctx, name, size); !errors.Is(err, ErrMissing) {
			t.Errorf("a deleted object: %v", err)
		}
	}
	t.Run("Conditions", func(t *testing.T) { testConditions(t, b) })
	t.Run("Versions", func(t *testing.T) { testVersions(t, rig, b) })
	t.Run("Refused", func(t *testing.T) { testRefused(t, rig) })
	t.Run("Faults", func(t *testing.T) { testFaults(t, rig) })
	t.Run("Network", func(t *testing.T) { testNetwork(t, rig) })
}

// testConditions writes objects only where there is none, or a known one.
func testConditions(t *testing.T, b *Bucket) {
	ctx := t.Context()
	f := Form{Type: "text/plain", Cache: "max-age=5"}
	if _, err := b.Replace(ctx, "c", `"tag"`, []byte("none"), f); !errors.Is(err, ErrMissing) && !errors.Is(err, ErrExists) {
		t.Errorf("an object that is not there is replaced: %v", err)
	}
	if _, err := b.Create(ctx, "c", []byte("one"), f); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "c", []byte("two"), f); !errors.Is(err, ErrExists) {
		t.Errorf("an object is created twice: %v", err)
	}
	got, tag, err := b.Read(ctx, "c", 3)
	if err != nil || string(got) != "one" {
		t.Fatalf("read %q: %v", got, err)
	}
	if _, _, err := b.Read(ctx, "c", 2); !errors.Is(err, ErrWrong) {
		t.Errorf("more is read than the limit: %v", err)
	}
	if _, err := b.Replace(ctx, "c", tag, []byte("three"), f); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Replace(ctx, "c", tag, []byte("four"), f); !errors.Is(err, ErrExists) {
		t.Errorf("an object is replaced that another one has replaced: %v", err)
	}
	if got, _, err = b.Read(ctx, "c", 10); err != nil || string(got) != "three" {
		t.Errorf("read %q: %v", got, err)
	}
	if _, _, err := b.Read(ctx, "d", 10); !errors.Is(err, ErrMissing) {
		t.Errorf("an object that is not there is read: %v", err)
	}
	for _, c := range []struct {
		one, other string
		overlap    bool
	}{
		{"s3://bucket/a?region=r", "s3://bucket/a?region=r", true}, {"s3://bucket?region=r", "s3://bucket/a?region=r", true},
		{"s3://bucket/a/b?region=r", "s3://bucket/a/?endpoint=http://x", true}, {"s3://bucket/a?region=r", "s3://bucket/ab?region=r", false},
		{"s3://bucket/a?region=r", "s3://other/a?region=r", false},
	} {
		if overlap, err := Overlap(c.one, c.other); overlap != c.overlap || err != nil {
			t.Errorf("%s and %s overlap: %v, %v", c.one, c.other, overlap, err)
		}
	}
}

// testVersions deletes objects from a bucket that keeps their versions.
func testVersions(t *testing.T, rig *bucketrig.Rig, b *Bucket) {
	ctx := t.Context()
	_, err := b.client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &b.bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"one", "two", "three"} {
		for _, name := range []string{"v/1", "v/10"} {
			if _, err := b.Put(ctx, name, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.deleteOne(ctx, "v/1", nil); err != nil { // a marker, and no deletion
		t.Fatal(err)
	}
	if err := b.Delete(ctx, "v/1"); err != nil {
		t.Fatal(err)
	}
	prefix := b.prefix + "v/"
	out, err := b.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &b.bucket, Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.DeleteMarkers) > 0 {
		t.Errorf("%d markers are left", len(out.DeleteMarkers))
	}
	for _, v := range out.Versions {
		if *v.Key == prefix+"1" {
			t.Errorf("a version of %s is left", *v.Key)
		}
	}
	if len(out.Versions) != 3 {
		t.Errorf("%d versions of the other object are left, want 3", len(out.Versions))
	}
}

// testRefused uses buckets that the storage refuses. Each error names a remedy,
// and none contains a secret.
func testRefused(t *testing.T, rig *bucketrig.Rig) {
	other := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(other, []byte("[default]\naws_access_key_id = owner\naws_secret_access_key = wrong-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ url, want string }{
		{strings.Replace(rig.URL(""), url.QueryEscape(rig.Credentials), url.QueryEscape(other), 1), "check the credentials"},
		{strings.Replace(rig.URL(""), "//"+bucketrig.Bucket, "//another", 1), "no such bucket: create it"},
	} {
		b := quick(t, c.url)
		_, put := b.Put(t.Context(), "x", []byte("x"))
		for what, err := range map[string]error{"check": b.Check(t.Context()), "put": put, "delete": b.Delete(t.Context(), "x")} {
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "wrong-secret") || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: %v: want %q", what, err, c.want)
			}
		}
	}
}

// A faulty storage is one behind a proxy that answers some requests itself.
type faulty struct {
	*httputil.ReverseProxy
	left   atomic.Int32 // how many requests it answers
	answer atomic.Pointer[http.HandlerFunc]
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.left.Add(-1) >= 0 {
		(*f.answer.Load())(w, r)
		return
	}
	f.ReverseProxy.ServeHTTP(w, r)
}

func newFaulty(t *testing.T, rig *bucketrig.Rig) (*faulty, *Bucket) {
	f := &faulty{ReverseProxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: rig.Address})}
	f.Rewrite, f.Director = func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", rig.Address, p.In.Host
	}, nil
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return f, quick(t, rig.URLAt(l.Addr().String(), "faults"))
}

// testFaults answers requests wrongly. Fewer wrong answers than there are
// attempts change nothing, and more of them are an error.
func testFaults(t *testing.T, rig *bucketrig.Rig) {
	f, b := newFaulty(t, rig)
	ctx := t.Context()
	content := bytes.Repeat([]byte("evidence"), 1000)
	sum, err := b.Put(ctx, "good", content)
	if err != nil {
		t.Fatal(err)
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"503": status(503), "500": status(500), "429": status(429),
		"slow down": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			fmt.Fprint(w, `<Error><Code>SlowDown</Code><Message>x</Message></Error>`)
		},
		"no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"truncated": func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				w.WriteHeader(503)
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:len(content)/2])
		},
	} {
		h := http.HandlerFunc(answer)
		f.answer.Store(&h)
		calls := map[string]func() error{
			"put":     func() error { _, err := b.Put(ctx, "other", content); return err },
			"confirm": func() error { return b.Confirm(ctx, "good", int64(len(content)), sum) },
			"delete":  func() error { return b.Delete(ctx, "other") },
			"get": func() error {
				got, err := b.Get(ctx, "good", int64(len(content)))
				if err == nil && !bytes.Equal(got, content) {
					t.Errorf("%s: wrong bytes", name)
				}
				return err
			},
		}
		for what, call := range calls {
			f.left.Store(int32(b.attempts) - 1)
			if err := call(); err != nil {
				t.Errorf("%s: %s: %v", name, what, err)
			}
			f.left.Store(1000)
			if err := call(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: %s is answered by %v", name, what, err)
			}
			f.left.Store(0)
		}
	}
}

// testNetwork puts toxiproxy before the storage.
func testNetwork(t *testing.T, rig *bucketrig.Rig) {
	toxics := newToxiproxy(t, rig.Address)
	b := quick(t, rig.URLAt(toxics.address, "network"))
	b.patience = 500 * time.Millisecond
	content := make([]byte, 1<<20)
	rand.Read(content)
	write := func(ctx context.Context) error {
		sum, err := b.Put(ctx, "x", content)
		if err != nil {
			return err
		}
		return b.Confirm(ctx, "x", int64(len(content)), sum)
	}
	if err := write(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, toxic := range []string{
		`{"name":"t","type":"timeout","attributes":{"timeout":0}}`,
		`{"name":"t","type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`,
		`{"name":"t","type":"limit_data","stream":"upstream","attributes":{"bytes":1000}}`,
		`{"name":"t","type":"bandwidth","stream":"upstream","attributes":{"rate":1}}`,
		`{"name":"t","type":"limit_data","stream":"downstream","attributes":{"bytes":100}}`,
	} {
		toxics.post(t, "/proxies/storage/toxics", toxic)
		err := write(t.Context())
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "check that it works") {
			t.Errorf("%s: %v", toxic, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("interrupted")
		cancel(stop)
		if err := write(ctx); !errors.Is(err, stop) {
			t.Errorf("%s: an interrupted write: %v", toxic, err)
		}
		toxics.remove(t, "/proxies/storage/toxics/t")
	}
	b.patience = 5 * time.Second
	if err := write(t.Context()); err != nil {
		t.Errorf("after the faults: %v", err)
	}
	if got, err := b.Get(t.Context(), "x", int64(len(content))); err != nil || !bytes.Equal(got, content) {
		t.Errorf("after the faults: read %d bytes: %v", len(got), err)
	}
}

// toxiproxy is a running toxiproxy with one proxy, named storage.
type toxiproxy struct{ api, address string }

func newToxiproxy(t *testing.T, upstream string) *toxiproxy {
	ports, err := peers.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	x := &toxiproxy{"http://127.0.0.1:" + ports[0], "127.0.0.1:" + ports[1]}
	p, err := peers.Program{Name: "toxiproxy-server", Dir: t.TempDir(), Probe: x.api + "/version", Args: []string{"-host", "127.0.0.1", "-port", ports[0]}}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	x.post(t, "/proxies", fmt.Sprintf(`{"name":"storage","listen":%q,"upstream":%q}`, x.address, upstream))
	return x
}

func (x *toxiproxy) post(t *testing.T, path, body string) { x.do(t, http.MethodPost, path, body) }

func (x *toxiproxy) remove(t *testing.T, path string) { x.do(t, http.MethodDelete, path, "") }

func (x *toxiproxy) do(t *testing.T, method, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, x.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, path, res.Status)
	}
}

func TestURLs(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	for _, c := range []struct{ url, want string }{
		{"s3://bucket/a/b?region=eu-central-1", ""},
		{"s3://bucket?region=eu-central-1", ""},
		{"s3://bucket/?endpoint=https://storage.example.com", ""},
		{"s3://bucket", "no region specified"},
		{"", "must be s3://"},
		{"https://bucket/prefix", "must be s3://"},
		{"s3:bucket", "must be s3://"},
		{"s3://B/prefix", "3 to 63 lowercase"},
		{"s3://key:hunter2@bucket/prefix", "must not contain credentials"},
		{"s3://key:hunter2@bucket/%zz", "must be s3://"},
		{"s3://bucket?secret=hunter2", "parameters are"},
		{"s3://bucket?endpoint=http://key:hunter2@host", "endpoint must be"},
		{"s3://bucket?endpoint=storage.example.com", "endpoint must be"},
		{"s3://bucket?region=a&region=b", "at most once"},
		{"s3://bucket?region=a&path_style=perhaps", "path_style"},
		{"s3://bucket?region=a&profile=p", "requires credentials"},
		{"s3://bucket?region=a&credentials=/does/not/exist", "credentials and region"},
	} {
		_, err := Open(t.Context(), c.url)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: got the error %v, want %q", c.url, err, c.want)
		}
	}
}
