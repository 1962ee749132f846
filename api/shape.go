package api

import (
	"cmp"
	"net/http"
	"strings"

	"muniment.dev/muniment/api/limit"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A shape is how a call uses its connection, and what it holds of the server.
type shape struct {
	place limit.Resource // Calls, Uploads, Answers, Watchers or Public
	// request is the largest message of a request, decompressed. Nil means
	// smallRequest.
	request func(*Settings) int64
	// field is what makes a request large.
	field string
	// bytes are held as long as the call lasts: its buffers, and a small
	// request. Zero means callBytes.
	bytes int64
	// compresses is set where answers may be compressed. Receipts and proofs
	// are hashes, which don't compress.
	compresses bool
	// records is set where the log itself records an entry for the call, which
	// then counts against the tenant's day like any other.
	records bool
}

const (
	// smallRequest is more than any request needs that carries no evidence.
	smallRequest = 64 << 10
	// callBytes are what a call with a small request holds: the request as it
	// arrives, and decoded.
	callBytes = 2 * smallRequest
	// decodeFactor is what a byte of a request holds while it is decoded: its
	// buffer, which grows by doubling, and the message.
	decodeFactor = 3
	// maxBatchBytes bounds a call of AppendBatch, unless one payload may be
	// larger.
	maxBatchBytes = 64 << 20
	// maxChunkMessage bounds a message of AppendStream: a chunk, which base64
	// in JSON makes a third larger.
	maxChunkMessage = 3 << 19
	// Health checks need no token, so that they may not cost anything.
	maxHealthBytes     = 4 << 10
	maxReflectionBytes = 64 << 10
)

// shapes are those of the calls that are not as most are: one small request,
// one answer.
var shapes = map[string]shape{
	rpc.LedgerServiceAppendProcedure:       {place: limit.Calls, request: (*Settings).maxRequest, field: "submission.payload"},
	rpc.LedgerServiceAppendBatchProcedure:  {place: limit.Calls, request: (*Settings).maxBatch, field: "submissions"},
	rpc.LedgerServiceAppendStreamProcedure: {place: limit.Uploads, request: func(*Settings) int64 { return maxChunkMessage }, bytes: 5 << 20},

	rpc.LedgerServiceGetEntryProcedure:     {place: limit.Calls, compresses: true},
	rpc.LedgerServiceListEntriesProcedure:  {place: limit.Calls, compresses: true, bytes: listBytes},
	rpc.LedgerServiceGetPayloadProcedure:   {place: limit.Answers, bytes: 4 * chunkBytes},
	rpc.LedgerServiceWatchEntriesProcedure: {place: limit.Watchers, bytes: watchBytes, compresses: true},

	rpc.ExportServiceExportProcedure: {place: limit.Answers, bytes: 32 * exportPiece},

	rpc.IdentityServiceExchangeTokenProcedure: {place: limit.Public, field: "identity_token", records: true},

	// RevokeToken records an entry, too, and is never refused for it: a token
	// that was lost is withdrawn also where its holder has used up the day.
	rpc.AdminServiceSetPolicyProcedure:      {place: limit.Calls, request: func(*Settings) int64 { return maxPolicyRequest }, field: "policy", records: true},
	rpc.AdminServiceIssueTokenProcedure:     {place: limit.Calls, records: true},
	rpc.AdminServiceEraseProcedure:          {place: limit.Calls, records: true},
	rpc.AdminServiceSetRetentionProcedure:   {place: limit.Calls, records: true},
	rpc.AdminServiceSetLegalHoldProcedure:   {place: limit.Calls, records: true},
	rpc.AdminServiceApplyRetentionProcedure: {place: limit.Answers, records: true},
}

const (
	// listBytes are what a page holds as it is read; encoding takes the rest.
	listBytes = 4 << 20
	// watchBytes are what a watcher holds while it waits, and to send an entry
	// of usual size.
	watchBytes = 48 << 10
	// maxPolicyRequest is the largest policy, in base64, and what else the
	// request has.
	maxPolicyRequest = 3 << 19
	// resultBytes are what the result of one submission of a batch holds: its
	// receipt, twice.
	resultBytes = 12 << 10
)

// maxRequest is the largest request with one payload: base64 in JSON makes it a
// third larger.
func (c *Settings) maxRequest() int64 { return c.MaxPayload*3/2 + 64<<10 }

// maxBatch is the largest request with many payloads.
func (c *Settings) maxBatch() int64 { return max(c.maxRequest(), maxBatchBytes) }

// limitOf is the largest message of a request of the shape.
func (c *Settings) limitOf(sh shape) int64 {
	if sh.request == nil {
		return smallRequest
	}
	return sh.request(c)
}

// shapeOfCall returns the shape of an RPC.
func shapeOfCall(procedure string) shape {
	sh, ok := shapes[procedure]
	if !ok {
		sh.place = limit.Calls
	}
	sh.bytes = cmp.Or(sh.bytes, callBytes)
	return sh
}

// shapeOf returns the shape of the request's call.
func shapeOf(r *http.Request) shape {
	if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, scittEntries) {
		return shapeOfCall(rpc.LedgerServiceAppendProcedure)
	}
	return shapeOfCall(r.URL.Path)
}

// lasts reports whether the call's answer is a stream, which may have no end.
func (sh shape) lasts() bool { return sh.place == limit.Answers || sh.place == limit.Watchers }
