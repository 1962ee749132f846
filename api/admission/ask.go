package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/internal/rpcdetail"
	"muniment.dev/muniment/internal/safetext"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Gate answers questions. The client of a replica is one, and so is that of
// a server.
type Gate interface {
	Decide(context.Context, *connect.Request[munimentv1.DecideRequest]) (*connect.Response[munimentv1.DecideResponse], error)
	GetControlSet(context.Context, *connect.Request[munimentv1.GetControlSetRequest]) (*connect.Response[munimentv1.GetControlSetResponse], error)
}

// A Server is a replica or server that is asked.
type Server struct {
	Name   string // in messages and metrics
	Tenant string
	Gate   Gate
}

// downTime is how long a server that gave no answer is asked last.
const downTime = 5 * time.Second

// An asker asks the first server that answers.
type asker struct {
	servers []*Server
	maxAge  time.Duration
	now     func() time.Time
	log     *slog.Logger
	metrics *Metrics
	// newest is how far the answers have come in the log.
	newest frontier

	mu   sync.Mutex // guards what follows
	down map[*Server]time.Time
	asOf time.Time // the newest of all answers
	seen bool      // whether a server has answered
}

// A silence is the error that no server has answered.
type silence struct{ reasons []string }

func (s *silence) Error() string { return "no replica answers: " + strings.Join(s.reasons, "; ") }

// order returns the servers in the order in which they are asked.
func (a *asker) order() []*Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	all := slices.Clone(a.servers)
	slices.SortStableFunc(all, func(x, y *Server) int {
		switch xDown, yDown := now.Before(a.down[x]), now.Before(a.down[y]); {
		case xDown == yDown:
			return 0
		case xDown:
			return 1
		}
		return -1
	})
	return all
}

// failed notes that a server gave no answer. The reason is for people.
func (a *asker) failed(s *Server, err error) string {
	a.metrics.serverErrors.WithLabelValues(s.Name).Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.down[s]; !known {
		a.log.Warn("a replica gave no usable answer", "server", s.Name, "err", err)
	}
	a.down[s] = a.now().Add(downTime)
	return s.Name + ": " + cut(safetext.Quoted(plainReason(err)), 200)
}

// answered notes an answer that can be used.
func (a *asker) answered(s *Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.down[s]; known {
		a.log.Info("the replica answers again", "server", s.Name)
		delete(a.down, s)
	}
}

// note notes the time of an answer's state.
func (a *asker) note(asOf time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = true
	if asOf.After(a.asOf) {
		a.asOf = asOf
	}
}

// state returns the time of the newest answer's state, and whether there was an
// answer.
func (a *asker) state() (asOf time.Time, seen bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asOf, a.seen
}

// A use is what becomes of a server's answer, if its state may be used. It
// returns an error if the next server may have a better one.
type use func() error

// each asks the servers in turn, until one gives an answer that can be used.
// Those that are left share the time. An answer from an earlier state of the
// log than others before is none.
func (a *asker) each(ctx context.Context, ask func(context.Context, *Server) (logState, use, error)) error {
	none := &silence{}
	all := a.order()
	for i, s := range all {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			attempt, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(len(all)-i))
		}
		err := a.one(attempt, s, ask)
		cancel()
		if err == nil {
			a.answered(s)
			return nil
		}
		none.reasons = append(none.reasons, a.failed(s, err))
		if ctx.Err() != nil {
			break
		}
	}
	return none
}

// one asks one server.
func (a *asker) one(ctx context.Context, s *Server, ask func(context.Context, *Server) (logState, use, error)) error {
	reached := a.newest.reached()
	state, use, err := ask(ctx, s)
	if err != nil {
		return err
	}
	if err := a.newest.advance(state, reached, a.now()); err != nil {
		return err
	}
	a.note(state.asOf)
	return use()
}

// An asked is the answer of a server.
type asked struct {
	*munimentv1.DecideResponse
	at   time.Time // before it was asked
	asOf time.Time // zero: unknown
}

// errStale reports an answer from a state that is too old. The next server may
// have a newer one.
var errStale = errors.New("its state of the log is too old")

// decide asks about images. If all states are too old, it returns the newest.
func (a *asker) decide(ctx context.Context, stage, environment string, subjects []*munimentv1.GateSubject, dryRun bool) (*asked, error) {
	var best *asked
	request := &munimentv1.DecideRequest{Stage: stage, Environment: environment, Subjects: subjects, DryRun: dryRun, Explain: true, Gate: decide.GateAdmission}
	err := a.each(ctx, func(ctx context.Context, s *Server) (logState, use, error) {
		one := &asked{at: a.now()}
		mine := proto.CloneOf(request)
		mine.Tenant = s.Tenant
		res, err := s.Gate.Decide(ctx, connect.NewRequest(mine))
		if err != nil {
			return logState{}, nil, err
		}
		if n := len(res.Msg.Decisions); n != len(subjects) {
			return logState{}, nil, fmt.Errorf("it decided about %d of %d images: upgrade it", n, len(subjects))
		}
		for _, d := range res.Msg.Decisions {
			if d.GetDecision() == nil {
				return logState{}, nil, errors.New("its answer has no decision")
			}
		}
		state := stateOfDecisions(res.Msg)
		one.DecideResponse, one.asOf = res.Msg, state.asOf
		return state, func() error {
			if best == nil || best.asOf.Before(one.asOf) {
				best = one
			}
			if a.now().Sub(one.asOf) > a.maxAge {
				return errStale
			}
			return nil
		}, nil
	})
	if best != nil {
		return best, nil
	}
	return nil, err
}

// controlSet returns the control set in force, or nil if there is none that can
// be read. The decisions then explain that.
func (a *asker) controlSet(ctx context.Context) (set *munimentv1.ControlSet, err error) {
	err = a.each(ctx, func(ctx context.Context, s *Server) (logState, use, error) {
		var found *munimentv1.ControlSet
		var state *munimentv1.LogState
		res, err := s.Gate.GetControlSet(ctx, connect.NewRequest(&munimentv1.GetControlSetRequest{Tenant: s.Tenant}))
		switch code := connect.CodeOf(err); {
		case err == nil:
			found, state = res.Msg.Set, res.Msg.State
		case code == connect.CodeNotFound, code == connect.CodeFailedPrecondition:
			state, _ = rpcdetail.Find[*munimentv1.LogState](err)
		default:
			return logState{}, nil, err
		}
		return stateOf(state), func() error {
			set = found
			return nil
		}, nil
	})
	return set, err
}

// plainReason returns an error without the code of the protocol.
func plainReason(err error) string {
	if c, ok := errors.AsType[*connect.Error](err); ok {
		if c.Code() == connect.CodeDeadlineExceeded {
			return "no answer in time"
		}
		return c.Message()
	}
	return err.Error()
}
