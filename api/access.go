package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/portal"
	"muniment.dev/muniment/api/scitt"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

const (
	appender = munimentv1.Role_ROLE_APPENDER
	reader   = munimentv1.Role_ROLE_READER
	approver = munimentv1.Role_ROLE_APPROVER
	auditor  = munimentv1.Role_ROLE_AUDITOR
	admin    = munimentv1.Role_ROLE_ADMIN
	operator = auth.OperatorRole
)

var (
	everyRole = auth.Roles{appender, reader, approver, auditor, admin}
	anybody   = auth.Roles{0} // needs no credentials
)

// A capability is something that a caller may do, in any protocol.
type capability int

const (
	appendEntries capability = iota + 1
	readEntries
	getReceipts
	readStreamHead
	readLog
	readPublicLog
	readKeys
	addToRekorLog
	stampTime
	seeHealth
	seeNothing
	seePortal
	signIn
	exchangeTokens
	identifyItself
	readPolicy
	askGate
	changePolicy
	manageTokens
	eraseEntries
	reflectServices
	switchCaches
	seeOperations
)

// access is the one table of who may do what. Everything else is refused.
// Callers act only in the tenant of their credentials, which inTenant checks.
var access = map[capability]auth.Roles{
	appendEntries:  {appender, approver, admin}, // see kindRoles for the kinds
	readEntries:    {reader, approver, admin},
	getReceipts:    {appender, reader, approver, admin}, // see receiptOf for an appender
	readStreamHead: {reader, approver, auditor, admin},  // hashes and a count
	// proofs, checkpoints, and the public log where it is not public
	readLog: everyRole,
	// public by design, or by the setting public_tlog
	readPublicLog:  anybody,
	readKeys:       anybody, // public keys and certificates
	addToRekorLog:  anybody, // the Rekor log is for every client of Sigstore
	stampTime:      anybody,
	seeHealth:      anybody, // one line; see seeOperations for the details
	seeNothing:     anybody, // that a path does not exist
	seePortal:      anybody, // the page, which shows nothing without a session
	signIn:         anybody, // and out, and ask who is signed in
	exchangeTokens: anybody,
	identifyItself: everyRole,
	readPolicy:     {reader, approver, admin},
	// reveals evidence about the artifacts asked for
	askGate:         {appender, reader, approver, admin},
	changePolicy:    {admin},
	manageTokens:    {admin},
	eraseEntries:    {admin}, // includes retention and legal holds
	reflectServices: append(auth.Roles{operator}, everyRole...),
	switchCaches:    {operator}, // off and on
	seeOperations:   {operator}, // metrics, and the details of readiness
}

