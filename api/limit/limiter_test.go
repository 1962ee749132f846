package limit

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/turns"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// newLimiter returns a Limiter that writes refusals as Connect does.
func newLimiter(holds HeldLimits) *Limiter {
	refuse := func(w http.ResponseWriter, r *http.Request, err *connect.Error) {
		_ = connect.NewErrorWriter().Write(w, r, err)
	}
	return New(Config{Now: time.Now, Refuse: refuse, Observer: Observer{Limited: func(string) {}, Waiting: func(int) {}, Delayed: func() {}}},
		Sizes{MaxPayload: 1 << 20, Held: holds})
}

// as makes the request one of the tenant's.
func as(tenant string, r *http.Request) *http.Request {
	return r.WithContext(WithTenant(r.Context(), tenant))
}

func post(path string, body io.Reader) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, body)
	r.Header.Set("Content-Type", "application/proto")
	return r
}

func zipped(t *testing.T, b []byte) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// beginning returns the beginning of a request of Append or AppendBatch, or all
// of it if n bytes suffice for a payload.
func beginning(n int) []byte {
	if n < 10 {
		return []byte{0x12, 0}
	}
	field := func(tag byte, n int) []byte { // with a length of four bytes, whatever it is
		return []byte{tag, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n >> 21)}
	}
	return append(append(field(0x12, n-5), field(0x1a, n-10)...), make([]byte, n-10)...)
}

// TestBytesAtWork checks what each sort of request holds, while it is worked on
// and afterwards.
func TestBytesAtWork(t *testing.T) {
	const mebibyte = 1 << 20
	header := func(r *http.Request, name, value string) *http.Request {
		r.Header.Set(name, value)
		return r
	}
	batch := (&Sizes{MaxPayload: 1 << 20}).maxBatch()
	for _, c := range []struct {
		name    string
		request func() *http.Request
		want    int64 // held when the body has been read
	}{
		{"small", func() *http.Request { return post(rpc.LedgerServiceAppendProcedure, strings.NewReader("x")) }, callBytes},
		{"large", func() *http.Request {
			return post(rpc.LedgerServiceAppendProcedure, bytes.NewReader(beginning(mebibyte)))
		}, callBytes + 3*mebibyte},
		{"small, compressed", func() *http.Request {
			return header(post(rpc.LedgerServiceAppendBatchProcedure, zipped(t, beginning(0))), "Content-Encoding", "gzip")
		}, callBytes},
		{"a bomb", func() *http.Request {
			return header(post(rpc.LedgerServiceAppendBatchProcedure, zipped(t, beginning(8*mebibyte))), "Content-Encoding", "gzip")
		}, callBytes + 3*8*mebibyte - 3*SmallRequest},
		{"messages compressed, any size", func() *http.Request {
			return header(post(rpc.LedgerServiceAppendBatchProcedure, strings.NewReader("x")), "Grpc-Encoding", "gzip")
		}, callBytes + 3*batch},
		{"messages compressed, of a call with small requests", func() *http.Request {
			return header(post(rpc.LedgerServiceGetEntryProcedure, strings.NewReader("x")), "Grpc-Encoding", "gzip")
		}, callBytes},
		{"of unknown length, small", func() *http.Request {
			return post(rpc.LedgerServiceAppendProcedure, io.MultiReader(bytes.NewReader(beginning(0))))
		}, callBytes},
		{"of unknown length, large", func() *http.Request {
			return post(rpc.LedgerServiceAppendProcedure, io.MultiReader(bytes.NewReader(beginning(mebibyte))))
		}, callBytes + 3*mebibyte - 3*SmallRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newLimiter(HeldLimits{})
			called := false
			serve := func(w http.ResponseWriter, h http.HandlerFunc) {
				r := as("acme", c.request())
				s.Place(shapeOf(r).place, s.Bound(h)).ServeHTTP(w, r)
			}
			serve(httptest.NewRecorder(), func(_ http.ResponseWriter, r *http.Request) {
				called = true
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					t.Error(err)
				}
				if got := s.book.Held("acme", Bytes); got != c.want {
					t.Errorf("%d bytes are held, want %d", got, c.want)
				}
			})
			if !called {
				t.Error("refused")
			}
			if s.book.Total(Bytes) != 0 || s.book.Total(Calls) != 0 {
				t.Fatal("something stays held")
			}
			// it is refused, before or while it is read
			s.book.SetLimits(HeldLimits{Bytes: {Owner: c.want - 1}})
			w := httptest.NewRecorder()
			serve(w, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					s.cfg.Refuse(w, r, connect.NewError(connect.CodeOf(err), err))
				}
			})
			if w.Code != http.StatusTooManyRequests {
				t.Errorf("status %d with nothing left", w.Code)
			}
		})
	}
}

// eachRPC calls f for each RPC of the API.
func eachRPC(f func(path string, m protoreflect.MethodDescriptor)) {
	protoregistry.GlobalFiles.RangeFilesByPackage("muniment.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				f("/"+string(methods.Get(j).Parent().FullName())+"/"+string(methods.Get(j).Name()), methods.Get(j))
			}
		}
		return true
	})
}

