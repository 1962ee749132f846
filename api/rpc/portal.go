package rpc

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/views"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Portal implements PortalService, which answers the views of the portal.
type Portal struct {
	Ledger *ledger.Ledger
	Reader *views.Reader
	// Health returns the health of the log.
	Health func() *munimentv1.LogHealth
	// Coverage returns the last computed coverage of a stream, or nil, and its
	// stage.
	Coverage func(*ledger.Stream) (*inventory.Summary, string)
	Now      func() time.Time
	Public   Public
	Drain    Drain
}

// EntryMessage returns the function that makes messages of entries.
func EntryMessage(l *ledger.Ledger) func(*ledger.Entry) *munimentv1.Entry {
	return func(e *ledger.Entry) *munimentv1.Entry { return entryMessage(l, e) }
}

// viewer returns the caller for whom a view is made.
func viewer(id *auth.Identity) *views.Viewer {
	return &views.Viewer{Tenant: id.Tenant.Name, Stream: id.Tenant.Stream, Identity: id.Name, MayDecide: auth.MayDecide(id.Role),
		Names: id.Tenant.DisplayNames(), Approvers: id.Tenant.Approvers()}
}

// A view answers one call for its viewer.
type view[Q, R any] func(ctx context.Context, v *views.Viewer, req *Q) (*R, error)

// serveView answers a call with what the server had of the log before. It ends
// when the server shuts down.
func serveView[Q, R any](ctx context.Context, s *Portal, tenant string, req *connect.Request[Q], f view[Q, R], state func(*R) **munimentv1.LogState) (*connect.Response[R], error) {
	id, err := auth.CallerOf(ctx, tenant)
	if err != nil {
		return nil, err
	}
	ctx, end := s.Drain.whileServing(ctx)
	defer end()
	had := logState(s.Ledger)
	res, err := f(ctx, viewer(id), req.Msg)
	if err != nil {
		return nil, s.failure(causeOf(ctx, err))
	}
	*state(res) = had
	return connect.NewResponse(res), nil
}

// failure returns the error that the caller sees.
func (s *Portal) failure(err error) error {
	switch {
	case errors.Is(err, views.ErrPageToken):
		return rpcerr.Field(connect.CodeInvalidArgument, "page_token", "%s", err)
	case errors.Is(err, views.ErrNoIncident):
		return rpcerr.Field(connect.CodeNotFound, "id", "%s", err)
	case errors.Is(err, views.ErrNoException):
		return rpcerr.Field(connect.CodeNotFound, "index", "%s", err)
	}
	return s.Public(err)
}

// parseDigest returns the digest in a field, which can be empty.
func parseDigest(field, text string) (entry.Digest, error) {
	if text == "" {
		return entry.Digest{}, nil
	}
	d, err := entry.ParseDigest(text)
	if err != nil {
		return d, rpcerr.Field(connect.CodeInvalidArgument, field, "%s", err)
	}
	return d, nil
}

// maxToday is how long ago the day of a caller can have begun.
const maxToday = 48 * time.Hour

