package evaluate

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/verifiers/facts"
)

// An object is a map whose values are computed when they are read. Ordinary
// scans have more facts than a condition reads.
type object []member

type member struct {
	name  string
	value func() ref.Val
}

var _ traits.Mapper = object(nil)

func list(all []ref.Val) ref.Val { return types.NewRefValList(types.DefaultTypeAdapter, all) }

// whole returns the object as a map of the library.
func (o object) whole() traits.Mapper {
	m := make(map[ref.Val]ref.Val, len(o))
	for _, f := range o {
		m[types.String(f.name)] = f.value()
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, m)
}

// Find returns a member.
func (o object) Find(key ref.Val) (ref.Val, bool) {
	for _, f := range o {
		if types.String(f.name) == key {
			return f.value(), true
		}
	}
	return nil, false
}

// Get returns a member, or an error.
func (o object) Get(key ref.Val) ref.Val {
	if v, ok := o.Find(key); ok {
		return v
	}
	return types.NewErr("no such key: %v", key)
}

// Contains reports whether there is such a member.
func (o object) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

// Size returns the number of members.
func (o object) Size() ref.Val { return types.Int(len(o)) }

// Iterator iterates over the names of members.
func (o object) Iterator() traits.Iterator { return o.whole().Iterator() }

// ConvertToNative implements ref.Val.
func (o object) ConvertToNative(t reflect.Type) (any, error) { return o.whole().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (o object) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return o
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("type conversion error from map to %s", t.TypeName())
}

// Equal implements ref.Val.
func (o object) Equal(other ref.Val) ref.Val { return o.whole().Equal(other) }

// Type implements ref.Val.
func (o object) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (o object) Value() any { return o.whole().Value() }

// factsOf returns the facts of an entry, which are empty if it has none.
func factsOf(m *condition.Meter, e *Evidence) ref.Val {
	switch {
	case e.Unavailable:
		return condition.Failed("%w: the payload of entry %d was erased", errFacts, e.Index)
	case e.Facts == nil:
		return object{}
	case e.Facts.Exceeded != "":
		return condition.Failed("%w: the payload of entry %d exceeds the limit %q", errFacts, e.Index, e.Facts.Exceeded)
	}
	f := factsReader{m, e.Index}
	return f.structure(reflect.ValueOf(e.Facts).Elem(), nil)
}

// A factsReader converts facts to values. Their members are named as in JSON,
// in lower_snake_case.
type factsReader struct {
	meter *condition.Meter
	index uint64 // of the entry
}

// A field is a field of a struct of facts.
type field struct {
	name      string
	at        int
	omitEmpty bool
}

// fieldsOf returns the fields of a type, embedded ones included.
var fieldsOf = func() func(reflect.Type) []field {
	var known sync.Map
	return func(t reflect.Type) []field {
		if all, ok := known.Load(t); ok {
			return all.([]field)
		}
		var all []field
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.IsExported() && name != "-" {
				all = append(all, field{snake(name), i, strings.Contains(options, "omit")})
			}
		}
		known.Store(t, all)
		return all
	}
}()

// snake returns a name in lowerCamelCase as lower_snake_case.
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

var (
	listType = reflect.TypeFor[facts.List]()
	jsonType = reflect.TypeFor[jsontext.Value]()
)

// structure returns a struct. Lists of a group that is incomplete are errors.
func (f factsReader) structure(v reflect.Value, incomplete *facts.List) ref.Val {
	var o object
	for _, one := range fieldsOf(v.Type()) {
		x := v.Field(one.at)
		if one.name == "" { // embedded
			if x.Type() == listType {
				l := x.Addr().Interface().(*facts.List)
				if !l.Complete() {
					incomplete = l
				}
			}
			o = append(o, f.structure(x, nil).(object)...)
			continue
		}
		if incomplete != nil && x.Kind() == reflect.Slice && x.Type() != jsonType {
			o = append(o, member{one.name, func() ref.Val {
				return condition.Failed("%w: the %s of entry %d are incomplete", errFacts, one.name, f.index)
			}})
			continue
		}
		if one.omitEmpty && x.IsZero() {
			continue
		}
		o = append(o, member{one.name, func() ref.Val { return f.value(x) }})
	}
	return o
}

// value returns a field or an element of a list.
func (f factsReader) value(x reflect.Value) ref.Val {
	switch v := x.Interface().(type) {
	case facts.Time:
		return types.Timestamp{Time: time.UnixMilli(int64(v)).UTC()}
	case facts.Score:
		return types.Double(v.Float())
	case facts.Digests:
		return condition.Value(v.Map())
	case jsontext.Value:
		return condition.JSON(f.meter, fmt.Sprintf("parameters of entry %d", f.index), v)
	case fmt.Stringer:
		return types.String(v.String())
	}
	switch x.Kind() {
	case reflect.Pointer:
		return f.value(x.Elem())
	case reflect.Struct:
		return f.structure(x, nil)
	case reflect.Slice:
		if err := f.meter.Charge(x.Len() / 16); err != nil {
			return types.WrapErr(err)
		}
		all := make([]ref.Val, x.Len())
		for i := range all {
			all[i] = f.value(x.Index(i))
		}
		return list(all)
	case reflect.String:
		return types.String(x.String())
	case reflect.Bool:
		return types.Bool(x.Bool())
	case reflect.Float64:
		return types.Double(x.Float())
	case reflect.Int:
		return types.Int(x.Int())
	}
	return condition.Failed("a fact of type %s cannot be read", x.Type())
}
