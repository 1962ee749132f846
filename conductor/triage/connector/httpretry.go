package connector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/internal/safetext"
)

// httpRetry runs a job again, such as a pipeline of a CI system. GET returns
// its state with a number that grows with each run, and POST to another path
// begins the next one. The header Idempotency-Key is the same for all attempts
// from one number, so a service that honours it runs the job once. With any
// other service Set reads directly before it posts. The effect lapses.
type httpRetry struct {
	*remote
	target     *targetPattern
	path, post *pathTemplate
	counter    string
	condition  map[string]string // members that a job must have to run again
}

func readHTTPRetry(s *settings) Connector {
	api := s.remote("", "", "")
	address := s.templates("retry_path")
	h := &httpRetry{condition: map[string]string{}}
	counter := s.text("counter", func(string) error { return nil })
	s.required = append(s.required, "only_if")
	s.known["only_if"] = func(n *yaml.Node, f string) {
		s.Each(n, f, 8, func(name string, key, n *yaml.Node, f string) { h.condition[name] = s.Text(n, f) })
		if len(h.condition) == 0 && len(s.Problems) == 0 {
			s.Wrong(n, f, "must have a member")
		}
	}
	s.read()
	h.remote, h.counter = api(), *counter
	h.target, h.path = address(s, "path")
	_, h.post = address(s, "retry_path")
	return h
}

// CheckAction implements Checker.
func (h *httpRetry) CheckAction(a *action.Action) error {
	return checkAction(a, h.target.prefix, nil, nil)
}

// Undo implements Connector.
func (h *httpRetry) Undo() string { return action.Lapse }

// Read implements Connector. The image is the number of runs.
func (h *httpRetry) Read(ctx context.Context, target string) (Image, error) {
	all, err := h.state(ctx, target)
	if err != nil {
		return nil, err
	}
	return imageOf(all, []string{h.counter})
}

func (h *httpRetry) state(ctx context.Context, target string) ([]member, error) {
	values, err := h.target.match(target)
	if err != nil {
		return nil, err
	}
	res, err := h.do(ctx, request{method: http.MethodGet, path: h.path.render(values)})
	if err != nil {
		return nil, err
	}
	return members(res.body)
}

// allowed returns an error if a job in this state must not run again.
func (h *httpRetry) allowed(all []member) error {
	for _, name := range slices.Sorted(maps.Keys(h.condition)) {
		m, err := find(all, name)
		if err != nil {
			return err
		}
		if text, err := jsontext.AppendUnquote(nil, m.value); err != nil || string(text) != h.condition[name] {
			return fmt.Errorf("the job is not run again unless its %s is %s", safetext.Quoted(name), safetext.Quoted(h.condition[name]))
		}
	}
	return nil
}

// Plan implements Connector. It refuses a job that must not run again.
func (h *httpRetry) Plan(ctx context.Context, target string, _ map[string]string, before Image) (Image, error) {
	all, err := h.state(ctx, target)
	if err != nil {
		return nil, err
	}
	if err := h.allowed(all); err != nil {
		return nil, err
	}
	return incremented(before, h.counter)
}

// Set implements Connector.
func (h *httpRetry) Set(ctx context.Context, target string, before, after Image) error {
	if next, err := incremented(before, h.counter); err != nil || !bytes.Equal(next, after) {
		return ErrChanged // a run has no other effect
	}
	all, err := h.state(ctx, target)
	if err != nil {
		return err
	}
	now, err := imageOf(all, []string{h.counter})
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return ErrChanged
	}
	if err := h.allowed(all); err != nil {
		return err
	}
	values, err := h.target.match(target)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(target), target, before))
	key := map[string]string{"Idempotency-Key": hex.EncodeToString(sum[:16])}
	_, err = h.do(ctx, request{method: http.MethodPost, path: h.post.render(values), header: key, body: []byte("{}")})
	return changed(err, http.StatusConflict, http.StatusPreconditionFailed)
}
