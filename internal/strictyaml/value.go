package strictyaml

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/types/known/structpb"
	"gopkg.in/yaml.v3"
)

// maxMembers is the number of members of a map in a value.
const maxMembers = 16 << 10

// Value reads any value that JSON can represent, up to a depth and a number of
// values.
func (d *Document) Value(n *yaml.Node, field string, depth, values int) *structpb.Value {
	return d.value(n, field, depth, &values)
}

func (d *Document) value(n *yaml.Node, field string, depth int, left *int) *structpb.Value {
	if *left--; *left < 0 || depth == 0 {
		if *left == -1 || depth == 0 {
			d.Wrong(n, field, "too large: use fewer values, nested less deep")
		}
		return structpb.NewNullValue()
	}
	switch n.Kind {
	case yaml.MappingNode:
		fields := map[string]*structpb.Value{}
		d.Each(n, field, maxMembers, func(name string, _, n *yaml.Node, f string) { fields[name] = d.value(n, f, depth-1, left) })
		return structpb.NewStructValue(&structpb.Struct{Fields: fields})
	case yaml.SequenceNode:
		list := &structpb.ListValue{}
		if !d.Is(n, field, yaml.SequenceNode, "a list") {
			return structpb.NewNullValue()
		}
		for i, c := range n.Content {
			list.Values = append(list.Values, d.value(c, fmt.Sprintf("%s[%d]", field, i), depth-1, left))
		}
		return structpb.NewListValue(list)
	}
	if !d.Is(n, field, yaml.ScalarNode, "a value") {
		return structpb.NewNullValue()
	}
	return d.scalar(n, field)
}

// scalar reads a value. JSON has only doubles, so numbers that are not exact
// doubles are refused.
func (d *Document) scalar(n *yaml.Node, field string) *structpb.Value {
	var flag bool
	var number float64
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		return structpb.NewNullValue()
	case tag == "!!bool" && n.Decode(&flag) == nil:
		return structpb.NewBoolValue(flag)
	case (tag == "!!int" || tag == "!!float") && n.Decode(&number) == nil:
		if math.IsInf(number, 0) || math.IsNaN(number) || tag == "!!int" && math.Abs(number) >= 1<<53 {
			d.Wrong(n, field, "JSON cannot represent the number exactly: put it in quotes")
		}
		return structpb.NewNumberValue(number)
	case tag == "!!str" || tag == "!!timestamp":
		return structpb.NewStringValue(n.Value)
	}
	d.Wrong(n, field, "must be a string, a number, true, false or null")
	return structpb.NewNullValue()
}
