package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muniment.dev/muniment/api/account"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A Role says what a caller may do for its tenant. The zero value may do
// nothing.
type Role = munimentv1.Role

// ParseRole returns the role of a name, such as "appender".
func ParseRole(name string) (Role, error) {
	if r := Role(munimentv1.Role_value["ROLE_"+strings.ToUpper(name)]); r != 0 && RoleName(r) == name {
		return r, nil
	}
	return 0, fmt.Errorf("%q is not a role; it is one of appender, reader, approver, auditor, admin", name)
}

// RoleName returns the name of a role, such as "appender".
func RoleName(r Role) string { return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_")) }

// roles is a set of them.
type roles []Role

const (
	appender = munimentv1.Role_ROLE_APPENDER
	reader   = munimentv1.Role_ROLE_READER
	approver = munimentv1.Role_ROLE_APPROVER
	auditor  = munimentv1.Role_ROLE_AUDITOR
	admin    = munimentv1.Role_ROLE_ADMIN
)

var (
	everyRole  = roles{appender, reader, approver, auditor, admin}
	appenders  = roles{appender, approver, admin} // which kinds, kindRoles says
	readers    = roles{reader, approver, admin}
	onlyAdmins = roles{admin}
	anybody    = roles{0} // needs no credentials
)

// access is the one table of who may call what: from the path of an RPC to
// roles. What is not in it is refused. For which tenant, the caller's
// credentials say, and inTenant checks that.
var access = map[string]roles{
	rpc.LedgerServiceAppendProcedure:       appenders,
	rpc.LedgerServiceAppendBatchProcedure:  appenders,
	rpc.LedgerServiceAppendStreamProcedure: appenders,

	rpc.LedgerServiceGetEntryProcedure:     readers,
	rpc.LedgerServiceGetPayloadProcedure:   readers,
	rpc.LedgerServiceListEntriesProcedure:  readers,
	rpc.LedgerServiceWatchEntriesProcedure: readers,
	rpc.LedgerServiceGetReceiptProcedure:   readers,
	rpc.LedgerServiceGetStreamHeadProcedure: { // hashes and a count
		reader, approver, auditor, admin},

	rpc.LedgerServiceGetInclusionProofProcedure:   everyRole,
	rpc.LedgerServiceGetConsistencyProofProcedure: everyRole,
	rpc.LedgerServiceGetCheckpointProcedure:       everyRole,

	rpc.ExportServiceExportProcedure: readers,

	rpc.IdentityServiceExchangeTokenProcedure: anybody,
	rpc.IdentityServiceWhoAmIProcedure:        everyRole,

	rpc.AdminServiceGetPolicyProcedure:      readers,
	rpc.AdminServiceSetPolicyProcedure:      onlyAdmins,
	rpc.AdminServiceIssueTokenProcedure:     onlyAdmins,
	rpc.AdminServiceRevokeTokenProcedure:    onlyAdmins,
	rpc.AdminServiceListTokensProcedure:     onlyAdmins,
	rpc.AdminServiceEraseProcedure:          onlyAdmins,
	rpc.AdminServiceSetRetentionProcedure:   onlyAdmins,
	rpc.AdminServiceApplyRetentionProcedure: onlyAdmins,
	rpc.AdminServiceSetLegalHoldProcedure:   onlyAdmins,
	rpc.AdminServiceListLegalHoldsProcedure: onlyAdmins,
}

// kindRoles returns the roles that may append entries of the kind. It reports
// whether not every appender may. Approvers append nothing else.
func kindRoles(kind string) (may roles, special bool) {
	k, ok := kinds.Lookup(kind)
	if !ok || k.ByServer() || k.Author == appender {
		return nil, false
	}
	return roles{k.Author, admin}, true
}

// guard lets those pass whom the table lets, and puts the identity into their
// context.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowed, ok := access[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if slices.Contains(allowed, 0) {
			s.place(account.Public, s.afterDebt(next)).ServeHTTP(w, r)
			return
		}
		s.guardAs(allowed, next).ServeHTTP(w, r)
	})
}

// guardAs lets callers of the roles pass.
func (s *Server) guardAs(allowed roles, next http.Handler) http.Handler {
	return s.authenticate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := caller(r.Context())
		if !slices.Contains(allowed, id.role) {
			s.chargeRefusal(r)
			s.refuse(w, r, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("this call is not for the role %s; it takes %s", RoleName(id.role), allowed)))
			return
		}
		s.place(shapeOf(r).place, s.afterDebt(s.turn(next))).ServeHTTP(w, r)
	}))
}

// turn waits until the caller's tenant may make a call.
func (s *Server) turn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, sh := s.quota(caller(r.Context()).tenant.Name), shapeOf(r)
		if err := s.takeRequest(r.Context(), q); err != nil {
			s.refuse(w, r, s.public(err))
			return
		}
		if sh.place == account.Calls {
			// While it waits, what has arrived of its request lies in the
			// connection's buffers.
			if err := heldBy(r.Context()).Take(account.Bytes, callBytes); err != nil {
				s.refuse(w, r, s.public(err))
				return
			}
			if q.atWork.Acquire(r.Context(), 1) != nil {
				return // the client has gone
			}
			defer q.atWork.Release(1)
		}
		next.ServeHTTP(w, r)
	})
}

func (rs roles) String() string {
	names := make([]string, len(rs))
	for i, r := range rs {
		names[i] = RoleName(r)
	}
	return strings.Join(names, " or ")
}

// A kindRefusal is the error of a caller that may not append entries of the
// kind.
type kindRefusal struct{ error }

// mayAppend returns nil if the caller may append entries of the kind, or a
// *kindRefusal.
func (id *identity) mayAppend(kind string) error {
	if err := checkKind(id.role, id.kinds, kind); err != nil {
		return &kindRefusal{err}
	}
	return nil
}

