package fieldrules

import (
	"errors"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestSentences checks the messages of rules that have a sentence.
func TestSentences(t *testing.T) {
	long := strings.Repeat("x", 300)
	digest := map[string]string{"sha256": strings.Repeat("0", 64)}
	for _, c := range []struct {
		message proto.Message
		want    string
	}{
		{&munimentv1.ImagePath{}, "is required"},
		{&munimentv1.ImagePath{ApiVersion: long}, "must have at most 256 characters"},
		{&munimentv1.ControlMode{Stage: "x", Mode: "idle"}, "must be one of enforce, warn, audit"},
		{&munimentv1.ExceptionScope{Globs: []string{"a", "a"}}, "must not contain duplicates"},
		{&munimentv1.ExceptionScope{Globs: []string{""}}, "must not be empty"},
		{&munimentv1.Artifact{}, "must not be empty"},
		{&munimentv1.Artifact{Digest: map[string]string{"a b": "x"}}, "must be 1 to 63 letters, digits, underscores, dots, slashes and hyphens, and begin with a letter or digit"},
		{&munimentv1.ExportManifest{Name: "x", Created: timestamppb.Now(), Files: []*munimentv1.ExportFile{{Path: "x", Digest: digest}}, Licenses: []string{"MIT"}, ResidencyRegions: make([]string, 65)}, "must have at most 64 items"},
		{&munimentv1.SetPolicyRequest{Tenant: "acme", Reason: "x", Policy: make([]byte, 1<<20+1)}, "must have at most 1048576 bytes"},
	} {
		var v *protovalidate.ValidationError
		if err := Validate(c.message); !errors.As(err, &v) || v.Violations[0].Proto.GetMessage() != c.want {
			t.Errorf("%s: got %v, want %q", c.message.ProtoReflect().Descriptor().Name(), err, c.want)
		}
	}
}

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
