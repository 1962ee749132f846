package operate

import (
	"context"
	"fmt"
	"sync"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/offload"
)

// openCopy opens the bucket for tiles, if muniment.yaml names one.
func (s *logServer) openCopy() error {
	tiles := s.dir.Config.Tiles
	if tiles.Bucket == "" {
		return nil
	}
	var err error
	s.copier, err = offload.Open(s.app.Ctx, tiles.Bucket, offload.Config{Ledger: s.ledger, Every: tiles.Every, Idle: s.cluster.idle, Logger: s.log})
	if err != nil {
		return fmt.Errorf("tiles.bucket: %w", err)
	}
	s.metrics.WatchCopy(s.copier.Status)
	return nil
}

// runCopy keeps the copy up to date until the server is closed.
func (s *logServer) runCopy(server *api.Server) {
	if s.copier == nil {
		return
	}
	if !server.PublicLog() {
		s.log.Warn("nothing is written to the bucket for tiles while the log is not public: set public_tlog: true, or remove tiles")
	}
	ctx, stop := context.WithCancel(s.app.Ctx)
	var running sync.WaitGroup
	running.Go(func() {
		defer crash.Report()
		s.copier.Run(ctx, server.PublicLog)
	})
	s.onClose(func() {
		stop()
		running.Wait()
	})
}
