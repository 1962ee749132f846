package kinds

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Header has the values of an entry's header that its payload determines.
type Header struct {
	Subjects   []*munimentv1.Artifact
	Materials  []*munimentv1.Artifact
	Controls   []string
	Attributes map[string]string // never nil
}

// A field is a field of a message that appears in the header, or whose message
// has such fields.
type field struct {
	descriptor protoreflect.FieldDescriptor
	attribute  string
	part       munimentv1.HeaderPart
	fields     []field // of its message
}

// fieldsOf returns the fields of a message that appear in the header. The
// messages of kinds.proto are not recursive.
func fieldsOf(d protoreflect.MessageDescriptor) []field {
	var all []field
	for i := range d.Fields().Len() {
		f := field{descriptor: d.Fields().Get(i)}
		if o, ok := proto.GetExtension(f.descriptor.Options(), munimentv1.E_Header).(*munimentv1.HeaderField); ok {
			f.attribute, f.part = o.GetAttribute(), o.GetPart()
		}
		if m := f.descriptor.Message(); m != nil && m.ParentFile() == d.ParentFile() && f.part == 0 {
			f.fields = fieldsOf(m)
		}
		if f.attribute != "" || f.part != 0 || len(f.fields) > 0 {
			all = append(all, f)
		}
	}
	return all
}

// Header returns the values of a message of the kind that appear in the header.
func (k *Kind) Header(m proto.Message) Header {
	h := Header{Attributes: map[string]string{}}
	h.add(k.fields, m.ProtoReflect())
	return h
}

func (h *Header) add(fields []field, m protoreflect.Message) {
	for _, f := range fields {
		v := m.Get(f.descriptor)
		switch {
		case f.descriptor.IsList():
			list := v.List()
			for i := range list.Len() {
				h.addValue(f, list.Get(i), f.attribute+"."+strconv.Itoa(i+1))
			}
			if f.attribute != "" && f.descriptor.Message() != nil {
				h.Attributes[f.attribute] = strconv.Itoa(list.Len())
			}
		case m.Has(f.descriptor):
			h.addValue(f, v, f.attribute)
		}
	}
}

// addValue adds a field's value, or one element of it, to the header.
func (h *Header) addValue(f field, v protoreflect.Value, attribute string) {
	if f.fields != nil {
		h.add(f.fields, v.Message())
	}
	switch f.part {
	case munimentv1.HeaderPart_HEADER_PART_SUBJECT:
		h.Subjects = append(h.Subjects, artifact(v.Message()))
	case munimentv1.HeaderPart_HEADER_PART_MATERIAL:
		h.Materials = append(h.Materials, artifact(v.Message()))
	case munimentv1.HeaderPart_HEADER_PART_CONTROL:
		h.Controls = append(h.Controls, v.String())
	}
	if text := attributeValue(f.descriptor, v); f.attribute != "" && text != "" {
		h.Attributes[attribute] = text
	}
}

// artifact returns the artifact in an Artifact or an ExportFile.
func artifact(m protoreflect.Message) *munimentv1.Artifact {
	switch a := m.Interface().(type) {
	case *munimentv1.Artifact:
		return a
	case *munimentv1.ExportFile:
		return &munimentv1.Artifact{Name: a.GetPath(), Digest: a.GetDigest()}
	}
	panic("not an artifact: " + m.Descriptor().FullName()) // ruled out by TestTable
}

// attributeValue returns a value as text, or "" for a message other than a
// timestamp.
func attributeValue(d protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch d.Kind() {
	case protoreflect.MessageKind:
		if t, ok := v.Message().Interface().(*timestamppb.Timestamp); ok {
			return t.AsTime().Format(time.RFC3339Nano)
		}
		return ""
	case protoreflect.DoubleKind:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return v.String()
}
