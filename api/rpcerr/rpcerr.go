// Package rpcerr makes errors in the form in which callers of RPCs see them:
// with the field that is wrong, the time to retry after, and a bounded size.
// Which error has which code is decided elsewhere, in the table of package api.
package rpcerr

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"muniment.dev/muniment/internal/rpcdetail"
)

// Field returns an error whose message and detail name the field.
func Field(code connect.Code, field, format string, args ...any) *connect.Error {
	message := fmt.Sprintf(format, args...)
	e := connect.NewError(code, errors.New(field+": "+message))
	path := &validate.FieldPath{}
	for _, name := range strings.Split(field, ".") {
		path.Elements = append(path.Elements, &validate.FieldPathElement{FieldName: proto.String(name)})
	}
	v := &validate.Violations{Violations: []*validate.Violation{{Field: path, Message: proto.String(message)}}}
	return rpcdetail.Add(e, v)
}

// Retry returns an error with the time to retry after, as a header for HTTP
// clients and as a detail for gRPC's.
func Retry(code connect.Code, err error, after time.Duration) *connect.Error {
	e := connect.NewError(code, err)
	e.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	return rpcdetail.Add(e, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
}

// FieldOf returns the field that an error of Field names, or "".
func FieldOf(e *connect.Error) string {
	if v, _ := rpcdetail.Find[*validate.Violations](e); len(v.GetViolations()) > 0 {
		return protovalidate.FieldPathString(v.Violations[0].GetField())
	}
	return ""
}

// IsRefusal reports whether the error is a refusal of access.
func IsRefusal(err error) bool {
	code := connect.CodeOf(err)
	return err != nil && (code == connect.CodeUnauthenticated || code == connect.CodePermissionDenied)
}