// Each call takes a place and bytes of an account, takes only small requests
// unless it carries evidence, and is refused if the account is full. The test
// fails for a new streaming RPC that is not in the table of shapes.
func TestEveryCallIsAccounted(t *testing.T) {
	large := map[string]bool{rpc.LedgerServiceAppendProcedure: true, rpc.LedgerServiceAppendBatchProcedure: true, rpc.LedgerServiceAppendStreamProcedure: true,
		rpc.AdminServiceSetPolicyProcedure: true, rpc.GateServiceDecideProcedure: true, rpc.GateServiceReplayProcedure: true, rpc.GateServiceSubmitDecisionsProcedure: true,
		rpc.BundleServiceCreateBundleProcedure: true}
	n := 0
	check := func(path, method string, place Resource) {
		n++
		s := newLimiter(HeldLimits{})
		bytesOf, owner := Bytes, "acme"
		r := as("acme", httptest.NewRequest(method, path, strings.NewReader("x")))
		if place == Public {
			bytesOf, owner, r = PublicBytes, "address 192.0.2.1", httptest.NewRequest(method, path, strings.NewReader("x"))
		}
		sh := shapeOf(r)
		if sh.place != place {
			t.Errorf("%s has a place among the %s, want %s: see the table of shapes", path, sh.place, place)
		}
		if got := s.Sizes().limitOf(sh); got > SmallRequest && !large[path] {
			t.Errorf("%s takes requests of %d bytes", path, got)
		}
		called := false
		s.Place(sh.place, s.Bound(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			called = true
			if s.book.Held(owner, place) != 1 || s.book.Held(owner, bytesOf) < SmallRequest/2 {
				t.Errorf("%s holds %d %s and %d bytes", path, s.book.Held(owner, place), place, s.book.Held(owner, bytesOf))
			}
			if HeldBy(r.Context()) == nil {
				t.Errorf("%s: the handler has no account", path)
			}
		}))).ServeHTTP(httptest.NewRecorder(), r)
		if !called {
			t.Errorf("%s: refused", path)
		}
		for _, res := range All() {
			if s.book.Total(res) != 0 {
				t.Errorf("%s: %d %s stay held", path, s.book.Total(res), res)
			}
		}
		for _, full := range []Resource{place, bytesOf} {
			var l HeldLimits
			l[full].Owner = 1
			s.book.SetLimits(l)
			hold := s.book.Open(owner)
			if err := hold.Take(full, 1); err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			s.Place(sh.place, s.Bound(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s: not refused: %s", path, full) }))).ServeHTTP(w, r)
			if w.Code == http.StatusOK && w.Body.Len() == 0 {
				t.Errorf("%s: no refusal", path)
			}
			hold.Release()
		}
	}
	eachRPC(func(path string, m protoreflect.MethodDescriptor) {
		place := Calls
		switch {
		case path == rpc.IdentityServiceExchangeTokenProcedure:
			place = Public
		case m.IsStreamingClient():
			place = Uploads
		case path == rpc.LedgerServiceWatchEntriesProcedure:
			place = Watchers
		case m.IsStreamingServer():
			place = Answers
		}
		check(path, http.MethodPost, place)
	})
	large[SCITTEntries] = true
	check(SCITTEntries, http.MethodPost, Calls)
	check(SCITTEntries+"/7", http.MethodGet, Calls)
	if n < 20 {
		t.Fatalf("only %d calls were found", n)
	}
}

// A caller without credentials holds bytes only on its address's account, and
// may not send more than an identity token needs.
func TestBytesWithoutCredentials(t *testing.T) {
	for _, c := range []struct {
		name string
		body func() io.Reader
		want bool
	}{
		{"small", func() io.Reader { return strings.NewReader("x") }, true},
		{"large", func() io.Reader { return bytes.NewReader(make([]byte, 1<<20)) }, false},
		{"of unknown length, large", func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 1<<20))) }, false},
	} {
		for _, encoding := range []string{"", "gzip"} {
			body := c.body()
			if encoding != "" {
				b, _ := io.ReadAll(body)
				body = zipped(t, b)
			}
			r := post(rpc.IdentityServiceExchangeTokenProcedure, body)
			r.Header.Set("Content-Encoding", encoding)
			s, read := newLimiter(HeldLimits{}), false
			s.Place(Public, s.Bound(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				read = err == nil
				if n := s.book.Total(Bytes); n != 0 {
					t.Errorf("%s %s: %d of the tenants' bytes are held", c.name, encoding, n)
				}
			}))).ServeHTTP(httptest.NewRecorder(), r)
			if read != c.want {
				t.Errorf("%s %s: read is %v", c.name, encoding, read)
			}
		}
	}
}

