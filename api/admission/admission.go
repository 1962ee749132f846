// Package admission answers the admission webhooks of Kubernetes clusters.
//
// It asks a replica or a server whether images may run, keeps the answers for a
// short time, and holds no store and no key. What it can't establish is denied.
// docs/decisions/13-cluster-admission.md gives the reasons and the interface.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/edge"
)

// Options configure a handler.
type Options struct {
	Servers []*Server
	Config  *Config
	// Resolver resolves tags for the configuration. Nil: no tag is resolved.
	Resolver     Resolver
	MaxAge       time.Duration // oldest state of the log that decides
	Refresh      time.Duration // longest use of an answer
	Timeout      time.Duration // longest wait for an answer
	CacheEntries int
	CacheBytes   int64
	Now          func() time.Time
	Logger       *slog.Logger
	Metrics      *Metrics
}

// Memory that requests under way can hold, in bytes. Further ones wait.
const (
	maxBodies = 32 << 20
	maxTrees  = 48 << 20
)

// A Handler answers webhooks.
type Handler struct {
	config  atomic.Pointer[Config]
	decider *decider
	tags    *tags
	timeout time.Duration
	maxAge  time.Duration
	log     *slog.Logger
	metrics *Metrics
	bodies  *pool
	trees   *semaphore.Weighted
	stop    context.CancelFunc
	running sync.WaitGroup
}

// New returns a handler. It keeps the answers in use fresh until it is closed.
func New(ctx context.Context, o Options) *Handler {
	ctx, stop := context.WithCancel(ctx)
	h := &Handler{timeout: o.Timeout, maxAge: o.MaxAge, log: o.Logger, metrics: o.Metrics, stop: stop, bodies: newPool(maxBodies), trees: semaphore.NewWeighted(maxTrees)}
	h.decider = &decider{
		asker: &asker{servers: o.Servers, maxAge: o.MaxAge, now: o.Now, log: o.Logger, metrics: o.Metrics, down: map[*Server]time.Time{}},
		cache: newCache(o.CacheEntries, o.CacheBytes), refresh: o.Refresh, timeout: o.Timeout, base: ctx, calls: semaphore.NewWeighted(maxCalls), flights: map[flightKey]*flight{},
	}
	h.tags = &tags{look: o.Resolver, now: o.Now, metrics: o.Metrics, timeout: o.Timeout, places: semaphore.NewWeighted(maxResolving), base: ctx, running: &h.running, known: map[string]*tag{}}
	h.config.Store(o.Config)
	o.Metrics.watch(h)
	h.running.Go(func() {
		defer crash.Report()
		h.decider.follow(ctx)
	})
	return h
}

// Close ends the work in the background. No request may be under way.
func (h *Handler) Close() {
	h.stop()
	h.running.Wait()
	h.decider.running.Wait()
}

// SetConfig replaces the configuration.
func (h *Handler) SetConfig(c *Config) { h.config.Store(c) }

// Reach asks for the control set, and returns an error if no server answers.
func (h *Handler) Reach(ctx context.Context) error {
	_, err := h.decider.controlSet(ctx)
	return err
}

// Reached reports whether a server has answered since the start.
func (h *Handler) Reached() bool {
	_, seen := h.decider.state()
	return seen
}

// Age returns the age of the newest state of the log that a server has answered
// from, or a time of 290 years if none has.
func (h *Handler) Age() time.Duration {
	asOf, _ := h.decider.state()
	if asOf.IsZero() {
		return math.MaxInt64
	}
	return max(0, h.decider.now().Sub(asOf))
}

// Webhook returns the handler of one of the Paths.
func (h *Handler) Webhook(path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := h.decider.now()
		answer, err := h.serve(w, r, path)
		if err != nil {
			answer = answerInvalid
			status := http.StatusBadRequest
			if e, ok := errors.AsType[*statusError](err); ok {
				status = e.status
			}
			http.Error(w, err.Error(), status)
		}
		h.metrics.reviewed(path, answer, h.decider.now().Sub(begun))
	})
}

// A statusError is an error with the status of its answer.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }

// serve answers a review.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, path string) (answer string, err error) {
	ctx, cancel := h.deadline(r)
	defer cancel()
	req, release, err := h.read(ctx, w, r)
	if err != nil {
		return "", err
	}
	defer release()
	res, answer := h.review(ctx, path, req)
	res.UID = req.UID
	out, err := res.encode()
	if err != nil {
		return "", &statusError{http.StatusInternalServerError, err}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out) // the API server went away
	return answer, nil
}

// reserve is the part of the webhook's timeout that is left for the way back.
const reserve = 0.1

// deadline returns a context that ends before the API server stops waiting. It
// sends its timeout in the URL.
func (h *Handler) deadline(r *http.Request) (context.Context, context.CancelFunc) {
	wait := h.timeout
	if most, err := time.ParseDuration(r.URL.Query().Get("timeout")); err == nil && most > 0 {
		wait = min(wait, time.Duration(float64(most)*(1-reserve)))
	}
	return context.WithTimeout(r.Context(), wait)
}

// read reads the review of a request. The memory that it takes is held until
// release is called.
func (h *Handler) read(ctx context.Context, w http.ResponseWriter, r *http.Request) (req *request, release func(), err error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, nil, &statusError{http.StatusUnsupportedMediaType, errors.New("the content type must be application/json")}
	}
	size := r.ContentLength
	if size < 0 {
		size = MaxReview
	}
	if size > MaxReview {
		return nil, nil, tooLarge()
	}
	// the bytes, the parts of them that the review refers to, and the objects
	trees := int64(0)
	giveBack, err := h.bodies.take(ctx, edge.Address(r.RemoteAddr), 2*max(size, 1))
	if err != nil {
		return nil, nil, errBusy
	}
	free := func() {
		giveBack()
		h.trees.Release(trees)
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	body, err := bounded.ReadAll(edge.MaxBytes(w, r.Body, MaxReview), MaxReview)
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return nil, nil, tooLarge()
	} else if err != nil {
		return nil, nil, err
	}
	nodes, err := images.CountJSON(body)
	if err != nil {
		return nil, nil, err
	}
	most := min(int64(nodes)*images.BytesPerNode, maxTrees)
	if err := h.trees.Acquire(ctx, most); err != nil {
		return nil, nil, errBusy
	}
	trees = most
	req, err = parseReview(body)
	return req, free, err
}

var errBusy = &statusError{http.StatusServiceUnavailable, errors.New("too many requests at a time")}

func tooLarge() error {
	return &statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("the review has more than %d bytes", MaxReview)}
}
