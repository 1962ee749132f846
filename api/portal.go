package api

import (
	"errors"
	"math"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// logHealth returns the health of the log for tenants. What would reveal the
// entries of others, or the folders of the server, is left out or rounded.
func (s *Server) logHealth() *munimentv1.LogHealth {
	asOf := timestamppb.New(s.ledger.AsOf()) // first: it is not later than the size
	p := s.ledger.Published()
	m := &munimentv1.LogHealth{
		Log: s.ledger.Origin(), TreeSize: p.Size, Root: p.Root[:], AsOf: asOf, Replica: s.ledger.IsReplica(),
		Pending: uint64(s.ledger.Pending()), WitnessesRequired: s.ledger.RequiresWitness(), Version: s.cfg.Version,
	}
	if p.Time > 0 {
		m.NewestEntry = timestamppb.New(time.UnixMilli(int64(p.Time)))
	}
	err := s.ledger.Ready()
	if m.Ready = err == nil; !m.Ready {
		m.DiskFull = errors.Is(err, ledger.ErrDiskFull)
		m.Reason = s.public(err).Message()
	}
	if w := s.ledger.Witnessed(); w != nil && m.WitnessesRequired {
		m.WitnessedSize = &w.Size
	}
	if s.cfg.FreeBytes != nil {
		if n, err := s.cfg.FreeBytes(); err == nil {
			n = twoDigits(n)
			m.FreeBytes = &n
		}
	}
	if w := s.cfg.Metrics.witnesses.Load(); w != nil {
		m.Witnesses, m.Anchors = w.health()
	}
	return m
}

// twoDigits rounds a number down to two decimal digits.
func twoDigits(n uint64) uint64 {
	unit := uint64(1)
	for n/unit >= 100 && unit <= math.MaxUint64/10 {
		unit *= 10
	}
	return n / unit * unit
}

// health returns the state of the witnesses and of the anchors.
func (w *witnessMetrics) health() (witnesses []*munimentv1.WitnessHealth, anchors []*munimentv1.AnchorHealth) {
	all := w.collector.Status()
	published := w.ledger.Published().Size // after the witnesses' sizes, which it is never below
	for _, s := range all {
		one := &munimentv1.WitnessHealth{Name: s.Name, Size: s.Size, Lag: published - s.Size, Cosigned: s.Cosigned}
		for _, n := range s.Failures {
			one.Failures += n
		}
		witnesses = append(witnesses, one)
	}
	for _, a := range w.anchors {
		size := a.Size()
		anchors = append(anchors, &munimentv1.AnchorHealth{Name: filepath.Base(a.Path()), Size: size, Lag: max(published, size) - size, Failures: a.Failures()})
	}
	return witnesses, anchors
}

// coverageOf returns the last computed coverage of a stream, or nil, and the
// stage that it is measured by.
func (s *Server) coverageOf(stream *ledger.Stream) (*inventory.Summary, string) {
	return s.coverage.of(stream), s.settings.Load().coverageStage()
}
