package wire_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/wire"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// requests calls f for the request of each RPC of the API.
func requests(f func(protoreflect.MessageDescriptor)) {
	protoregistry.GlobalFiles.RangeFilesByPackage("muniment.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			for j := range file.Services().Get(i).Methods().Len() {
				f(file.Services().Get(i).Methods().Get(j).Input())
			}
		}
		return true
	})
}

// Each list and map of a request has a bound in its validation rules.
func TestEveryListIsBounded(t *testing.T) {
	n := 0
	var visit func(md protoreflect.MessageDescriptor, depth int)
	visit = func(md protoreflect.MessageDescriptor, depth int) {
		if depth > 8 {
			t.Fatalf("%s: messages are nested too deeply", md.FullName())
		}
		if md.Fields().Len() > 64 {
			t.Errorf("%s has more than 64 fields", md.FullName())
		}
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if (fd.IsList() || fd.IsMap()) && wire.MaxItems(fd) == 0 {
				t.Errorf("%s has no bound: give it max_items or max_pairs", fd.FullName())
			}
			if fd.IsList() {
				n++
			}
			if fd.Message() != nil {
				visit(fd.Message(), depth+1)
			}
		}
	}
	requests(func(md protoreflect.MessageDescriptor) { visit(md, 0) })
	if n < 3 {
		t.Fatalf("only %d lists were found", n)
	}
}

func batch(n int) *munimentv1.AppendBatchRequest {
	r := &munimentv1.AppendBatchRequest{Tenant: "acme"}
	for range n {
		r.Submissions = append(r.Submissions, &munimentv1.Submission{})
	}
	return r
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheck(t *testing.T) {
	empty := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), nil)
	twice := func(m proto.Message) []byte { return append(marshal(t, m), marshal(t, m)...) }
	header := &munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Header{Header: &munimentv1.AppendStreamHeader{Tenant: "acme"}}}
	chunk := &munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Chunk{Chunk: []byte("x")}}
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 900, protowire.BytesType), make([]byte, 60<<20))
	for _, c := range []struct {
		name string
		of   proto.Message
		data []byte
		want string // part of the error; "" for none
	}{
		{"a batch", batch(0), marshal(t, batch(1000)), ""},
		{"a batch for validation to refuse", batch(0), marshal(t, batch(1001)), ""},
		{"too many submissions", batch(0), marshal(t, batch(1002)), "submissions: more than 1000 elements"},
		{"millions of empty submissions", batch(0), bytes.Repeat(empty, 4<<20), "submissions: more than 1000 elements"},
		{"a filter with times", &munimentv1.ListEntriesRequest{}, marshal(t, &munimentv1.ListEntriesRequest{Tenant: "acme", Filter: &munimentv1.Filter{From: timestamppb.Now(), Kind: "x"}}), ""},
		{"a large unknown field", &munimentv1.WatchEntriesRequest{}, append(marshal(t, &munimentv1.WatchEntriesRequest{Tenant: "acme"}), unknown...), "unknown field 900"},
		{"an unknown field deep inside", &munimentv1.WatchEntriesRequest{}, protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), unknown), "filter.unknown field 900"},
		{"a field twice", &munimentv1.ListEntriesRequest{}, twice(&munimentv1.ListEntriesRequest{Tenant: "acme"}), `"tenant" is set more than once`},
		{"a message twice", &munimentv1.ListEntriesRequest{}, twice(&munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{Kind: "x"}}), `"filter" is set more than once`},
		{"a header", &munimentv1.AppendStreamRequest{}, marshal(t, header), ""},
		{"a chunk", &munimentv1.AppendStreamRequest{}, marshal(t, chunk), ""},
		{"header and chunk", &munimentv1.AppendStreamRequest{}, append(marshal(t, header), marshal(t, chunk)...), "conflicts with another field"},
		{"a wrong type", &munimentv1.ListEntriesRequest{}, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1), "tenant: wrong type"},
		{"a group", &munimentv1.ListEntriesRequest{}, protowire.AppendTag(protowire.AppendTag(nil, 99, protowire.StartGroupType), 99, protowire.EndGroupType), "unknown field 99"},
		{"kinds", &munimentv1.IssueTokenRequest{}, marshal(t, &munimentv1.IssueTokenRequest{Grant: &munimentv1.Grant{Kinds: make([]string, 66)}}), "grant.kinds: more than 64"},
		{"cut off", batch(0), []byte{0x12, 0x7f}, "not a protobuf message"},
	} {
		err := wire.Check(c.data, c.of.ProtoReflect().Descriptor())
		compare(t, c.name, err, c.want)
		if c.want == "" && err == nil {
			if e := proto.Unmarshal(c.data, proto.Clone(c.of)); e != nil {
				t.Errorf("%s: %v", c.name, e)
			}
		}
	}
	allocated := testing.AllocsPerRun(10, func() { _ = wire.Check(marshal(t, batch(1000)), batch(0).ProtoReflect().Descriptor()) })
	if allocated > 1100 { // those of marshal
		t.Errorf("%.0f allocations to scan a batch", allocated)
	}
}

func compare(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: got %v, want %q", name, err, want)
	case err != nil && len(err.Error()) > 512:
		t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
	}
}

