package evidence

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
)

// A refusal is not mistaken for a timeout when the wait for witnesses ends.
func TestWaited(t *testing.T) {
	c := &appendCmd{WaitTime: time.Second}
	if err := c.waited(nil); err != nil {
		t.Errorf("an answer at the last moment: %v", err)
	}
	for _, err := range []error{
		connect.NewError(connect.CodeDeadlineExceeded, errors.New("late")),
		connect.NewError(connect.CodeCanceled, errors.New("late")),
		fmt.Errorf("send: %w", context.DeadlineExceeded),
	} {
		if got := c.waited(err); !strings.Contains(got.Error(), "not witnessed after 1s") {
			t.Errorf("%v: %v", err, got)
		}
	}
	for _, err := range []error{
		connect.NewError(connect.CodeUnavailable, errors.New("disk full")),
		connect.NewError(connect.CodeResourceExhausted, errors.New("quota")),
		connect.NewError(connect.CodeUnknown, errors.New("a proxy refused")),
		errors.New("the server returned 0 results for 1 submissions"),
	} {
		if got := c.waited(err); !errors.Is(got, err) || strings.Contains(got.Error(), "not witnessed") {
			t.Errorf("%v: %v", err, got)
		}
	}
}
