package api

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// The audit log has a line for each administrative act, successful or not, and
// for each refused access: missing or bad credentials, or credentials that do
// not allow the call. It contains no secrets. Lines about refusals and about
// calls without credentials are limited in number, so that they cannot fill the
// disk. Omitted lines are counted.

const (
	maxAuditField  = 512 // characters
	refusalsSecond = 50  // lines a second, and as a burst twenty times as many
)

// An auditLog writes to the logger of the configuration.
type auditLog struct {
	log      *slog.Logger
	refusals *rate.Limiter
	left     atomic.Int64 // out, since the last line
}

func newAuditLog(l *slog.Logger) *auditLog {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return &auditLog{log: l, refusals: rate.NewLimiter(refusalsSecond, 20*refusalsSecond)}
}

// A request is the context of a request, with everything that the server keeps
// about it: one allocation, found in one step.
type request struct {
	context.Context
	id        string
	path      string
	remote    string
	forwarded string // as set by a proxy, or by the client

	slot auth.Slot
	call limit.Call
}

type requestKey struct{}

// Value implements context.Context.
func (r *request) Value(key any) any {
	switch key {
	case requestKey{}:
		return r
	case auth.SlotKey{}:
		return &r.slot
	case limit.CallKey{}:
		return &r.call
	}
	return r.Context.Value(key)
}

// identifyRequest gives each request an ID, and puts it into the answer.
func identifyRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := &request{Context: r.Context(), id: requestID(), path: r.URL.Path, remote: r.RemoteAddr, forwarded: r.Header.Get("X-Forwarded-For")}
		w.Header()["X-Request-Id"] = []string{req.id}
		next.ServeHTTP(w, r.WithContext(req))
	})
}

// requestID returns 80 random bits in base32. They are not secret, so the
// runtime's generator will do.
func requestID() string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var id [16]byte
	for half := range 2 {
		n := rand.Uint64()
		for i := range 8 {
			id[8*half+i] = digits[n>>(5*i)&31]
		}
	}
	return string(id[:])
}

// refused writes a line if the error is a refusal of access.
func (a *auditLog) refused(ctx context.Context, now time.Time, err error, more ...slog.Attr) {
	if rpcerr.IsRefusal(err) {
		a.bounded(ctx, now, "refused", err, more...)
	}
}

// bounded writes a line about an error that outsiders can cause at will. The
// number of such lines is limited.
func (a *auditLog) bounded(ctx context.Context, now time.Time, msg string, err error, more ...slog.Attr) {
	if !a.refusals.AllowN(now, 1) {
		a.left.Add(1)
		return
	}
	attrs := append(append(about(ctx), more...), slog.String("code", connect.CodeOf(err).String()), text("reason", messageOf(err)))
	if n := a.left.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("refusals_left_out", n))
	}
	a.log.LogAttrs(ctx, slog.LevelWarn, msg, attrs...)
}

// act writes a line about an administrative act, with the fields of the request
// that are safe to show.
func (a *auditLog) act(ctx context.Context, req, res any, err error) {
	attrs := append(about(ctx), fields(req)...)
	if err != nil {
		attrs = append(attrs, slog.String("code", connect.CodeOf(err).String()), text("reason", messageOf(err)))
	} else {
		attrs = append(append(attrs, slog.String("code", "ok")), outcome(res)...)
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "act", attrs...)
}

func messageOf(err error) string {
	if ce, ok := err.(*connect.Error); ok {
		return ce.Message()
	}
	return err.Error()
}

// about returns the attributes of a request: the caller, the call and the
// address.
func about(ctx context.Context) []slog.Attr {
	var attrs []slog.Attr
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		attrs = append(attrs, slog.String("request", r.id), text("call", r.path), slog.String("remote", r.remote))
		if r.forwarded != "" {
			attrs = append(attrs, text("forwarded_for", r.forwarded))
		}
	}
	if id := auth.Caller(ctx); id != nil {
		attrs = append(attrs, text("tenant", id.Tenant.Name), text("identity", id.Name), slog.String("role", auth.RoleName(id.Role)))
	}
	return attrs
}

// shown are the fields of requests that the audit log may contain: names,
// reasons and numbers, but no payloads, tokens or documents.
var shown = map[protoreflect.Name]bool{"tenant": true, "id": true, "reason": true, "role": true, "kinds": true, "kind": true, "index": true, "scope": true, "days": true, "release": true, "dry_run": true}