func (s *Portal) GetOverview(ctx context.Context, req *connect.Request[munimentv1.GetOverviewRequest]) (*connect.Response[munimentv1.GetOverviewResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.GetOverviewRequest) (*munimentv1.GetOverviewResponse, error) {
		now := s.Now().UTC()
		today := now.Truncate(24 * time.Hour)
		if m.Today != nil {
			if today = m.Today.AsTime(); m.Today.CheckValid() != nil || today.After(now) || now.Sub(today) > maxToday {
				return nil, rpcerr.Field(connect.CodeInvalidArgument, "today", "must be at most 48 hours ago and not in the future")
			}
		}
		res, err := s.Reader.Overview(ctx, v, today)
		if err != nil {
			return nil, err
		}
		connection, err := s.Reader.Connect(ctx, v, kindname.Inventory)
		if err != nil {
			return nil, err
		}
		sum, stage := s.Coverage(v.Stream)
		res.Coverage = views.Coverage(connection, sum, stage)
		res.Log, err = s.health(ctx, v)
		return res, err
	}, func(m *munimentv1.GetOverviewResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) GetPrivacyBudget(ctx context.Context, req *connect.Request[munimentv1.GetPrivacyBudgetRequest]) (*connect.Response[munimentv1.GetPrivacyBudgetResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.GetPrivacyBudgetRequest) (*munimentv1.GetPrivacyBudgetResponse, error) {
		return s.Reader.GetPrivacyBudget(ctx, v, m)
	}, func(m *munimentv1.GetPrivacyBudgetResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) GetArtifact(ctx context.Context, req *connect.Request[munimentv1.GetArtifactRequest]) (*connect.Response[munimentv1.GetArtifactResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.GetArtifactRequest) (*munimentv1.GetArtifactResponse, error) {
		digest, err := parseDigest("digest", m.Digest)
		if err != nil {
			return nil, err
		}
		return s.Reader.GetArtifact(ctx, v, m, digest)
	}, func(m *munimentv1.GetArtifactResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) ListFindings(ctx context.Context, req *connect.Request[munimentv1.ListFindingsRequest]) (*connect.Response[munimentv1.ListFindingsResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.ListFindingsRequest) (*munimentv1.ListFindingsResponse, error) {
		digest, err := parseDigest("artifact", m.Artifact)
		if err != nil {
			return nil, err
		}
		return s.Reader.ListFindings(ctx, v, m, digest)
	}, func(m *munimentv1.ListFindingsResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) GetFinding(ctx context.Context, req *connect.Request[munimentv1.GetFindingRequest]) (*connect.Response[munimentv1.GetFindingResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.GetFindingRequest) (*munimentv1.GetFindingResponse, error) {
		res, err := s.Reader.GetFinding(ctx, v, m)
		if err == nil && res.Total == 0 {
			return nil, rpcerr.Field(connect.CodeNotFound, "id", "no finding %q", m.Id)
		}
		return res, err
	}, func(m *munimentv1.GetFindingResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) ListExceptions(ctx context.Context, req *connect.Request[munimentv1.ListExceptionsRequest]) (*connect.Response[munimentv1.ListExceptionsResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.ListExceptionsRequest) (*munimentv1.ListExceptionsResponse, error) {
		if m.ExpireBefore != nil && m.ExpireBefore.CheckValid() != nil {
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "expire_before", "not a valid time")
		}
		return s.Reader.ListExceptions(ctx, v, m)
	}, func(m *munimentv1.ListExceptionsResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) GetException(ctx context.Context, req *connect.Request[munimentv1.GetExceptionRequest]) (*connect.Response[munimentv1.GetExceptionResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.GetExceptionRequest) (*munimentv1.GetExceptionResponse, error) {
		return s.Reader.GetException(ctx, v, m.Index)
	}, func(m *munimentv1.GetExceptionResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) PreviewException(ctx context.Context, req *connect.Request[munimentv1.PreviewExceptionRequest]) (*connect.Response[munimentv1.PreviewExceptionResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.PreviewExceptionRequest) (*munimentv1.PreviewExceptionResponse, error) {
		return s.Reader.PreviewException(ctx, v, m)
	}, func(m *munimentv1.PreviewExceptionResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) ListIncidents(ctx context.Context, req *connect.Request[munimentv1.ListIncidentsRequest]) (*connect.Response[munimentv1.ListIncidentsResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, s.Reader.ListIncidents, func(m *munimentv1.ListIncidentsResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) GetIncident(ctx context.Context, req *connect.Request[munimentv1.GetIncidentRequest]) (*connect.Response[munimentv1.GetIncidentResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.GetIncidentRequest) (*munimentv1.GetIncidentResponse, error) {
		return s.Reader.GetIncident(ctx, v, m.Id)
	}, func(m *munimentv1.GetIncidentResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) Search(ctx context.Context, req *connect.Request[munimentv1.SearchRequest]) (*connect.Response[munimentv1.SearchResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, m *munimentv1.SearchRequest) (*munimentv1.SearchResponse, error) {
		return s.Reader.Search(ctx, v, m)
	}, func(m *munimentv1.SearchResponse) **munimentv1.LogState { return &m.State })
}

func (s *Portal) GetLogHealth(ctx context.Context, req *connect.Request[munimentv1.GetLogHealthRequest]) (*connect.Response[munimentv1.GetLogHealthResponse], error) {
	return serveView(ctx, s, req.Msg.Tenant, req, func(ctx context.Context, v *views.Viewer, _ *munimentv1.GetLogHealthRequest) (*munimentv1.GetLogHealthResponse, error) {
		health, err := s.health(ctx, v)
		return &munimentv1.GetLogHealthResponse{Log: health}, err
	}, func(m *munimentv1.GetLogHealthResponse) **munimentv1.LogState { return &m.State })
}

// health returns the health of the log, and the size of the viewer's stream.
func (s *Portal) health(ctx context.Context, v *views.Viewer) (*munimentv1.LogHealth, error) {
	m := s.Health()
	head, err := s.Ledger.StreamHead(ctx, s.Ledger.Published(), v.Stream)
	m.StreamEntries = head.Entries
	return m, err
}
