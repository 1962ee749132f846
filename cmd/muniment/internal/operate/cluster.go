package operate

import (
	"cmp"
	"context"
	"sync"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/lease"
	"muniment.dev/muniment/ledger/store"
)

// A cluster is what a server does because others share its log.
type cluster struct {
	elector *lease.Elector // nil: calls are not forwarded
	won     chan struct{}  // capacity 1; receives when this server has taken the lease
}

// openCluster prepares the election if muniment.yaml lists the servers.
func (s *logServer) openCluster() error {
	servers := &s.dir.Config.Servers
	leases, ok := s.store.(store.Leases)
	if len(servers.URLs) == 0 || !ok {
		return nil
	}
	self, err := servers.Self(s.cmd.Advertise, cmp.Or(s.cmd.Listen, s.dir.Config.Listen))
	if err != nil {
		return err
	}
	s.cluster.won = make(chan struct{}, 1)
	// The ledger is open before the election begins.
	hanging := func() time.Duration { return s.ledger.Hanging() }
	ready := func() error { return s.ledger.Ready() }
	s.cluster.elector = lease.New(lease.Config{Leases: leases, URL: self, Logger: s.log, Hanging: hanging, Ready: ready, Won: func() {
		select {
		case s.cluster.won <- struct{}{}:
		default: // it has yet to count
		}
	}})
	return nil
}

// idle reports whether another server asks the witnesses.
func (c *cluster) idle() bool {
	if c.elector == nil {
		return false
	}
	w := c.elector.Writer()
	return w.URL != "" && !w.Self
}

// resign gives up the lease, because the server is about to end. It reports
// whether there are other servers, which need time to see that. A nil cluster
// has none.
func (c *cluster) resign() bool {
	if c == nil || c.elector == nil {
		return false
	}
	c.elector.Resign()
	return true
}

// apiCluster returns the other servers as the API needs them, or nil.
func (s *logServer) apiCluster() (*api.Cluster, error) {
	if s.cluster.elector == nil {
		return nil, nil
	}
	transport, err := s.dir.ServersTransport()
	if err != nil {
		return nil, err
	}
	return &api.Cluster{Writer: s.cluster.elector.Writer, Servers: s.dir.Config.Servers.URLs, Transport: transport}, nil
}

// run follows other servers, and takes part in the election while the server
// answers calls, until the context ends.
func (c *cluster) run(ctx context.Context, server *api.Server) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		defer crash.Report()
		server.Follow(ctx)
	})
	if c.elector == nil {
		return
	}
	running.Go(func() {
		defer crash.Report()
		c.elector.Run(ctx)
	})
	for {
		select {
		case <-c.won:
			server.Recount(ctx)
		case <-ctx.Done():
			return
		}
	}
}