// fields returns the shown fields of a request and of its direct submessages.
func fields(m any) []slog.Attr {
	pm, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	return fieldsOf("request.", pm.ProtoReflect(), 1)
}

func fieldsOf(prefix string, m protoreflect.Message, depth int) (attrs []slog.Attr) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if !m.Has(f) {
			continue
		}
		v := m.Get(f)
		switch {
		case f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() && depth > 0:
			attrs = append(attrs, fieldsOf(prefix+string(f.Name())+".", v.Message(), depth-1)...)
		case !shown[f.Name()] || f.IsMap() || f.Kind() == protoreflect.MessageKind || f.Kind() == protoreflect.BytesKind:
		case f.IsList():
			all := make([]string, v.List().Len())
			for i := range all {
				all[i] = v.List().Get(i).String()
			}
			attrs = append(attrs, text(prefix+string(f.Name()), strings.Join(all, " ")))
		case f.Kind() == protoreflect.EnumKind:
			if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
				attrs = append(attrs, slog.String(prefix+string(f.Name()), string(e.Name())))
			}
		default:
			attrs = append(attrs, text(prefix+string(f.Name()), v.String()))
		}
	}
	return attrs
}

// outcome returns the entry that records the act and the identity of an
// exchanged token.
func outcome(m any) (attrs []slog.Attr) {
	if r, ok := m.(interface{ GetIdentity() string }); ok {
		attrs = append(attrs, text("identity", r.GetIdentity()))
	}
	switch r := m.(type) {
	case interface{ GetIndex() uint64 }:
		attrs = append(attrs, slog.Uint64("entry", r.GetIndex()))
	case interface{ GetAppended() *munimentv1.Appended }:
		attrs = append(attrs, slog.Uint64("entry", r.GetAppended().GetIndex()))
	}
	return attrs
}

// text returns a bounded, printable field, which shows the same on any
// terminal.
func text(name, value string) slog.Attr {
	var b strings.Builder
	for _, r := range value {
		if b.Len() > maxAuditField {
			b.WriteString("…")
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return slog.String(name, b.String())
}

// acts are the RPCs that always have a line in the audit log.
var acts = map[string]bool{
	rpc.IdentityServiceExchangeTokenProcedure: true,
	rpc.AdminServiceSetPolicyProcedure:        true,
	rpc.AdminServiceIssueTokenProcedure:       true,
	rpc.AdminServiceRevokeTokenProcedure:      true,
	rpc.AdminServiceEraseProcedure:            true,
	rpc.AdminServiceSetRetentionProcedure:     true,
	rpc.AdminServiceApplyRetentionProcedure:   true,
	rpc.AdminServiceSetLegalHoldProcedure:     true,
}

// auditing is the interceptor that writes the audit log for RPCs.
type auditing struct{ s *Server }

func (i auditing) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		var m any
		if err == nil {
			m = res.Any()
		}
		i.tell(ctx, req.Spec().Procedure, req.Any(), m, err)
		return res, err
	}
}

func (i auditing) tell(ctx context.Context, procedure string, req, res any, err error) {
	switch {
	case !acts[procedure]:
		i.s.audit.refused(ctx, i.s.now(), err)
	case rpcerr.IsRefusal(err): // invalid identity tokens must not fill the disk
		i.s.audit.refused(ctx, i.s.now(), err, fields(req)...)
	case err != nil && auth.Caller(ctx) == nil: // nor must calls without credentials
		i.s.audit.bounded(ctx, i.s.now(), "act", err, fields(req)...)
	default:
		i.s.audit.act(ctx, req, res, err)
	}
}

func (i auditing) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i auditing) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		first := &firstMessage{StreamingHandlerConn: conn}
		err := next(ctx, first)
		i.tell(ctx, conn.Spec().Procedure, first.m, nil, err)
		return err
	}
}

// A firstMessage keeps the request of a stream.
type firstMessage struct {
	connect.StreamingHandlerConn
	m any
}

func (c *firstMessage) Receive(m any) error {
	err := c.StreamingHandlerConn.Receive(m)
	if c.m == nil && acts[c.Spec().Procedure] {
		c.m = m
	}
	return err
}
