package api

import (
	"fmt"
	"io"
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

// The SCITT endpoint (docs/spec/scitt.md, section 5) is a dialect of Append and
// GetReceipt. A statement takes the path of every submission, and its COSE
// receipt carries the same proof as the native one, signed with a separate key.

const (
	scittKeys   = "/.well-known/scitt-keys"
	problemType = "application/concise-problem-details+cbor"
)

// mountSCITT adds the endpoint, if it has a key.
func (s *Server) mountSCITT(mux *http.ServeMux) {
	if s.cfg.SCITTKey == nil {
		return
	}
	mux.Handle("POST "+limit.SCITTEntries, s.guardAs(appendEntries, s.limits.PricedByStatus(s.limits.Bound(http.HandlerFunc(s.registerStatement)))))
	mux.Handle("GET "+limit.SCITTEntries+"/{index}", s.guardAs(readEntries, s.limits.PricedByStatus(s.limits.Bound(http.HandlerFunc(s.resolveReceipt)))))
	mux.HandleFunc("GET "+scittKeys, func(w http.ResponseWriter, r *http.Request) {
		set, err := cosereceipt.KeySet(s.cfg.SCITTKey)
		if err != nil {
			s.problem(w, s.public(err))
			return
		}
		w.Header().Set("Content-Type", "application/cbor")
		_, _ = w.Write(set) // the client has gone
	})
}

func isSCITT(r *http.Request) bool {
	return r.URL.Path == limit.SCITTEntries || strings.HasPrefix(r.URL.Path, limit.SCITTEntries+"/")
}

// registerStatement is Append for a signed statement.
func (s *Server) registerStatement(w http.ResponseWriter, r *http.Request) {
	id := auth.Caller(r.Context())
	if err := mayAppend(id, cosereceipt.StatementKind); err != nil { // before the body is read
		s.refuse(w, r, s.public(err))
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != cosereceipt.StatementType {
		s.problem(w, rpcerr.Field(connect.CodeInvalidArgument, "content_type", "%q, but a signed statement is sent as %s", r.Header.Get("Content-Type"), cosereceipt.StatementType))
		return
	}
	most := min(s.limits.Sizes().MaxPayload, ingest.MaxStatement)
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		s.problem(w, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the body could not be read: %w", err)))
		return
	}
	if int64(len(body)) > most {
		s.problem(w, rpcerr.Field(connect.CodeInvalidArgument, "statement", "more than %d bytes", most))
		return
	}
	sub, subject, err := ingest.StatementSubmission(body)
	if err != nil {
		s.problem(w, s.public(err))
		return
	}
	results, err := s.append(r.Context(), id, []ingest.Submission{sub})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		s.refuse(w, r, s.public(err))
		return
	}
	status := http.StatusCreated
	if results[0].Duplicate {
		status = http.StatusOK
	}
	w.Header().Set("Location", limit.SCITTEntries+"/"+strconv.FormatUint(results[0].Index, 10))
	s.writeCOSEReceipt(w, r, id, results[0].Index, subject, status)
}

// resolveReceipt is GetReceipt for a registered statement.
func (s *Server) resolveReceipt(w http.ResponseWriter, r *http.Request) {
	id := auth.Caller(r.Context())
	index, err := strconv.ParseUint(r.PathValue("index"), 10, 64)
	if err != nil || index > math.MaxInt64 {
		s.problem(w, rpcerr.Field(connect.CodeInvalidArgument, "index", "%q is not the index of an entry", r.PathValue("index")))
		return
	}
	e, err := s.ledger.Entry(r.Context(), id.Tenant.Stream, index)
	if err == nil {
		err = s.limits.HoldPayload(r.Context(), s.ledger, e)
	}
	if err != nil {
		s.problem(w, s.public(err))
		return
	}
	p, err := s.ledger.Payload(r.Context(), e)
	if err == nil && p == nil {
		err = fmt.Errorf("the statement was %w", ledger.ErrErased)
	}
	if err != nil {
		s.problem(w, s.public(err))
		return
	}
	_, subject, err := ingest.StatementSubmission(p.Content)
	if err != nil {
		s.problem(w, connect.NewError(connect.CodeNotFound, fmt.Errorf("entry %d is not a signed statement; its receipt is had by GetReceipt", index)))
		return
	}
	s.writeCOSEReceipt(w, r, id, index, subject, http.StatusOK)
}

func (s *Server) writeCOSEReceipt(w http.ResponseWriter, r *http.Request, id *auth.Identity, index uint64, subject string, status int) {
	native, err := s.ledger.Receipt(r.Context(), id.Tenant.Stream, index, ledger.ReceiptOptions{Shared: true})
	if err != nil {
		s.problem(w, s.public(err))
		return
	}
	data, err := s.coseReceipt(native, subject)
	if err != nil {
		s.problem(w, s.public(err))
		return
	}
	w.Header().Set("Content-Type", cosereceipt.StatementType)
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client has gone
}

// coseReceipt returns the COSE form of a native shared receipt.
func (s *Server) coseReceipt(native []byte, subject string) ([]byte, error) {
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
	return s.cfg.SCITTKey.Sign(c.Origin, subject, e, c.Size, p.Path, c.Root)
}

// problem writes an error as concise problem details (RFC 9290).
func (s *Server) problem(w http.ResponseWriter, err *connect.Error) {
	const title, detail = -1, -2
	err = rpcerr.Short(err)
	body, encodeErr := strictcbor.Marshal(map[int]string{title: err.Code().String(), detail: err.Message()})
	if encodeErr != nil {
		s.log.Error("encode problem details", "err", encodeErr)
	}
	for k, v := range err.Meta() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(statusOf(err.Code()))
	_, _ = w.Write(body) // the client has gone
}
