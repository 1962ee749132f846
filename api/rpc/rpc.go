// Package rpc implements the services of the API. Each type implements a group
// of RPCs and contains only what they need.
//
// Callers have been authenticated and admitted, and requests validated, before
// they reach this package.
package rpc

import (
	"connectrpc.com/connect"

	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Ledger implements LedgerService.
type Ledger struct {
	*Appends
	*Entries
	*Watches
	*Proofs
}

// Admin implements AdminService. Only administrators are admitted, except to
// GetPolicy.
type Admin struct {
	*Tokens
	*Policies
	*Erasures
}

// Public returns the error that the caller sees.
type Public func(error) *connect.Error

// A Drain is closed when the server shuts down.
type Drain <-chan struct{}

func (d Drain) closed() bool {
	select {
	case <-d:
		return true
	default:
		return false
	}
}

// InSubmission returns the name of a submission's field in an Append request.
func InSubmission(field string) string { return "submission." + field }

// InStream returns the name of a submission's field in AppendStream messages.
func InStream(field string) string {
	if field == "payload" {
		return "chunk"
	}
	return "header." + field
}

// InBatch returns the name of a submission's field in an AppendBatch result.
func InBatch(field string) string { return field }

func appended(r ledger.Result) *munimentv1.Appended {
	return &munimentv1.Appended{Index: r.Index, Duplicate: r.Duplicate, Receipt: r.Receipt}
}
