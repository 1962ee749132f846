// Package wire bounds messages of the API before they are decoded.
//
// A decoder turns everything in a message into structs: a few bytes on the wire
// can take a hundred times as much memory. Each message is therefore scanned
// first, without allocating, against its descriptor and validation rules. It
// passes if it has no unknown field, sets no singular field twice, and has no
// more elements in a repeated field than the field's rule max_items allows.
package wire

import (
	"errors"
	"fmt"
	"sync"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxDepth limits the nesting of messages. Requests use less than half of it.
const maxDepth = 8

// ErrMalformed is returned for bytes that are not a message.
var ErrMalformed = errors.New("not a protobuf message")

// rules bound a message of one type.
type rules struct {
	fields map[protoreflect.FieldNumber]*field
	names  map[string]*field // in JSON
	values int               // maximum number of JSON values, including member names
}

// A field is a field of a message.
type field struct {
	name    protoreflect.Name
	place   int    // index among the message's fields
	oneof   int    // index of the first field in its oneof, or -1
	items   int    // maximum number of elements
	repeats bool   // a list or a map
	isMap   bool   // its message is the map's entry
	packed  bool   // its elements can be packed into one field
	message *rules // nil for scalars
	wire    protowire.Type
}

var known sync.Map // protoreflect.FullName → *rules

// rulesOf returns the rules of a message type.
func rulesOf(md protoreflect.MessageDescriptor) *rules {
	if r, ok := known.Load(md.FullName()); ok {
		return r.(*rules)
	}
	r := build(md, map[protoreflect.FullName]*rules{})
	known.Store(md.FullName(), r)
	return r
}

func build(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]*rules) *rules {
	if r := seen[md.FullName()]; r != nil {
		return r
	}
	r := &rules{fields: map[protoreflect.FieldNumber]*field{}, names: map[string]*field{}}
	seen[md.FullName()] = r
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		f := &field{name: fd.Name(), place: i, oneof: -1, items: 1, repeats: fd.IsList() || fd.IsMap(), isMap: fd.IsMap(), packed: fd.IsList() && wireType(fd) != protowire.BytesType, wire: wireType(fd)}
		if f.repeats {
			// One more than allowed is left to validation, which names the
			// field in a detail.
			f.items = MaxItems(fd) + 1
		}
		if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
			f.oneof = o.Fields().Get(0).Index()
		}
		if fd.Message() != nil {
			f.message = build(fd.Message(), seen)
		}
		r.fields[fd.Number()] = f
		r.names[fd.JSONName()], r.names[fd.TextName()] = f, f
	}
	r.values = r.mostValues()
	return r
}

// maxValues bounds the JSON values of any message.
const maxValues = 1 << 20

// mostValues returns the maximum number of JSON values in a message: itself,
// and for each field a name and its value, or a list and its elements.
func (r *rules) mostValues() int {
	n := 1
	for _, f := range r.fields {
		each := 1
		if f.message != nil {
			each = max(1, f.message.values)
		}
		n += 2 + 2*f.items*each // the elements of a map have names
	}
	return min(n, maxValues)
}

// MaxItems returns the maximum number of elements of a list or map by its
// validation rules, or 0 if they set none.
func MaxItems(fd protoreflect.FieldDescriptor) int {
	v, ok := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	if !ok {
		return 0
	}
	if fd.IsMap() {
		return int(v.GetMap().GetMaxPairs())
	}
	return int(v.GetRepeated().GetMaxItems())
}

func wireType(fd protoreflect.FieldDescriptor) protowire.Type {
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

// A counter counts the fields of one message. The zero value is ready to use.
type counter struct {
	seen [64]int // by index; no request has as many fields
}

// add counts an element of the field and returns an error if there are too
// many.
func (c *counter) add(f *field) error {
	at := f.place
	if f.oneof >= 0 {
		at = f.oneof
	}
	if at >= len(c.seen) {
		return fmt.Errorf("%s: the message has too many fields", f.name)
	}
	if c.seen[at]++; c.seen[at] <= f.items {
		return nil
	}
	switch {
	case f.repeats:
		return excess{fmt.Sprintf("%s: more than %d elements", f.name, f.items-1)}
	case f.oneof >= 0:
		return fmt.Errorf("%s: conflicts with another field that is set", f.name)
	}
	return fmt.Errorf("%q is set more than once", f.name)
}

// Check returns an error if the message must not be decoded. Errors name fields
// of the API and quote nothing else of the message.
func Check(data []byte, md protoreflect.MessageDescriptor) error {
	s := scanners.Get().(*scanner)
	defer scanners.Put(s)
	s.reset(rulesOf(md))
	if err := s.scan(data); err != nil {
		return err
	}
	return s.end()
}

// scanners are pooled because they are too large for a request's stack.
var scanners = sync.Pool{New: func() any { return &scanner{} }}
