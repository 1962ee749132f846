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

func (a *asker) answered(s *Server, asOf time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.down[s]; known {
		a.log.Info("the replica answers again", "server", s.Name)
		delete(a.down, s)
	}
	a.note(asOf)
}

// note notes an answer.
func (a *asker) note(asOf time.Time) {
	a.seen = true
	if asOf.After(a.asOf) {
		a.asOf = asOf
	}
}

func (a *asker) noteAge(asOf time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.note(asOf)
}

// state returns the time of the newest answer's state, and whether there was an
// answer.
func (a *asker) state() (asOf time.Time, seen bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asOf, a.seen
}

// each asks the servers in turn, until one returns no error. Those that are
// left share the time.
func (a *asker) each(ctx context.Context, ask func(context.Context, *Server) error) error {
	none := &silence{}
	all := a.order()
	for i, s := range all {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			attempt, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(len(all)-i))
		}
		err := ask(attempt, s)
		cancel()
		if err == nil {
			return nil
		}
		none.reasons = append(none.reasons, a.failed(s, err))
		if ctx.Err() != nil {
			break
		}
	}
	return none
}

// An asked is the answer of a server.
type asked struct {
	*munimentv1.DecideResponse
	at time.Time // before it was asked
}

// errStale reports an answer from a state that is too old. The next server may
// have a newer one.
var errStale = errors.New("its state of the log is too old")

// decide asks about images. If all states are too old, it returns the newest.
func (a *asker) decide(ctx context.Context, stage, environment string, subjects []*munimentv1.GateSubject, dryRun bool) (*asked, error) {
	var best *asked
	request := &munimentv1.DecideRequest{Stage: stage, Environment: environment, Subjects: subjects, DryRun: dryRun, Explain: true, Gate: decide.GateAdmission}
	err := a.each(ctx, func(ctx context.Context, s *Server) error {
		one := &asked{at: a.now()}
		mine := proto.CloneOf(request)
		mine.Tenant = s.Tenant
		res, err := s.Gate.Decide(ctx, connect.NewRequest(mine))
		if err != nil {
			return err
		}
		if n := len(res.Msg.Decisions); n != len(subjects) {
			return fmt.Errorf("it decided about %d of %d images: upgrade it", n, len(subjects))
		}
		for _, d := range res.Msg.Decisions {
			if d.GetDecision() == nil {
				return errors.New("its answer has no decision")
			}
		}
		one.DecideResponse = res.Msg
		if best == nil || best.AsOf.AsTime().Before(one.AsOf.AsTime()) {
			best = one
		}
		if a.now().Sub(asOf(one.DecideResponse)) > a.maxAge {
			a.noteAge(asOf(one.DecideResponse))
			return errStale
		}
		a.answered(s, asOf(one.DecideResponse))
		return nil
	})
	if best != nil {
		return best, nil
	}
	return nil, err
}

// asOf returns the time up to which the answering side has the log; zero if it
// does not report it.
func asOf(m *munimentv1.DecideResponse) time.Time {
	if m.AsOf == nil {
		return time.Time{}
	}
	return m.AsOf.AsTime()
}

// controlSet returns the control set in force, or nil if there is none that can
// be read. The decisions then explain that.
func (a *asker) controlSet(ctx context.Context) (set *munimentv1.ControlSet, err error) {
	err = a.each(ctx, func(ctx context.Context, s *Server) error {
		res, err := s.Gate.GetControlSet(ctx, connect.NewRequest(&munimentv1.GetControlSetRequest{Tenant: s.Tenant}))
		switch code := connect.CodeOf(err); {
		case err == nil:
			set = res.Msg.Set
		case code == connect.CodeNotFound, code == connect.CodeFailedPrecondition:
		default:
			return err
		}
		a.answered(s, time.Time{})
		return nil
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
