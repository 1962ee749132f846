package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/internal/bounded"
)

// follow makes the executor read the requests of persons.
func (s *triageServer) follow(executor *execute.Executor, recorder *execute.Recorder, o muniment.Options) error {
	if s.ReadToken == "" {
		if len(executor.Actions.Approvers) > 0 {
			s.log.Warn("requests of the approvers are not read: add --read-token-file")
		}
		return nil
	}
	secret, err := bounded.ReadSecret(s.ReadToken)
	if err != nil {
		return fmt.Errorf("--read-token-file: %w", err)
	}
	o.Token = strings.TrimSpace(string(secret))
	reader, err := execute.NewReader(o, recorder)
	if err != nil {
		return fmt.Errorf("--read-token-file: %w", err)
	}
	s.poller = execute.NewPoller(reader, s.reportRead("requests of persons not read; trying again"))
	executor.Feed = s.poller
	s.watcher = execute.NewWatcher(reader, time.Now, s.reportRead("entries of executors not read; trying again"))
	executor.Numbers, executor.Uses = s.watcher, s.watcher
	if s.Takeover == "" {
		return nil
	}
	if executor.Seal, err = execute.LoadSeal(s.Takeover); err != nil {
		return fmt.Errorf("--takeover-key-file: %w", err)
	}
	executor.Trails = s.watcher
	return nil
}

// reportRead returns a function that logs errors which differ from the last.
func (s *triageServer) reportRead(message string) func(error) {
	last := ""
	return func(err error) {
		switch {
		case err == nil:
			last = ""
		case errors.Is(err, context.Canceled) || err.Error() == last:
		default:
			last = err.Error()
			s.log.Error(message, "err", err)
		}
	}
}
