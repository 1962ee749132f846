// Package scitt registers SCITT signed statements and returns COSE receipts
// (docs/spec/scitt.md, section 5).
//
// It is a variant of Append and GetReceipt. A statement is processed like any
// other submission, and its COSE receipt contains the same proof as the native
// one, signed with a separate key.
package scitt

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/receipt/strictcbor"
)

// KeysPath is the path of the keys that sign COSE receipts.
const KeysPath = "/.well-known/scitt-keys"

const problemType = "application/concise-problem-details+cbor"

// A Handler serves the endpoint. Its requests have already been admitted.
type Handler struct {
	Ledger *ledger.Ledger
	Limits *limit.Limiter
	Key    *cosereceipt.Key // signs the receipts
	Log    *slog.Logger
	// MayAppend returns an error unless the caller may append entries of the
	// kind.
	MayAppend func(who *auth.Identity, kind string) error
	// Record records the caller's submissions.
	Record func(context.Context, *auth.Identity, []ingest.Submission) ([]ledger.Result, error)
	// Public returns the error that the caller sees.
	Public func(error) *connect.Error
	// Refuse answers a request with an error and records refusals of access.
	Refuse func(http.ResponseWriter, *http.Request, *connect.Error)
}

// Is reports whether the request is for the endpoint, which has its own error
// format.
func Is(r *http.Request) bool {
	return r.URL.Path == limit.SCITTEntries || strings.HasPrefix(r.URL.Path, limit.SCITTEntries+"/")
}

// Keys serves the keys that sign COSE receipts.
func (s *Handler) Keys(w http.ResponseWriter, _ *http.Request) {
	set, err := cosereceipt.KeySet(s.Key)
	if err != nil {
		Problem(w, s.Public(err))
		return
	}
	w.Header().Set("Content-Type", "application/cbor")
	_, _ = w.Write(set) // an error means that the client is gone
}

// Register is Append for a signed statement.
func (s *Handler) Register(w http.ResponseWriter, r *http.Request) {
	id := auth.Caller(r.Context())
	if err := s.MayAppend(id, cosereceipt.StatementKind); err != nil { // before reading the body
		s.Refuse(w, r, s.Public(err))
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != cosereceipt.StatementType {
		Problem(w, rpcerr.Field(connect.CodeInvalidArgument, "content_type", "%q, but a signed statement is sent as %s", r.Header.Get("Content-Type"), cosereceipt.StatementType))
		return
	}
	most := min(s.Limits.Sizes().MaxPayload, ingest.MaxStatement)
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		Problem(w, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the body could not be read: %w", err)))
		return
	}
	if int64(len(body)) > most {
		Problem(w, rpcerr.Field(connect.CodeInvalidArgument, "statement", "more than %d bytes", most))
		return
	}
	sub, subject, err := ingest.StatementSubmission(body)
	if err != nil {
		Problem(w, s.Public(err))
		return
	}
	results, err := s.Record(r.Context(), id, []ingest.Submission{sub})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		s.Refuse(w, r, s.Public(err))
		return
	}
	status := http.StatusCreated
	if results[0].Duplicate {
		status = http.StatusOK
	}
	w.Header().Set("Location", limit.SCITTEntries+"/"+strconv.FormatUint(results[0].Index, 10))
	s.writeCOSEReceipt(w, r, id, results[0].Index, subject, status)
}

// Resolve is GetReceipt for a registered statement.
func (s *Handler) Resolve(w http.ResponseWriter, r *http.Request) {
	id := auth.Caller(r.Context())
	index, err := strconv.ParseUint(r.PathValue("index"), 10, 64)
	if err != nil || index > math.MaxInt64 {
		Problem(w, rpcerr.Field(connect.CodeInvalidArgument, "index", "%q is not the index of an entry", r.PathValue("index")))
		return
	}
	e, err := s.Ledger.Entry(r.Context(), id.Tenant.Stream, index)
	if err == nil {
		err = s.Limits.HoldPayload(r.Context(), s.Ledger, e)
	}
	if err != nil {
		Problem(w, s.Public(err))
		return
	}
	p, err := s.Ledger.Payload(r.Context(), e)
	if err == nil && p == nil {
		err = fmt.Errorf("the statement was %w", ledger.ErrErased)
	}
	if err != nil {
		Problem(w, s.Public(err))
		return
	}
	_, subject, err := ingest.StatementSubmission(p.Content)
	if err != nil {
		Problem(w, connect.NewError(connect.CodeNotFound, fmt.Errorf("entry %d is not a signed statement: get its receipt with GetReceipt", index)))
		return
	}
	s.writeCOSEReceipt(w, r, id, index, subject, http.StatusOK)
}

func (s *Handler) writeCOSEReceipt(w http.ResponseWriter, r *http.Request, id *auth.Identity, index uint64, subject string, status int) {
	native, err := s.Ledger.Receipt(r.Context(), id.Tenant.Stream, index, ledger.ReceiptOptions{Shared: true})
	if err != nil {
		Problem(w, s.Public(err))
		return
	}
	data, err := s.coseReceipt(native, subject)
	if err != nil {
		Problem(w, s.Public(err))
		return
	}
	w.Header().Set("Content-Type", cosereceipt.StatementType)
	w.WriteHeader(status)
	_, _ = w.Write(data) // an error means that the client is gone
}

// coseReceipt returns the COSE form of a shared native receipt.
func (s *Handler) coseReceipt(native []byte, subject string) ([]byte, error) {
	n, err := receipt.Parse(native)
	if err != nil {
		return nil, err
	}
	if n.Header == nil || n.Payload == nil {
		return nil, ledger.ErrErased
	}
	p, err := receipt.ParseProof(string(n.Proof))
	if err != nil {
		return nil, err
	}
	c, err := receipt.ParseCheckpointUnverified(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	e := &cosereceipt.Entry{Index: p.Index, Tag: n.Tag, Time: n.Time, LinkHash: n.LinkHash, Header: *n.Header, PayloadSalt: n.Payload.Salt}
	return s.Key.Sign(c.Origin, subject, e, c.Size, p.Path, c.Root)
}

// Problem writes an error as concise problem details (RFC 9290).
func Problem(w http.ResponseWriter, err *connect.Error) {
	const title, detail = -1, -2
	err = rpcerr.Short(err)
	// Encoding a map of strings cannot fail.
	body, _ := strictcbor.Marshal(map[int]string{title: err.Code().String(), detail: err.Message()})
	for k, v := range err.Meta() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(rpcerr.Status(err.Code()))
	_, _ = w.Write(body) // an error means that the client is gone
}
