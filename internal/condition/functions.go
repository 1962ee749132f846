package condition

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// A function is a row of the table of functions. Exactly one of cost, own,
// builtin and refused is set.
type function struct {
	overloads []string

	// charged before the library's implementation runs
	cost func(args []ref.Val) int
	// our implementation, which charges as it runs
	own     func(e *evaluation, id int64, args []ref.Val) ref.Val
	builtin bool   // part of the evaluator
	refused string // why conditions cannot call it
	rule    string // cost, for the documentation
}

const noBound = "the size of its result has no bound: compare the parts"

// functions has all functions of the language and its enabled extensions, by
// name. A test fails if a function or an overload is missing.
var functions = map[string]function{
	// Evaluated in eval.go, which charges the operands and one unit for the
	// node.
	"_&&_":                   {overloads: []string{"logical_and"}, builtin: true, rule: "1"},
	"_||_":                   {overloads: []string{"logical_or"}, builtin: true, rule: "1"},
	"_?_:_":                  {overloads: []string{"conditional"}, builtin: true, rule: "1"},
	"_[_]":                   {overloads: []string{"index_list", "index_map"}, builtin: true, rule: "text of the key"},
	"@not_strictly_false":    {overloads: []string{"not_strictly_false"}, builtin: true, rule: "1"},
	"__not_strictly_false__": {overloads: []string{"__not_strictly_false__"}, refused: "it is internal to CEL"},

	"_==_": {overloads: []string{"equals"}, own: ownEquals, rule: "each pair of values that is compared, to any depth, with its text"},
	"_!=_": {overloads: []string{"not_equals"}, own: ownNotEquals, rule: "each pair of values that is compared, to any depth, with its text"},
	"_<_":  {overloads: comparisons("less"), own: ordered(func(c types.Int) bool { return c < 0 }), rule: "text of the shorter"},
	"_<=_": {overloads: comparisons("less_equals"), own: ordered(func(c types.Int) bool { return c <= 0 }), rule: "text of the shorter"},
	"_>_":  {overloads: comparisons("greater"), own: ordered(func(c types.Int) bool { return c > 0 }), rule: "text of the shorter"},
	"_>=_": {overloads: comparisons("greater_equals"), own: ordered(func(c types.Int) bool { return c >= 0 }), rule: "text of the shorter"},

	"@in":             {overloads: []string{"in_list", "in_map"}, own: ownIn, rule: "each element as `==`; of a map, text of the key"},
	"in":              {overloads: []string{"in_list", "in_map"}, refused: "use the operator in"},
	"_in_":            {overloads: []string{"in_list", "in_map"}, refused: "use the operator in"},
	"sets.contains":   {overloads: []string{"list_sets_contains_list"}, own: ownSetsContains, rule: "each pair of elements that is compared, as `==`"},
	"sets.equivalent": {overloads: []string{"list_sets_equivalent_list"}, own: ownSetsEquivalent, rule: "twice as `sets.contains`"},
	"sets.intersects": {overloads: []string{"list_sets_intersects_list"}, own: ownSetsIntersects, rule: "each pair of elements that is compared, as `==`"},

	"_+_": {overloads: []string{"add_bytes", "add_double", "add_duration_duration", "add_duration_timestamp", "add_timestamp_duration", "add_int64", "add_list", "add_string", "add_uint64"},
		own: ownAdd, rule: "text of both; elements of both lists"},
	"_-_": {overloads: []string{"subtract_double", "subtract_duration_duration", "subtract_int64", "subtract_timestamp_duration", "subtract_timestamp_timestamp", "subtract_uint64"}, cost: fixed, rule: "1"},
	"_*_": {overloads: []string{"multiply_double", "multiply_int64", "multiply_uint64"}, cost: fixed, rule: "1"},
	"_/_": {overloads: []string{"divide_double", "divide_int64", "divide_uint64"}, cost: fixed, rule: "1"},
	"_%_": {overloads: []string{"modulo_int64", "modulo_uint64"}, cost: fixed, rule: "1"},
	"-_":  {overloads: []string{"negate_double", "negate_int64"}, cost: fixed, rule: "1"},
	"!_":  {overloads: []string{"logical_not"}, cost: fixed, rule: "1"},

	"bool":      {overloads: []string{"bool_to_bool", "string_to_bool"}, cost: linear, rule: "text"},
	"bytes":     {overloads: []string{"bytes_to_bytes", "string_to_bytes"}, cost: linear, rule: "text"},
	"double":    {overloads: []string{"double_to_double", "int64_to_double", "string_to_double", "uint64_to_double"}, own: ownDouble, rule: "text"},
	"duration":  {overloads: []string{"duration_to_duration", "string_to_duration"}, cost: linear, rule: "text"},
	"dyn":       {overloads: []string{"to_dyn"}, cost: fixed, rule: "1"},
	"int":       {overloads: []string{"int64_to_int64", "double_to_int64", "duration_to_int64", "string_to_int64", "timestamp_to_int64", "uint64_to_int64"}, cost: linear, rule: "text"},
	"string":    {overloads: []string{"string_to_string", "bool_to_string", "bytes_to_string", "double_to_string", "duration_to_string", "int64_to_string", "timestamp_to_string", "uint64_to_string"}, cost: linear, rule: "text"},
	"timestamp": {overloads: []string{"timestamp_to_timestamp", "int64_to_timestamp", "string_to_timestamp"}, cost: linear, rule: "text"},
	"type":      {overloads: []string{"type"}, cost: fixed, rule: "1"},
	"uint":      {overloads: []string{"uint64_to_uint64", "double_to_uint64", "int64_to_uint64", "string_to_uint64"}, cost: linear, rule: "text"},
	"size":      {overloads: []string{"bytes_size", "size_bytes", "list_size", "size_list", "map_size", "size_map", "string_size", "size_string"}, cost: linear, rule: "text"},

	"contains":   {overloads: []string{"contains_string"}, cost: linear, rule: "text of both"},
	"endsWith":   {overloads: []string{"ends_with_string"}, cost: linear, rule: "text of both"},
	"startsWith": {overloads: []string{"starts_with_string"}, cost: linear, rule: "text of both"},
	"matches":    {overloads: []string{"matches", "matches_string"}, own: ownMatches, rule: "text times the weight of the pattern"},

	"charAt":        {overloads: []string{"string_char_at_int"}, cost: linear, rule: "text"},
	"indexOf":       {overloads: []string{"string_index_of_string", "string_index_of_string_int"}, cost: naive, rule: "text times the bytes that are looked for"},
	"lastIndexOf":   {overloads: []string{"string_last_index_of_string", "string_last_index_of_string_int"}, cost: naive, rule: "text times the bytes that are looked for"},
	"lowerAscii":    {overloads: []string{"string_lower_ascii"}, cost: linear, rule: "text"},
	"upperAscii":    {overloads: []string{"string_upper_ascii"}, cost: linear, rule: "text"},
	"reverse":       {overloads: []string{"string_reverse"}, cost: linear, rule: "text"},
	"split":         {overloads: []string{"string_split_string", "string_split_string_int"}, cost: splitting, rule: "1 for each byte"},
	"strings.quote": {overloads: []string{"strings_quote"}, cost: linear, rule: "text"},
	"substring":     {overloads: []string{"string_substring_int", "string_substring_int_int"}, cost: linear, rule: "text"},
	"trim":          {overloads: []string{"string_trim"}, cost: linear, rule: "text"},
	"format":        {overloads: []string{"string_format"}, refused: noBound},
	"join":          {overloads: []string{"list_join", "list_join_string"}, refused: noBound},
	"replace":       {overloads: []string{"string_replace_string_string", "string_replace_string_string_int"}, refused: noBound},

	"getDate":         {overloads: getters("timestamp_to_day_of_month_1_based"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getDayOfMonth":   {overloads: getters("timestamp_to_day_of_month"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getDayOfWeek":    {overloads: getters("timestamp_to_day_of_week"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getDayOfYear":    {overloads: getters("timestamp_to_day_of_year"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getFullYear":     {overloads: getters("timestamp_to_year"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getMonth":        {overloads: getters("timestamp_to_month"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getHours":        {overloads: getters("timestamp_to_hours", "duration_to_hours"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getMinutes":      {overloads: getters("timestamp_to_minutes", "duration_to_minutes"), cost: zoned, rule: "1; with a time zone 1,000"},
	"getSeconds":      {overloads: []string{"timestamp_to_seconds", "timestamp_to_seconds_tz", "duration_to_seconds"}, cost: zoned, rule: "1; with a time zone 1,000"},
	"getMilliseconds": {overloads: getters("timestamp_to_milliseconds", "duration_to_milliseconds"), cost: zoned, rule: "1; with a time zone 1,000"},
}

// getters returns the overloads of a function that reads a part of a timestamp.
// The first of the names also exists with a time zone.
func getters(names ...string) []string { return append(names, names[0]+"_with_tz") }

func comparisons(name string) []string {
	all := []string{}
	for _, t := range []string{"bool", "int64", "uint64", "double", "string", "bytes", "timestamp", "duration",
		"int64_double", "int64_uint64", "uint64_double", "uint64_int64", "double_int64", "double_uint64"} {
		all = append(all, name+"_"+t)
	}
	return all
}

func fixed([]ref.Val) int { return 1 }

func linear(args []ref.Val) int {
	n := 0
	for _, a := range args {
		n += length(a)
	}
	return Text(n)
}

// naive is the cost of a search that compares at every position.
func naive(args []ref.Val) int {
	return linear(args) + Product(length(args[0]), length(args[1])+1)/bytesPerUnit
}

// splitting is the cost of split, which can return a string for each character.
func splitting(args []ref.Val) int { return 1 + length(args[0]) + length(args[1])/bytesPerUnit }

// zoned includes the cost of reading a time zone from the disk.
func zoned(args []ref.Val) int {
	if len(args) > 1 {
		return 1000 + linear(args[1:])
	}
	return 1
}

// length returns the length of text in bytes, and 0 for other values.
func length(v ref.Val) int {
	switch v := v.(type) {
	case types.String:
		return len(v)
	case types.Bytes:
		return len(v)
	}
	return 0
}

func ownEquals(e *evaluation, _ int64, args []ref.Val) ref.Val { return e.equal(args[0], args[1]) }

func ownNotEquals(e *evaluation, _ int64, args []ref.Val) ref.Val {
	eq := e.equal(args[0], args[1])
	if b, ok := eq.(types.Bool); ok {
		return !b
	}
	return eq
}

func ordered(holds func(types.Int) bool) func(*evaluation, int64, []ref.Val) ref.Val {
	return func(e *evaluation, _ int64, args []ref.Val) ref.Val {
		c := e.compare(args[0], args[1])
		if n, ok := c.(types.Int); ok {
			return types.Bool(holds(n))
		}
		return c
	}
}

func ownIn(e *evaluation, _ int64, args []ref.Val) ref.Val {
	switch in := args[1].(type) {
	case traits.Mapper:
		if err := e.charge(Text(length(args[0]))); err != nil {
			return err
		}
		_, found := in.Find(args[0])
		return types.Bool(found)
	case traits.Lister:
		return e.in(args[0], in)
	}
	return types.MaybeNoSuchOverloadErr(args[1])
}

func lists(args []ref.Val) (a, b traits.Lister, ok bool) {
	a, ok1 := args[0].(traits.Lister)
	b, ok2 := args[1].(traits.Lister)
	return a, b, ok1 && ok2
}

func ownSetsContains(e *evaluation, _ int64, args []ref.Val) ref.Val {
	a, b, ok := lists(args)
	if !ok {
		return types.NewErr("no such overload")
	}
	return e.each(b, func(v ref.Val) ref.Val { return e.in(v, a) }, types.False)
}

func ownSetsEquivalent(e *evaluation, id int64, args []ref.Val) ref.Val {
	if v := ownSetsContains(e, id, args); v != types.True {
		return v
	}
	return ownSetsContains(e, id, []ref.Val{args[1], args[0]})
}

func ownSetsIntersects(e *evaluation, _ int64, args []ref.Val) ref.Val {
	a, b, ok := lists(args)
	if !ok {
		return types.NewErr("no such overload")
	}
	return e.each(a, func(v ref.Val) ref.Val { return e.in(v, b) }, types.True)
}

func ownAdd(e *evaluation, _ int64, args []ref.Val) ref.Val {
	a, b, ok := lists(args)
	if !ok {
		if err := e.charge(linear(args)); err != nil {
			return err
		}
		if adder, ok := args[0].(traits.Adder); ok {
			return adder.Add(args[1])
		}
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	more := int(b.Size().(types.Int))
	// A mutable list is the result of a macro so far, and nothing else refers
	// to it.
	grown, growing := a.(traits.MutableLister)
	if growing {
		if err := e.charge(1 + more); err != nil {
			return err
		}
		return grown.Add(b)
	}
	if err := e.charge(1 + more + int(a.Size().(types.Int))); err != nil {
		return err
	}
	var all []ref.Val
	for _, l := range []traits.Lister{a, b} {
		for i := types.Int(0); i < l.Size().(types.Int); i++ {
			all = append(all, l.Get(i))
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}

// ownMatches uses the regular expression that was compiled with the condition.
func ownMatches(e *evaluation, id int64, args []ref.Val) ref.Val {
	p := e.of.patterns[id]
	s, ok := args[0].(types.String)
	if p == nil || !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	if err := e.charge(Text(Product(len(s)+1, p.weight))); err != nil {
		return err
	}
	return types.Bool(p.MatchString(string(s)))
}

// refusal returns why conditions cannot call a function, or "".
func refusal(name string) string {
	f, ok := functions[name]
	switch {
	case !ok:
		return "conditions have no such function"
	case f.refused != "":
		return f.refused
	}
	return ""
}

// plainName returns the name of a function or operator as it is written.
func plainName(name string) string { return strings.Trim(name, "_@") }
