package engine

import (
	"context"
	"fmt"
	"strings"

	"muniment.dev/muniment/ledger/store"
)

// Stage returns the URL of a copy of the store with the URL while it is made.
// See store.Mover.
func Stage(ctx context.Context, url string) (string, error) {
	m, location, err := mover(url)
	if err != nil {
		return "", err
	}
	stage, err := m.Stage(ctx, location)
	scheme, _, _ := strings.Cut(url, ":")
	return scheme + ":" + stage, err
}

// Discard deletes the copy that is made for the URL. See store.Mover.
func Discard(ctx context.Context, url string) error {
	m, location, err := mover(url)
	if err != nil {
		return err
	}
	return m.Discard(ctx, location)
}

// Install puts the copy for the URL in place. See store.Mover.
func Install(ctx context.Context, url string) error {
	m, location, err := mover(url)
	if err != nil {
		return err
	}
	return m.Install(ctx, location)
}

// Retire ends the log in the store with the URL, which has that size. to is the
// URL of the store that the log is moved to. See store.Mover.
func Retire(ctx context.Context, url string, size uint64, to string) error {
	m, location, err := mover(url)
	if err != nil {
		return err
	}
	return m.Retire(ctx, location, size, Name(to))
}

// Revive undoes Retire. See store.Mover.
func Revive(ctx context.Context, url string) error {
	m, location, err := mover(url)
	if err != nil {
		return err
	}
	return m.Revive(ctx, location)
}

// Name returns the URL as it is shown to people, without secrets.
func Name(url string) string {
	m, location, err := mover(url)
	if err != nil {
		return "an unknown store"
	}
	return m.Name(location)
}

func mover(url string) (store.Mover, string, error) {
	e, location, err := find(url)
	if err != nil {
		return nil, "", err
	}
	m, ok := e.(store.Mover)
	if !ok {
		return nil, "", fmt.Errorf("logs cannot be moved to or from stores of the engine %T", e)
	}
	return m, location, nil
}