// checkKind returns nil if the role, limited to the kinds where there are any,
// may append entries of the kind.
func checkKind(role Role, kinds []string, kind string) error {
	special, isSpecial := kindRoles(kind)
	switch {
	case ingest.WrittenByLog(kind):
		return fmt.Errorf("entries of kind %s are written by the log itself", kind)
	case isSpecial && !slices.Contains(special, role):
		return fmt.Errorf("kind %s takes the role %s, this is the role %s", kind, special, RoleName(role))
	case role == approver && !isSpecial:
		return fmt.Errorf("the role approver appends exceptions and controls, and no entries of kind %s", kind)
	case len(kinds) > 0 && !slices.Contains(kinds, kind):
		return fmt.Errorf("these credentials may append entries of kind %s, not %s", strings.Join(kinds, " or "), kind)
	}
	return nil
}

// CheckKinds returns nil if a grant of the role can be limited to the kinds.
func CheckKinds(role Role, kinds []string) error {
	if len(kinds) > 0 && role != appender {
		return fmt.Errorf("only the role appender can be limited to kinds, not %s", RoleName(role))
	}
	for i, k := range kinds {
		if slices.Contains(kinds[:i], k) {
			return fmt.Errorf("%q is there twice", k)
		}
		if err := checkKind(role, nil, k); err != nil {
			return err
		}
		if !slices.Contains(ingest.Kinds(), k) {
			return fmt.Errorf("%q is not a kind; it is one of %s", k, strings.Join(ingest.Kinds(), ", "))
		}
	}
	return nil
}

// authorize returns the caller, if it may act for the tenant. Every handler of
// an RPC that names a tenant begins with it.
func authorize(ctx context.Context, tenant string) (*identity, error) {
	id := caller(ctx)
	if id == nil {
		return nil, connect.NewError(connect.CodeUnauthenticated, errNoToken)
	}
	if id.tenant.Name != tenant {
		return nil, fieldError(connect.CodePermissionDenied, "tenant", "this token is not for tenant %q", tenant)
	}
	return id, nil
}

// inTenant is an interceptor that refuses requests for another tenant than the
// caller's, also where a handler forgets to, and ends streams whose caller's
// credentials have ended.
type inTenant struct{ s *Server }

func (i inTenant) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := checkTenant(ctx, req.Spec().Procedure, req.Any()); err != nil {
			return nil, err
		}
		i.s.decoded(ctx, req)
		if id := caller(ctx); id != nil {
			done, err := i.s.takeRecord(ctx, req.Spec().Procedure, i.s.quota(id.tenant.Name), proto.Size(messageOfCall(req.Any())))
			if err != nil {
				return nil, err
			}
			defer done()
		}
		res, err := next(ctx, req)
		if err == nil {
			err = i.s.encoding(ctx, res)
		}
		if err != nil {
			return nil, err
		}
		return res, nil
	}
}

// decoded gives back what the request held while it was decoded.
func (s *Server) decoded(ctx context.Context, req connect.AnyRequest) {
	if h, m := heldBy(ctx), messageOfCall(req.Any()); h != nil && m != nil {
		h.Keep(account.Bytes, max(shapeOfCall(req.Spec().Procedure).bytes, int64(proto.Size(m))+callBytes))
	}
}

// encoding takes what it needs to encode the answer, as far as the call does
// not hold as much already.
func (s *Server) encoding(ctx context.Context, res connect.AnyResponse) error {
	h, m := heldBy(ctx), messageOfCall(res.Any())
	if h == nil || m == nil {
		return nil
	}
	need := 2*int64(proto.Size(m)) - h.Held(account.Bytes)
	if _, batch := m.(*munimentv1.AppendBatchResponse); need <= 0 || batch {
		// a batch has taken it before it was recorded
		return nil
	}
	if err := h.Take(account.Bytes, need); err != nil {
		return errBusy(err)
	}
	return nil
}

func messageOfCall(m any) proto.Message {
	pm, _ := m.(proto.Message)
	return pm
}

func (inTenant) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i inTenant) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if id := caller(ctx); id != nil {
			done, err := i.s.takeRecord(ctx, conn.Spec().Procedure, i.s.quota(id.tenant.Name), 0)
			if err != nil {
				return err
			}
			defer done()
		}
		return next(ctx, &tenantConn{conn, ctx, i.s})
	}
}

// A tenantConn checks each message that names a tenant.
type tenantConn struct {
	connect.StreamingHandlerConn
	ctx context.Context
	s   *Server
}

func (c *tenantConn) Send(m any) error {
	if err := c.s.checkAgain(caller(c.ctx)); err != nil {
		return err
	}
	return c.StreamingHandlerConn.Send(m)
}

func (c *tenantConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	if err := c.s.checkAgain(caller(c.ctx)); err != nil {
		return err
	}
	return checkTenant(c.ctx, c.Spec().Procedure, m)
}

func checkTenant(ctx context.Context, procedure string, m any) error {
	if slices.Contains(access[procedure], 0) {
		return nil
	}
	pm, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	if tenant, ok := tenantOf(pm.ProtoReflect()); ok {
		_, err := authorize(ctx, tenant)
		return err
	}
	return nil
}

// tenantOf returns the tenant that a request names, in a field of its own or of
// its header, as the first message of a stream has it.
func tenantOf(m protoreflect.Message) (string, bool) {
	fields := m.Descriptor().Fields()
	if f := fields.ByName("tenant"); f != nil && f.Kind() == protoreflect.StringKind {
		return m.Get(f).String(), true
	}
	if f := fields.ByName("header"); f != nil && f.Kind() == protoreflect.MessageKind && m.Has(f) {
		return tenantOf(m.Get(f).Message())
	}
	return "", false
}
