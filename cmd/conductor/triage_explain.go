package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/explain"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
)

// running prints the state of a running triage.
func (c *explainCmd) running(a *term.App) error {
	if c.Operator == "" {
		return errors.New("--triage: requires --operator-token-file")
	}
	secret, err := bounded.ReadSecret(c.Operator)
	if err != nil {
		return fmt.Errorf("--operator-token-file: %w", err)
	}
	client, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s, err := c.state(a.Ctx, client, strings.TrimSpace(string(secret)))
	if err != nil {
		return fmt.Errorf("read the state of triage: %w", err)
	}
	if err := c.Print(a, s); err != nil {
		return err
	}
	if !s.Acts() {
		return term.ExitWith(term.ExitNo, errors.New(""))
	}
	return nil
}

// state reads the state of a running triage.
func (c *explainCmd) state(ctx context.Context, client *http.Client, token string) (*explain.State, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.Triage, "/")+"/explain", nil)
	if err != nil {
		return nil, errors.New("--triage: must be a URL")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := bounded.ReadAll(res.Body, explain.MaxState)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", res.Status, term.Escape(strings.TrimSpace(string(text[:min(len(text), 1<<10)]))))
	}
	var s explain.State
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, errors.New("the answer is not that of conductor triage serve")
	}
	return &s, nil
}
