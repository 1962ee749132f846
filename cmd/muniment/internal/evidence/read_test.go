package evidence

import (
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

func TestLargestPage(t *testing.T) {
	field := (&munimentv1.ListEntriesRequest{}).ProtoReflect().Descriptor().Fields().ByName("page_size")
	rules := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	if most := rules.GetUint32().GetLte(); most != largestPage {
		t.Errorf("the API allows pages of %d entries, and list requests %d", most, largestPage)
	}
}