func TestCheckJSON(t *testing.T) {
	asJSON := func(m proto.Message) string {
		b, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, data string
		of         proto.Message
		want       string
	}{
		{"nothing", "{}", batch(0), ""},
		{"a batch", asJSON(batch(1001)), batch(0), ""},
		{"null", `{"submissions":null,"tenant":null}`, batch(0), ""},
		{"millions of empty submissions", `{"submissions":[` + strings.Repeat("{},", 4<<20) + `{}]}`, batch(0), "submissions: more than 1000"},
		{"many lists of submissions", `{` + strings.Repeat(`"submissions":[{},{},{}],`, 1<<16) + `"tenant":"acme"}`, batch(0), "submissions: more than 1000"},
		{"times", asJSON(&munimentv1.ListEntriesRequest{Filter: &munimentv1.Filter{From: timestamppb.Now()}}), &munimentv1.ListEntriesRequest{}, ""},
		{"names as in the proto file", `{"page_size":3}`, &munimentv1.ListEntriesRequest{}, ""},
		{"an unknown member", `{"filters":{}}`, &munimentv1.ListEntriesRequest{}, `"filters"`},
		{"a long unknown member", `{"` + long + `":{}}`, &munimentv1.ListEntriesRequest{}, `unknown field "xxx`},
		{"a member twice", `{"tenant":"a","tenant":"b"}`, &munimentv1.ListEntriesRequest{}, `"tenant" is set more than once`},
		{"a member twice, in two spellings", `{"page_size":1,"pageSize":1}`, &munimentv1.ListEntriesRequest{}, `"page_size" is set more than once`},
		{"an object for a string", `{"tenant":{}}`, &munimentv1.ListEntriesRequest{}, "tenant: not a single value"},
		{"an object for a list", `{"submissions":{}}`, batch(0), "submissions: not a list"},
		{"header and chunk", `{"header":{},"chunk":"eA=="}`, &munimentv1.AppendStreamRequest{}, "conflicts with another field"},
		{"text behind", `{} x`, batch(0), "syntax error"},
		{"cut off", `{"submissions":[{`, batch(0), "syntax error"},
		{"not JSON", long, batch(0), "syntax error"},
	} {
		err := wire.CheckJSON([]byte(c.data), c.of.ProtoReflect().Descriptor())
		compare(t, c.name, err, c.want)
		if c.want == "" {
			if e := protojson.Unmarshal([]byte(c.data), proto.Clone(c.of)); e != nil {
				t.Errorf("%s: %v", c.name, e)
			}
		}
	}
}

// A message that the scanner accepts is decoded into at most a fixed multiple
// of its bytes.
func FuzzCheck(f *testing.F) {
	f.Add([]byte{0x12, 0x00, 0x12, 0x00})
	f.Add([]byte(`{"tenant":"acme"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		requests(func(md protoreflect.MessageDescriptor) {
			binary, text := wire.Check(data, md), wire.CheckJSON(data, md)
			s := wire.NewStream(md)
			for i := range data {
				if err := s.Check(data[i : i+1]); err != nil && (binary == nil || text == nil) {
					t.Fatalf("%x: a message that passes as a whole is refused as a stream: %v", data, err)
				}
			}
		})
	})
}

// A message with too many elements is refused when the first excess one
// arrives, whatever the sizes of the reads. A message that Check accepts is
// always accepted.
func TestStream(t *testing.T) {
	md := batch(0).ProtoReflect().Descriptor()
	js := func(n int) []byte {
		return []byte(`{"tenant":"acme","submissions":[` + strings.Repeat("{},", n-1) + `{}]}`)
	}
	many := bytes.Repeat([]byte{0x12, 0}, 1<<20)
	nested := `{"submissions":[` + strings.Repeat("[", 1<<16)
	for _, c := range []struct {
		name string
		data []byte
		most int    // bytes that may be scanned; 0: all
		want string // part of the error; "" for none
	}{
		{"a batch", marshal(t, batch(1000)), 0, ""},
		{"a batch for validation to refuse", marshal(t, batch(1001)), 0, ""},
		{"millions of empty submissions", many, 2004, "submissions: more than 1000 elements"},
		{"a large unknown field", append([]byte{0xa2, 0x38, 0x80, 0x80, 0x80, 0x1e}, make([]byte, 1<<20)...), 64, "unknown field"},
		{"a batch in JSON", js(1001), 0, ""},
		{"millions in JSON", js(1 << 20), 4096, "submissions: more than 1000 elements"},
		{"millions in JSON, by a name with an escape", bytes.Replace(js(1<<20), []byte("submissions"), []byte(`submission\u0073`), 1), 1 << 19, "values, the maximum for this message"},
		{"brackets", []byte(nested), 1 << 16, "values, the maximum for this message"},
		{"white space before JSON", append([]byte("\n\n "), js(3)...), 0, ""},
		{"payloads in JSON", []byte(`{"submissions":[{"payload":"` + strings.Repeat("QUJD", 1<<16) + `","kind":"\"[{\\"}]}`), 0, ""},
	} {
		for _, piece := range []int{1, 7, 1000, 1 << 21} {
			s, scanned := wire.NewStream(md), 0
			var err error
			for rest := c.data; len(rest) > 0 && err == nil; {
				n := min(piece, len(rest))
				err = s.Check(rest[:n])
				rest, scanned = rest[n:], scanned+n
			}
			compare(t, fmt.Sprintf("%s, in pieces of %d", c.name, piece), err, c.want)
			if c.most > 0 && c.want != "" && piece <= 1000 && scanned > c.most+piece {
				t.Errorf("%s, in pieces of %d: refused after %d bytes", c.name, piece, scanned)
			}
		}
	}
}

// TestMessagesFollowEachOther checks a message after parts of another, which
// end a scanner in each of its states. Scanners are reused.
func TestMessagesFollowEachOther(t *testing.T) {
	md := (&munimentv1.AppendRequest{}).ProtoReflect().Descriptor()
	good, err := proto.Marshal(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", Payload: []byte("evidence")}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		_ = wire.Check(good[:n], md) // a part of a message can be valid
		if err := wire.Check(good, md); err != nil {
			t.Fatalf("a message after %d bytes of another: %v", n, err)
		}
	}
}