// apiRoutes maps the routes of the API's listeners, in the form of
// http.ServeMux, to the capability that they require.
var apiRoutes = map[string]capability{
	rpc.LedgerServiceAppendProcedure:       appendEntries,
	rpc.LedgerServiceAppendBatchProcedure:  appendEntries,
	rpc.LedgerServiceAppendStreamProcedure: appendEntries,

	rpc.LedgerServiceGetEntryProcedure:      readEntries,
	rpc.LedgerServiceGetPayloadProcedure:    readEntries,
	rpc.LedgerServiceListEntriesProcedure:   readEntries,
	rpc.LedgerServiceWatchEntriesProcedure:  readEntries,
	rpc.LedgerServiceGetReceiptProcedure:    getReceipts,
	rpc.LedgerServiceGetStreamHeadProcedure: readStreamHead,

	rpc.LedgerServiceGetInclusionProofProcedure:   readLog,
	rpc.LedgerServiceGetConsistencyProofProcedure: readLog,
	rpc.LedgerServiceGetCheckpointProcedure:       readLog,

	rpc.ExportServiceExportProcedure: readEntries,

	rpc.BundleServiceCreateBundleProcedure: readEntries,

	rpc.GateServiceDecideProcedure:        askGate,
	rpc.GateServiceGetControlSetProcedure: askGate,
	rpc.GateServiceReplayProcedure:        readEntries,
	rpc.GateServiceListAffectedProcedure:  readEntries,
	rpc.GateServiceListInventoryProcedure: readEntries,
	rpc.GateServiceListCoverageProcedure:  readEntries,
	// records what an offline gate was asked
	rpc.GateServiceSubmitDecisionsProcedure: askGate,

	rpc.PortalServiceGetOverviewProcedure:      readEntries,
	rpc.PortalServiceSearchProcedure:           readEntries,
	rpc.PortalServiceGetArtifactProcedure:      readEntries,
	rpc.PortalServiceListFindingsProcedure:     readEntries,
	rpc.PortalServiceGetFindingProcedure:       readEntries,
	rpc.PortalServiceListExceptionsProcedure:   readEntries,
	rpc.PortalServiceGetExceptionProcedure:     readEntries,
	rpc.PortalServicePreviewExceptionProcedure: readEntries,
	rpc.PortalServiceListIncidentsProcedure:    readEntries,
	rpc.PortalServiceGetIncidentProcedure:      readEntries,
	rpc.PortalServiceGetPrivacyBudgetProcedure: readEntries,
	rpc.PortalServiceGetLogHealthProcedure:     readEntries,

	rpc.IdentityServiceExchangeTokenProcedure: exchangeTokens,
	rpc.IdentityServiceWhoAmIProcedure:        identifyItself,

	rpc.AdminServiceGetPolicyProcedure:      readPolicy,
	rpc.AdminServiceSetPolicyProcedure:      changePolicy,
	rpc.AdminServiceIssueTokenProcedure:     manageTokens,
	rpc.AdminServiceRevokeTokenProcedure:    manageTokens,
	rpc.AdminServiceListTokensProcedure:     manageTokens,
	rpc.AdminServiceEraseProcedure:          eraseEntries,
	rpc.AdminServiceSetRetentionProcedure:   eraseEntries,
	rpc.AdminServiceApplyRetentionProcedure: eraseEntries,
	rpc.AdminServiceSetLegalHoldProcedure:   eraseEntries,
	rpc.AdminServiceListLegalHoldsProcedure: eraseEntries,

	"POST " + limit.SCITTEntries:             appendEntries,
	"GET " + limit.SCITTEntries + "/{index}": readEntries,
	"GET " + scitt.KeysPath:                  readKeys,

	"/tlog/": readLog, // readPublicLog where it is public

	"GET /healthz":                               seeHealth,
	"GET /readyz":                                seeHealth,
	"/grpc.health.v1.Health/":                    seeHealth,
	"GET /metrics":                               seeOperations,
	cachesPath + "/":                             switchCaches,
	"/grpc.reflection.v1.ServerReflection/":      reflectServices,
	"/grpc.reflection.v1alpha.ServerReflection/": reflectServices,

	"GET " + portal.Path:         seePortal,
	"GET " + portal.SessionPath:  signIn,
	"GET " + portal.SignInPath:   signIn,
	"GET " + portal.CallbackPath: signIn,
	"POST " + portal.SignOutPath: signIn,
	"POST " + portal.TokenPath:   signIn,

	"/": seeNothing,
}

// rekorRoutes are the routes of the Rekor log's listener.
var rekorRoutes = map[string]capability{
	"/": addToRekorLog, // and unknown paths, which Rekor's own code recognizes

	"/api/v2/checkpoint":                      readPublicLog,
	"/api/v2/tile/":                           readPublicLog,
	"GET /.well-known/muniment/sigstore.json": readKeys,
	"GET /healthz":                            seeHealth,
	"/api/v1/timestamp":                       stampTime,
	"GET /api/v1/timestamp/certchain":         readKeys,
}

// capabilityOf returns the capability that a table requires for a route. A
// route without a row is a mistake in the program, and must not be served.
func capabilityOf(table map[string]capability, pattern string) capability {
	c, ok := table[pattern]
	if !ok {
		panic("api: access.go has no row for the route " + pattern)
	}
	return c
}

// AdmitToRekor returns a handler that admits callers to a route of the Rekor
// log. Its clients have no credentials, so a route that requires any is never
// served.
func AdmitToRekor(pattern string, next http.Handler) http.Handler {
	if !needsNoCredentials(capabilityOf(rekorRoutes, pattern)) {
		return http.NotFoundHandler()
	}
	return next
}

