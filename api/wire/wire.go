// Package wire bounds messages of the API before they are decoded.
//
// A decoder makes structs of whatever is in a message: a few bytes on the wire
// can become a hundred times as much in memory. So each message is scanned
// first, without allocating, against its descriptor and the validation rules in
// it. A message passes if it has no field that the API does not have, no field
// twice that is not repeated, and no more elements of a repeated field than its
// rule max_items allows.
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

// maxDepth is how deep messages may lie in messages. No request goes half as
// deep.
const maxDepth = 8

// ErrMalformed is returned for bytes that are no message.
var ErrMalformed = errors.New("not a protobuf message")

// rules are what a message of one type may hold.
type rules struct {
	fields map[protoreflect.FieldNumber]*field
	names  map[string]*field // in JSON
	values int               // that it may have in JSON, names of members included
}

// A field is one of a message.
type field struct {
	name    protoreflect.Name
	place   int    // among the fields of its message
	oneof   int    // place of its oneof's first field, or -1
	items   int    // how many elements it may have
	repeats bool   // it is a list or a map
	isMap   bool   // and its message the entries
	packed  bool   // its elements may lie in one field
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
			// for validation to refuse, which names the field in a detail
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

// maxValues bounds the values of any message in JSON.
const maxValues = 1 << 20

// mostValues returns how many values a message may have in JSON: itself, and
// for each field a name and its value, or a list and its elements.
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

// MaxItems returns how many elements a list or map may have by its validation
// rules, 0 where they do not limit it.
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

// A counter counts the fields of one message. Its zero value is for a message
// that has had none.
type counter struct {
	seen [64]int // by place; no request has as many fields
}

// add counts an element of the field, and returns an error if it is one too
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
		return fmt.Errorf("%s: another field is set that excludes it", f.name)
	}
	return fmt.Errorf("%q is set more than once", f.name)
}

// Check returns nil if the message may be decoded. Its errors name fields of
// the API, and repeat nothing else of the message.
func Check(data []byte, md protoreflect.MessageDescriptor) error {
	s := scanners.Get().(*scanner)
	defer scanners.Put(s)
	s.reset(rulesOf(md))
	if err := s.scan(data); err != nil {
		return err
	}
	return s.end()
}

// scanners are reused because they are large: on the stack of a request they
// would make it grow.
var scanners = sync.Pool{New: func() any { return &scanner{} }}
