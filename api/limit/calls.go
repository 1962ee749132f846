package limit

import (
	"cmp"
	"math"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A Shape describes how a call uses its connection and what it holds.
type Shape struct {
	place Resource // Calls, Uploads, Answers, Watchers or Public
	// request returns the size limit of a request message, decompressed. Nil
	// means SmallRequest.
	request func(*Sizes) int64
	// field is the field that determines a request's size.
	field string
	// bytes are held for the whole call: its buffers and a small request. Zero
	// means callBytes.
	bytes int64
	// compresses is set if responses may be compressed. Receipts and proofs
	// consist of hashes, which do not compress.
	compresses bool
	// records is set if the log itself records an entry for the call, which
	// then counts against the tenant's daily limits like any other.
	records bool
}

const (
	// SmallRequest is the size limit of a request without evidence.
	SmallRequest = 64 << 10
	// callBytes is what a call with a small request holds: the request as
	// received, and decoded.
	callBytes = 2 * SmallRequest
	// decodeFactor is the memory per byte of a request during decoding: a
	// buffer that grows by doubling, and the message.
	decodeFactor = 3
	// maxBatchBytes limits an AppendBatch request, unless a single payload may
	// be larger.
	maxBatchBytes = 64 << 20
	// maxChunkMessage limits a message of AppendStream: a chunk, which base64
	// in JSON enlarges by a third.
	maxChunkMessage = 3 << 19
	// maxSubjectsRequest limits a Decide, SubmitDecisions or CreateBundle
	// request.
	maxSubjectsRequest = 8 << 20
	// factBytes is what the facts of the entries about one artifact hold.
	factBytes = 16 << 20
	// pastBytes is what a call about recorded decisions holds: the facts of one
	// of them, and the hashes of the questions that it has met.
	pastBytes = factBytes + 16<<20
	// maxSetRequest limits a Replay request. A control set is written as a file
	// of at most 1 MiB, which its entries and base64 in JSON enlarge.
	maxSetRequest = 4 << 20
	// Health checks require no token, so they must cost next to nothing.
	MaxHealthBytes     = 4 << 10
	MaxReflectionBytes = 64 << 10
)

// shapes lists the calls that deviate from the usual shape of one small request
// and one response.
var shapes = map[string]Shape{
	rpc.LedgerServiceAppendProcedure:       {place: Calls, request: (*Sizes).maxRequest, field: "submission.payload"},
	rpc.LedgerServiceAppendBatchProcedure:  {place: Calls, request: (*Sizes).maxBatch, field: "submissions"},
	rpc.LedgerServiceAppendStreamProcedure: {place: Uploads, request: func(*Sizes) int64 { return maxChunkMessage }, bytes: 5 << 20},

	rpc.LedgerServiceGetEntryProcedure:     {place: Calls, compresses: true},
	rpc.LedgerServiceListEntriesProcedure:  {place: Calls, compresses: true, bytes: listBytes},
	rpc.LedgerServiceGetPayloadProcedure:   {place: Answers, bytes: 4 * ChunkBytes},
	rpc.LedgerServiceWatchEntriesProcedure: {place: Watchers, bytes: WatchBytes, compresses: true},

	rpc.ExportServiceExportProcedure:       {place: Answers, bytes: 32 * ExportPiece},
	rpc.BundleServiceCreateBundleProcedure: {place: Answers, request: func(*Sizes) int64 { return maxSubjectsRequest }, field: "artifacts", bytes: bundleBytes},

	rpc.GateServiceDecideProcedure:          {place: Calls, request: func(*Sizes) int64 { return maxSubjectsRequest }, field: "subjects", bytes: factBytes, compresses: true},
	rpc.GateServiceGetControlSetProcedure:   {place: Calls, bytes: listBytes, compresses: true},
	rpc.GateServiceReplayProcedure:          {place: Answers, request: func(*Sizes) int64 { return maxSetRequest }, field: "controls", bytes: pastBytes, compresses: true},
	rpc.GateServiceListAffectedProcedure:    {place: Answers, bytes: pastBytes, compresses: true},
	rpc.GateServiceListInventoryProcedure:   {place: Answers, bytes: listBytes, compresses: true},
	rpc.GateServiceListCoverageProcedure:    {place: Answers, bytes: pastBytes, compresses: true},
	rpc.GateServiceSubmitDecisionsProcedure: {place: Calls, request: func(*Sizes) int64 { return maxSubjectsRequest }, field: "decisions", bytes: factBytes, compresses: true},

	// A view reads page by page, and one document at a time.
	rpc.PortalServiceGetOverviewProcedure:      {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceSearchProcedure:           {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceGetArtifactProcedure:      {place: Calls, bytes: graphBytes + viewBytes, compresses: true},
	rpc.PortalServiceListFindingsProcedure:     {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceGetFindingProcedure:       {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceListExceptionsProcedure:   {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceGetExceptionProcedure:     {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServicePreviewExceptionProcedure: {place: Calls, bytes: pastBytes, compresses: true},
	rpc.PortalServiceListIncidentsProcedure:    {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceGetIncidentProcedure:      {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceGetPrivacyBudgetProcedure: {place: Calls, bytes: viewBytes, compresses: true},
	rpc.PortalServiceGetLogHealthProcedure:     {place: Calls, bytes: callBytes, compresses: true},

	rpc.IdentityServiceExchangeTokenProcedure: {place: Public, field: "identity_token", records: true},

	// RevokeToken also records an entry, but the daily limits never refuse it:
	// a lost token can be revoked even if its holder has exhausted them.
	rpc.AdminServiceSetPolicyProcedure:      {place: Calls, request: func(*Sizes) int64 { return maxPolicyRequest }, field: "policy", records: true},
	rpc.AdminServiceIssueTokenProcedure:     {place: Calls, records: true},
	rpc.AdminServiceEraseProcedure:          {place: Calls, records: true},
	rpc.AdminServiceSetRetentionProcedure:   {place: Calls, records: true},
	rpc.AdminServiceSetLegalHoldProcedure:   {place: Calls, records: true},
	rpc.AdminServiceApplyRetentionProcedure: {place: Answers, records: true},
}

const (
	// listBytes is what a page holds while it is read. Encoding takes more.
	listBytes = 4 << 20
	// viewBytes is what a view holds: a page of entries, and one decoded
	// document.
	viewBytes = 2 * listBytes
	// graphBytes is what the entries of an artifact's graph hold, decoded.
	graphBytes = 24 << 20
	// ChunkBytes is the number of payload bytes per message.
	ChunkBytes = 256 << 10
	// PieceBytes is what the reader of a large payload in a bucket holds beside
	// its messages: an object.
	PieceBytes = 4 << 20
	// ExportPiece is the number of delta bytes per message.
	ExportPiece = 256 << 10
	// bundleBytes is what the creation of a usual bundle holds: the reports and
	// the facts that they show.
	bundleBytes = 2 * factBytes
	// DefaultPageSize is the page size of ListEntries if the request specifies
	// none. A validation rule in ledger.proto limits the page size.
	DefaultPageSize = 100
	// WatchBytes is what a watcher holds while it waits and sends entries of
	// usual size.
	WatchBytes = 48 << 10
	// maxPolicyRequest is the size of the largest policy in base64 with the
	// rest of the request.
	maxPolicyRequest = 3 << 19
	// ResultBytes is what the result of one submission in a batch holds: its
	// receipt, twice.
	ResultBytes = 12 << 10
	// InventoryFactor is the memory per byte of an inventory's entries while
	// its artifacts are merged with those of others.
	InventoryFactor = 3
	// DecisionBytes is what the decision about one subject of a usual control
	// set holds, twice.
	DecisionBytes = 4 << 10
)

// maxRequest is the size limit of a request with one payload, which base64 in
// JSON enlarges by a third.
func (c *Sizes) maxRequest() int64 { return c.MaxPayload*3/2 + 64<<10 }

// maxBatch is the size limit of a request with several payloads.
func (c *Sizes) maxBatch() int64 { return max(c.maxRequest(), maxBatchBytes) }

// limitOf returns the size limit of a request message of the shape.
func (c *Sizes) limitOf(sh *Shape) int64 {
	if sh.request == nil {
		return SmallRequest
	}
	return sh.request(c)
}

// usual is the shape of calls that are not in the table.
var usual = Shape{place: Calls, bytes: callBytes}

// shapeRows is the table with defaults filled in.
var shapeRows = func() map[string]*Shape {
	rows := map[string]*Shape{}
	for procedure, sh := range shapes {
		sh.bytes = cmp.Or(sh.bytes, callBytes)
		rows[procedure] = &sh
	}
	return rows
}()

// ShapeOf returns the shape of an RPC.
func ShapeOf(procedure string) *Shape {
	if sh := shapeRows[procedure]; sh != nil {
		return sh
	}
	return &usual
}

// Bytes returns what a call holds from its beginning to its end.
func (sh *Shape) Bytes() int64 { return sh.bytes }

// SCITTEntries is the path of the SCITT endpoint. A POST to it is an Append.
const SCITTEntries = "/entries"

// shapeOf returns the shape of the request's call.
func shapeOf(r *http.Request) *Shape {
	if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, SCITTEntries) {
		return ShapeOf(rpc.LedgerServiceAppendProcedure)
	}
	return ShapeOf(r.URL.Path)
}

// lasts reports whether the response is a stream, which may be endless.
func (sh *Shape) lasts() bool { return sh.place == Answers || sh.place == Watchers }

// Options returns the options of a Connect handler that apply the RPC's limits
// to an owner's messages.
func (l *Limiter) Options(owner string, spec connect.Spec) []connect.HandlerOption {
	sh, compressFrom := ShapeOf(spec.Procedure), math.MaxInt32
	if sh.compresses {
		compressFrom = 1024
	}
	// Connect takes a fixed limit. Bound and the decompressor apply the limit
	// in force, which a reload can change.
	most := min(largest.limitOf(sh), math.MaxInt32)
	inForce := func() int64 { return l.Sizes().limitOf(sh) }
	return []connect.HandlerOption{connect.WithCompressMinBytes(compressFrom), connect.WithReadMaxBytes(int(most)), GzipUpTo(owner, inForce, spec)}
}
