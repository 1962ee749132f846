package fieldrules

import (
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "muniment.dev/muniment/proto/muniment/v1"
)

// TestPatterns compares the table with the rules of all messages.
func TestPatterns(t *testing.T) {
	used := map[string]bool{}
	var walk func(protoreflect.MessageDescriptors)
	walk = func(all protoreflect.MessageDescriptors) {
		for i := range all.Len() {
			walk(all.Get(i).Messages())
			for j := range all.Get(i).Fields().Len() {
				f := all.Get(i).Fields().Get(j)
				rules, _ := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
				for _, r := range []*validate.FieldRules{rules, rules.GetRepeated().GetItems(), rules.GetMap().GetKeys(), rules.GetMap().GetValues()} {
					if r.GetBytes().HasPattern() {
						t.Errorf("%s: patterns of bytes have no sentence", f.FullName())
					}
					if p := r.GetString(); p.HasPattern() {
						used[p.GetPattern()] = true
						if patterns[p.GetPattern()] == "" {
							t.Errorf("%s: no sentence for the pattern %s", f.FullName(), p.GetPattern())
						}
					}
				}
			}
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("muniment.v1", func(f protoreflect.FileDescriptor) bool {
		walk(f.Messages())
		return true
	})
	for p := range patterns {
		if !used[p] {
			t.Errorf("no rule has the pattern %s", p)
		}
	}
}
