// Package rpc implements the services of the API. Each type holds a group of
// RPCs and only what these need.
//
// Callers have been authenticated and admitted, and requests validated, before
// they get here.
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

// Public returns the error that the caller of a call sees.
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

// InSubmission names a field of a submission in a request of Append.
func InSubmission(field string) string { return "submission." + field }

// InStream names a field of a submission in the messages of AppendStream.
func InStream(field string) string {
	if field == "payload" {
		return "chunk"
	}
	return "header." + field
}

// InBatch names a field of a submission in a result of AppendBatch.
func InBatch(field string) string { return field }

func appended(r ledger.Result) *munimentv1.Appended {
	return &munimentv1.Appended{Index: r.Index, Duplicate: r.Duplicate, Receipt: r.Receipt}
}
