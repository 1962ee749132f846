package limit

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Each call of the portal has a row of its own, and its tenant holds what the
// row specifies from the beginning to the end of the call. Calls that would
// exceed the tenant's share are refused, and other tenants are served.
func TestPortalCallsAreAccounted(t *testing.T) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(rpc.PortalServiceName)
	if err != nil {
		t.Fatal(err)
	}
	methods := d.(protoreflect.ServiceDescriptor).Methods()
	for i := range methods.Len() {
		procedure := "/" + rpc.PortalServiceName + "/" + string(methods.Get(i).Name())
		if _, ok := shapes[procedure]; !ok {
			t.Errorf("%s has no row", procedure)
			continue
		}
		sh := ShapeOf(procedure)
		if sh.place != Calls || sh.records || sh.request != nil || !sh.compresses {
			t.Errorf("%s: %+v", procedure, sh)
		}
		l := newLimiter(HeldLimits{Bytes: {Total: 1 << 30, Owner: 0}})
		share := l.Book().Limits()[Bytes].Owner
		fits := int(share / sh.bytes)
		var nested func(n int) int
		call := func(tenant string, next http.HandlerFunc) int {
			w := httptest.NewRecorder()
			r := as(tenant, post(procedure, strings.NewReader("")))
			l.PlaceCall(l.Bound(next)).ServeHTTP(w, r)
			return w.Code
		}
		// Each call is answered within the next one.
		nested = func(n int) (code int) {
			return call("acme", func(w http.ResponseWriter, _ *http.Request) {
				if held := l.Book().Held("acme", Bytes); held != int64(n)*sh.bytes {
					t.Errorf("%s: %d calls hold %d bytes, want %d", procedure, n, held, int64(n)*sh.bytes)
				}
				if n < min(fits, 100) {
					if code := nested(n + 1); code != 200 {
						t.Errorf("%s: call %d: status %d", procedure, n+1, code)
					}
					return
				}
				if n == fits {
					if code := call("acme", func(http.ResponseWriter, *http.Request) {}); code != http.StatusTooManyRequests {
						t.Errorf("%s: one call more than %d: status %d", procedure, n, code)
					}
				}
				if code := call("globex", func(http.ResponseWriter, *http.Request) {}); code != 200 {
					t.Errorf("%s: another tenant: status %d", procedure, code)
				}
			})
		}
		if code := nested(1); code != 200 {
			t.Errorf("%s: status %d", procedure, code)
		}
		if held := l.Book().Total(Bytes) + l.Book().Total(Calls); held != 0 {
			t.Errorf("%s: %d are still held", procedure, held)
		}
	}
}
