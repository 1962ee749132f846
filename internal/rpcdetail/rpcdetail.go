// Package rpcdetail adds messages to the details of errors of RPCs, and reads
// them.
package rpcdetail

import (
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
)

// Add adds a message to an error's details, and returns the error. A message
// that can't be encoded is left out.
func Add(e *connect.Error, m proto.Message) *connect.Error {
	if d, err := connect.NewErrorDetail(m); err == nil {
		e.AddDetail(d)
	}
	return e
}

// Find returns the first detail of the type T in an error of an RPC.
func Find[T proto.Message](err error) (found T, ok bool) {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return found, false
	}
	for _, d := range e.Details() {
		if m, err := d.Value(); err == nil {
			if found, ok := m.(T); ok {
				return found, true
			}
		}
	}
	return found, false
}
