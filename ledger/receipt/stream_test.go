package receipt

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"
)

// A payload from a reader gets the same verdicts as one in memory.
func TestPayloadReader(t *testing.T) {
	v := readReceiptVectors(t)
	given := 0
	for _, c := range v.Cases {
		policies, o, data, err := v.inputs(t, c)
		if err != nil || o.Payload == nil || c.External != "" {
			continue
		}
		given++
		want, wantErr := Verify(data, policies, o)
		o.PayloadReader, o.Payload = iotest.OneByteReader(bytes.NewReader(o.Payload)), nil
		got, err := Verify(data, policies, o)
		if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Errorf("%s: got %+v, %v, want %+v, %v", c.Name, got, err, want, wantErr)
		}
		// That it can't be read is no verdict.
		broken := errors.New("the disk is broken")
		o.PayloadReader = io.MultiReader(bytes.NewReader([]byte("x")), iotest.ErrReader(broken))
		if _, err := Verify(data, policies, o); wantErr == nil && (!errors.Is(err, broken) || errors.Is(err, ErrNotVerified)) {
			t.Errorf("%s: a payload that can't be read: %v", c.Name, err)
		}
	}
	if given < 2 {
		t.Errorf("only %d cases have a payload of their own", given)
	}
}