// A tenant that holds all it may leaves at least as much of each resource to
// the others.
func TestOneTenantLeavesRoom(t *testing.T) {
	for _, path := range []string{rpc.LedgerServiceAppendProcedure, rpc.LedgerServiceAppendStreamProcedure, rpc.LedgerServiceGetPayloadProcedure, rpc.LedgerServiceWatchEntriesProcedure,
		rpc.LedgerServiceListEntriesProcedure, rpc.ExportServiceExportProcedure} {
		s := newLimiter(HeldLimits{})
		status := func(tenant string, while func()) int {
			r := post(path, bytes.NewReader(make([]byte, 60<<10)))
			if path == rpc.LedgerServiceAppendProcedure {
				r = post(path, bytes.NewReader(make([]byte, 1<<20)))
			}
			w := httptest.NewRecorder()
			s.Place(shapeOf(r).place, s.Bound(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { while() }))).ServeHTTP(w, as(tenant, r))
			return w.Code
		}
		held, last := 0, 0
		var more func()
		more = func() {
			held++
			if last = status("acme", more); last != http.StatusOK && status("globex", func() {}) != http.StatusOK {
				t.Errorf("%s: with %d requests of one tenant at work, another's is refused", path, held)
			}
		}
		if last = http.StatusOK; status("acme", more) != http.StatusOK || held == 0 || held > 1024 {
			t.Fatalf("%s: %d are taken", path, held)
		}
		if got := status("acme", func() {}); got != http.StatusOK {
			t.Errorf("%s: status %d when all is done", path, got)
		}
	}
}

// TestEveryRefusalIsCounted checks that each way in which a call can hold too
// much is an error with a time to retry after, and is counted.
func TestEveryRefusalIsCounted(t *testing.T) {
	small := func(bytes int64) HeldLimits {
		var l HeldLimits
		l[Bytes] = HeldLimit{Owner: bytes}
		return l
	}
	for name, refused := range map[string]func(l *Limiter, h *Hold) error{
		"a body as it is read": func(l *Limiter, h *Hold) error {
			held := &heldBytes{hold: h, resource: Bytes, limiter: l}
			_, err := io.Copy(io.Discard, &countedBody{ReadCloser: io.NopCloser(strings.NewReader("more than nothing")), held: held})
			return err
		},
		"an answer as it is encoded": func(l *Limiter, h *Hold) error {
			c := &Call{}
			c.hold.open(l.book, "acme")
			ctx := context.WithValue(context.Background(), CallKey{}, c)
			return l.Encoding(ctx, connect.NewResponse(&munimentv1.GetReceiptResponse{Receipt: make([]byte, 1<<10)}))
		},
	} {
		l, counted := newLimiter(HeldLimits{}), ""
		l.cfg.Observer.Limited = func(label string) { counted += label }
		l.book.SetLimits(small(1))
		h := l.book.Open("acme")
		err := refused(l, h)
		var ce *connect.Error
		if !errors.As(err, &ce) || ce.Code() != connect.CodeResourceExhausted || ce.Meta().Get("Retry-After") == "" {
			t.Errorf("%s: %v", name, err)
		}
		if counted != "held_bytes" {
			t.Errorf("%s: counted as %q, want held_bytes", name, counted)
		}
		h.Release()
	}
}

// emptyMembers is a gzip stream that decompresses to nothing.
func emptyMembers(t *testing.T, bytesOfIt int) []byte {
	t.Helper()
	member, err := io.ReadAll(zipped(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(member, bytesOfIt/len(member))
}

// A countingBody counts the bytes that are read from it.
type countingBody struct {
	io.Reader
	n int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.n += int64(n)
	return n, err
}

// TestNothingIsBounded checks that bytes that decompress to nothing are bounded
// like the bytes of a message, and take turns like them.
func TestNothingIsBounded(t *testing.T) {
	l := newLimiter(HeldLimits{})
	largest := l.Sizes().limitOf(ShapeOf(rpc.LedgerServiceAppendProcedure))
	endless := &countingBody{Reader: io.MultiReader(bytes.NewReader(emptyMembers(t, int(2*largest))))}
	r := as("acme", post(rpc.LedgerServiceAppendProcedure, endless))
	r.Header.Set("Content-Encoding", "gzip")
	var failure error
	l.Place(Calls, l.Bound(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, failure = io.Copy(io.Discard, r.Body)
	}))).ServeHTTP(httptest.NewRecorder(), r)
	if failure == nil || endless.n > largest+128<<10 {
		t.Errorf("%d bytes are read of a message of at most %d: %v", endless.n, largest, failure)
	}

	var held []*turns.Turn
	for range turns.CPU.Slots() {
		x, err := turns.CPU.Begin(t.Context(), "the test")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, x)
	}
	nothing := emptyMembers(t, 256<<10)
	r = as("acme", post(rpc.LedgerServiceAppendProcedure, bytes.NewReader(nothing)))
	frame := &inflater{owner: "globex", limit: Fixed(1 << 20)}
	done := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(io.Discard, newGunzip(r, l.Busy)) // only its turns count
		done <- struct{}{}
	}()
	go func() {
		if err := frame.Reset(bytes.NewBuffer(nothing)); err == nil {
			_, _ = io.Copy(io.Discard, frame) // only its turns count
		}
		done <- struct{}{}
	}()
	for end := time.Now().Add(soak.Patience); len(turns.CPU.Round()) < 2; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("only %q wait for a turn", turns.CPU.Round())
		}
	}
	for _, x := range held {
		x.End()
	}
	<-done
	<-done
}
