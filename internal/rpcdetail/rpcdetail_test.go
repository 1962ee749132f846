package rpcdetail

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestFind(t *testing.T) {
	plain := connect.NewError(connect.CodeUnavailable, errors.New("busy"))
	for _, err := range []error{nil, errors.New("x"), plain, Add(connect.NewError(connect.CodeUnavailable, errors.New("busy")), timestamppb.Now())} {
		if m, ok := Find[*errdetails.RetryInfo](err); ok || m != nil {
			t.Errorf("%v: found %v", err, m)
		}
	}
	e := Add(Add(plain, timestamppb.Now()), &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	m, ok := Find[*errdetails.RetryInfo](fmt.Errorf("wrapped: %w", e))
	if !ok || m.RetryDelay.AsDuration() != time.Second {
		t.Errorf("found %v, %t, want a delay of a second", m, ok)
	}
}
