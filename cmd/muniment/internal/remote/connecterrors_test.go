package remote

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
)

// TestReason checks that no code of a failed call is part of the text for
// people, and that programs get it.
func TestReason(t *testing.T) {
	for code := connect.CodeCanceled; code <= connect.CodeUnauthenticated; code++ {
		ce := connect.NewError(code, errors.New("index: entry 7 is not published"))
		for _, err := range []error{ce, fmt.Errorf("receipt 7: %w", ce), fmt.Errorf("a: %w\nb", fmt.Errorf("c: %w", ce)), errors.Join(ce, errors.New("d"))} {
			text := Reason(err)
			if strings.Contains(text, code.String()) || !strings.Contains(text, "index: entry 7 is not published") {
				t.Errorf("%v: the text is %q", err, text)
			}
			if first, _, _ := strings.Cut(ErrorText(err), "\n"); strings.HasPrefix(first, code.String()) {
				t.Errorf("%v: printed as %q", err, first)
			}
			if Code(err) != code.String() {
				t.Errorf("%v: code %q", err, Code(err))
			}
		}
	}
	if err := errors.New("permission_denied: of a file"); Reason(err) != err.Error() || Code(err) != "" {
		t.Errorf("an error that is none of a call: %q, code %q", Reason(err), Code(err))
	}
	if err := connect.NewError(connect.CodeInternal, nil); Reason(err) == "" {
		t.Error("an error without a message has no text")
	}
}
