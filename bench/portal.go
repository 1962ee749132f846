package main

import (
	"context"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// paintGoal is how long a view of the portal may take until it shows what it is
// about, the page itself included.
const paintGoal = time.Second

// viewedFindings is the number of findings in the log, and every 40th entry is
// a report about one of them.
const viewedFindings = 10_000

// viewed makes an entry of the kinds that companies have most of.
func (l *log) viewed(rng *mrand.Rand) ledger.Draft {
	d := l.searchable(rng)
	h := d.Header
	switch n := rng.IntN(40); {
	case n == 0:
		h.Kind, h.PredicateType, h.Signers = kindname.Finding, "", nil
		h.Attributes = map[string]string{
			"finding": fmt.Sprintf("F-%d", rng.IntN(viewedFindings)), "title": "A finding", "severity": searchSeverities[rng.IntN(len(searchSeverities))],
			"status": "open", "source": "scanner", "detected": "2026-11-01T00:00:00Z",
		}
	case n < 10:
		h.Kind, h.PredicateType, h.Signers = kindname.GateDecision, "", nil
		h.Attributes = map[string]string{
			"stage": "deploy", "environment": "production", "decision": []string{"pass", "pass", "pass", "blocked"}[rng.IntN(4)], "type": "image",
			"decided": "2026-11-01T00:00:00Z",
		}
	case h.Kind != kindname.Attestation:
		h.Kind = kindname.Attestation
	}
	var err error
	d.Opening.Content, err = h.AppendJSON(nil)
	check(err)
	return d
}

// portal measures the answers that views of the portal wait for, at a million
// entries. The first overview after a start reads the log.
func (b *bench) portal() {
	l := b.open("portal")
	l.fillWith(l.viewed)
	size := l.ledger.Published().Size
	token, hash := muniment.NewToken(l.who.Tenant)
	settings := api.Settings{MaxPayload: 16 << 20}
	settings.Tenants = []auth.Tenant{{Name: l.who.Tenant, Stream: l.who.Stream, Tokens: []auth.Token{{ID: "bench", Hash: hash, Role: munimentv1.Role_ROLE_ADMIN}}}}
	s, err := api.New(context.Background(), api.Config{Ledger: l.ledger, Settings: settings, Logger: slog.New(slog.DiscardHandler), Metrics: api.NewMetrics("bench"), Policy: l.policy})
	check(err)
	server := httptest.NewServer(s.Handler())
	views := munimentv1connect.NewPortalServiceClient(http.DefaultClient, server.URL, connect.WithInterceptors(bearer(token)))
	worst := b.portalViews(views, l.who.Tenant, "sha256:"+digestNumber('s', 7))
	row(fmt.Sprintf("the slowest of these answers, at %d entries", size), "p99 "+round(worst).String(), fmt.Sprintf("goal %s for the whole view: %.1f×", paintGoal, paintGoal.Seconds()/worst.Seconds()))
	s.Drain()
	server.Close()
	l.close()
}

// portalViews measures the answer of each view, and returns the slowest.
func (b *bench) portalViews(views munimentv1connect.PortalServiceClient, tenant, artifact string) (worst time.Duration) {
	ctx := context.Background()
	calls, start := 0, time.Now()
	var first time.Duration
	for behind := true; behind; calls++ {
		res, err := views.GetOverview(ctx, connect.NewRequest(&munimentv1.GetOverviewRequest{Tenant: tenant}))
		check(err)
		if behind = res.Msg.Behind > 0; calls == 0 {
			first = time.Since(start)
		}
	}
	row("the first overview after a start", round(first).String(), fmt.Sprintf("goal %s for the whole view: %.1f×; complete after %s and %d calls", paintGoal, paintGoal.Seconds()/first.Seconds(), round(time.Since(start)), calls))
	worst = first
	for _, v := range []struct {
		what string
		call func() error
	}{
		{"an overview", func() error {
			_, err := views.GetOverview(ctx, connect.NewRequest(&munimentv1.GetOverviewRequest{Tenant: tenant}))
			return err
		}},
		{"a search for an artifact", func() error {
			_, err := views.Search(ctx, connect.NewRequest(&munimentv1.SearchRequest{Tenant: tenant, Query: artifact}))
			return err
		}},
		{"the page of an artifact", func() error {
			_, err := views.GetArtifact(ctx, connect.NewRequest(&munimentv1.GetArtifactRequest{Tenant: tenant, Digest: artifact}))
			return err
		}},
		{"a page of findings", func() error {
			_, err := views.ListFindings(ctx, connect.NewRequest(&munimentv1.ListFindingsRequest{Tenant: tenant}))
			return err
		}},
		{"a page of exceptions", func() error {
			_, err := views.ListExceptions(ctx, connect.NewRequest(&munimentv1.ListExceptionsRequest{Tenant: tenant}))
			return err
		}},
		{"the health of the log", func() error {
			_, err := views.GetLogHealth(ctx, connect.NewRequest(&munimentv1.GetLogHealthRequest{Tenant: tenant}))
			return err
		}},
	} {
		s := times(20, func(int) { check(v.call()) })
		worst = max(worst, s.quantile(0.99))
		row("portal: "+v.what, s.String(), "")
	}
	return worst
}

// bearer sends a token with each call.
func bearer(token string) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, req)
		}
	})
}
