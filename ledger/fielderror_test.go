package ledger

import (
	"errors"
	"fmt"
	"testing"
)

func TestFieldError(t *testing.T) {
	err := fmt.Errorf("export: %w", WrongField(FieldSince, "%d is %w", 7, ErrOutOfRange))
	var wrong *FieldError
	if !errors.As(err, &wrong) || wrong.Field != FieldSince || wrong.Reason.Error() != "7 is "+ErrOutOfRange.Error() {
		t.Errorf("got %#v", wrong)
	}
	if !errors.Is(err, ErrOutOfRange) {
		t.Errorf("%v: does not wrap the reason", err)
	}
}
