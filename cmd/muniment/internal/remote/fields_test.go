package remote

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	client "muniment.dev/muniment/clients/go"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestFieldWords checks that every field of every request that commands send
// has a word, and that the table has no others except the arguments of calls
// that are not RPCs. Commands send the requests of the services of
// [client.Client].
func TestFieldWords(t *testing.T) {
	used := map[string]bool{"authorization": true, "statement": true, "content_type": true}
	var walk func(path string, m protoreflect.MessageDescriptor)
	walk = func(path string, m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			field := path + string(f.Name())
			for _, as := range []string{field, field + "[3]", field + `["a b"]`} {
				word, ok := wordOf(as)
				if !ok {
					t.Errorf("%s: no word in fieldWords for the field %s", m.FullName(), as)
					continue
				}
				want := "no"
				if word != "" {
					want = word + ": no"
				}
				for _, form := range []string{as + ": no", "validation error: " + as + ": no", "validation errors:\n - " + as + ": no"} {
					err := connect.NewError(connect.CodeInvalidArgument, errors.New(form))
					if got := ErrorText(err); got != want {
						t.Errorf("%q is printed as %q, want %q", form, got, want)
					}
				}
			}
			for _, prefix := range []string{"submission.", "submissions.", "header."} {
				field = strings.TrimPrefix(field, prefix)
			}
			used[field] = true
			if f.Message() != nil && !f.IsMap() && f.Message().ParentFile().Package() == munimentv1.File_muniment_v1_ledger_proto.Package() {
				walk(path+string(f.Name())+".", f.Message())
			}
		}
	}
	services := map[string]bool{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[client.Client]()) {
		services[field.Type.Name()] = true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage(munimentv1.File_muniment_v1_ledger_proto.Package(), func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			if !services[string(file.Services().Get(i).Name())+"Client"] {
				continue
			}
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				walk("", methods.Get(j).Input())
			}
		}
		return true
	})
	for field := range fieldWords {
		if !used[field] {
			t.Errorf("%s is not a field of a request", field)
		}
	}
	if len(used) < 40 {
		t.Errorf("found only the fields %q", slices.Sorted(maps.Keys(used)))
	}
}

func TestInWords(t *testing.T) {
	for _, c := range []struct{ message, want string }{
		{"filter.to: before filter.from", "--to: before --from"},
		{"validation errors:\n - filter.kind: a\n - page_size: b", "--kind: a\n--limit: b"},
		{"authorization: no token", "no token"},
		{"submission.media_type: missing", "--media-type: missing"},
		{"entry 7 is not published", "entry 7 is not published"},
		{"dial tcp: no route", "dial tcp: no route"},
		{"sha256: kind: x", "sha256: kind: x"},
	} {
		if got := inWords(c.message); got != c.want {
			t.Errorf("%q is printed as %q, want %q", c.message, got, c.want)
		}
	}
}