// may reports whether the role has the capability.
func may(role auth.Role, c capability) bool { return access[c].Has(role) }

// needsNoCredentials reports whether callers without credentials have the
// capability.
func needsNoCredentials(c capability) bool { return may(0, c) }

// admitCall admits callers that have the capability, gives them a place, and
// makes them wait for their turn.
func (s *Server) admitCall(c capability, next http.Handler) http.Handler {
	return s.admitCallBy(s.auth.Admit, c, next)
}

// admitBrowserCall is admitCall for routes that also accept the session of a
// browser.
func (s *Server) admitBrowserCall(c capability, next http.Handler) http.Handler {
	return s.admitCallBy(s.auth.AdmitBrowser, c, next)
}

func (s *Server) admitCallBy(admit func(auth.Roles, http.Handler) http.Handler, c capability, next http.Handler) http.Handler {
	if needsNoCredentials(c) {
		return s.limits.Place(limit.Public, s.limits.AfterDebt(next))
	}
	return admit(access[c], s.limits.PlaceCall(s.limits.AfterDebt(s.limits.Turn(next))))
}

// admit admits callers that have the capability.
func (s *Server) admit(c capability, next http.Handler) http.Handler {
	if needsNoCredentials(c) {
		return next
	}
	return s.auth.Admit(access[c], next)
}

// kindRoles returns the roles that may append entries of the kind, by the table
// of kinds, and those that may if their grant names the kind. They are empty if
// only the server records such entries.
func kindRoles(kind string) (may, named auth.Roles, ok bool) {
	k, ok := kinds.Lookup(kind)
	if !ok || k.ByServer() {
		return nil, nil, ok
	}
	if k.NamedAppender {
		named = auth.Roles{appender}
	}
	return slices.Concat(auth.Roles{k.Author}, k.OtherAuthors, auth.Roles{admin}), named, true
}

// A kindRefusal means that the caller may not append entries of the kind.
type kindRefusal struct{ error }

// mayAppend returns nil if the caller may append entries of the kind, or a
// *kindRefusal.
func mayAppend(id *auth.Identity, kind string) error {
	if err := checkKind(id.Role, id.Kinds, kind); err != nil {
		return &kindRefusal{err}
	}
	return nil
}

// checkKind returns nil if the role may append entries of the kind. If kinds is
// not empty, the kind must be one of them.
func checkKind(role auth.Role, kinds []string, kind string) error {
	may, named, ok := kindRoles(kind)
	switch {
	case ok && len(may) == 0:
		return fmt.Errorf("only the server records entries of kind %s", kind)
	case named.Has(role) && slices.Contains(kinds, kind):
		return nil
	case len(named) > 0 && !may.Has(role):
		return fmt.Errorf("kind %s requires role %s, or an %s whose grant names the kind; you have role %s", kind, may, named, auth.RoleName(role))
	case ok && !may.Has(role): // ingest refuses unknown kinds and lists the valid ones
		return fmt.Errorf("kind %s requires role %s; you have role %s", kind, may, auth.RoleName(role))
	case len(kinds) > 0 && !slices.Contains(kinds, kind):
		return fmt.Errorf("these credentials may append entries of kind %s, not %s", strings.Join(kinds, " or "), kind)
	}
	return nil
}

// CheckKinds returns nil if a grant of the role can be limited to the kinds.
func CheckKinds(role auth.Role, kinds []string) error {
	if len(kinds) > 0 && role != appender {
		return fmt.Errorf("role %s can't be limited to kinds: only appender can", auth.RoleName(role))
	}
	for i, k := range kinds {
		if slices.Contains(kinds[:i], k) {
			return fmt.Errorf("%q is listed twice", k)
		}
		if err := checkKind(role, kinds, k); err != nil {
			return err
		}
		if !slices.Contains(ingest.Kinds(), k) {
			return fmt.Errorf("unknown kind %q: use one of %s", k, strings.Join(ingest.Kinds(), ", "))
		}
	}
	return nil
}
