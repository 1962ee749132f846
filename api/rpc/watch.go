package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Watches sends entries as they are published.
type Watches struct {
	ledger   *ledger.Ledger
	limits   *limit.Limiter
	drain    Drain
	public   Public
	follower *follower
}

// NewWatches returns the watches of a log. They end when drain is closed.
func NewWatches(l *ledger.Ledger, limits *limit.Limiter, drain Drain, public Public) *Watches {
	return &Watches{l, limits, drain, public, newFollower(l, drain)}
}

// Wakes returns the total number of wakes.
func (s *Watches) Wakes() uint64 { return s.follower.wakes() }

// watchInterval is how often a watcher receives the size of the log when there
// are no entries to send.
const watchInterval = 15 * time.Second

// sendWatched sends an entry. For a large one it holds the bytes needed beyond
// the watcher's own.
func (s *Watches) sendWatched(ctx context.Context, stream *connect.ServerStream[munimentv1.WatchEntriesResponse], m *munimentv1.WatchEntriesResponse) error {
	if n := 3 * int64(proto.Size(m)); n > limit.WatchBytes {
		if err := s.limits.Take(ctx, n); err != nil {
			return s.public(err)
		}
		defer limit.HeldBy(ctx).Keep(limit.Bytes, limit.WatchBytes)
	}
	return stream.Send(m)
}

func (s *Watches) WatchEntries(ctx context.Context, req *connect.Request[munimentv1.WatchEntriesRequest], stream *connect.ServerStream[munimentv1.WatchEntriesResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	filter, err := filterOf(req.Msg.Filter)
	if err != nil {
		return err
	}
	for name, at := range map[string]time.Time{"filter.from": filter.From, "filter.to": filter.To} {
		if !at.IsZero() {
			return rpcerr.Field(connect.CodeInvalidArgument, name, "times are not allowed here: start from an index")
		}
	}
	next := req.Msg.FromIndex
	beat := time.NewTicker(watchInterval)
	defer beat.Stop()
	for told := false; ; {
		p := s.ledger.Published()
		for next < p.Size && !s.drain.closed() {
			var e *ledger.Entry
			if e, next, err = s.follower.next(ctx, s.limits.Usage(id.Tenant.Name), p, id.Tenant.Stream, filter, next); err != nil {
				return s.public(err)
			}
			if e == nil {
				break
			}
			if err := s.sendWatched(ctx, stream, &munimentv1.WatchEntriesResponse{Entry: entryMessage(s.ledger, e), NextIndex: next}); err != nil {
				return err
			}
		}
		if !told { // report that the caller has caught up, which also sends the headers
			if err := stream.Send(&munimentv1.WatchEntriesResponse{NextIndex: next}); err != nil {
				return err
			}
			told = true
		}
		select {
		case <-s.follower.await(id.Tenant.Stream.ID, p.Size):
		case <-beat.C:
			told = false
		case <-ctx.Done():
			return s.public(ctx.Err())
		case <-s.drain:
			return s.public(ledger.ErrClosed)
		}
	}
}
