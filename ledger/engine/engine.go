// Package engine opens the storage engine that a URL names.
//
// Its table is the only list of engines. Code above it uses the interfaces of
// ledger/store, and no engine.
package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muniment.dev/muniment/ledger/pebblestore"
	"muniment.dev/muniment/ledger/pgstore"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// engines are the engines by URL scheme.
var engines = map[string]store.Engine{
	"pebble":   pebblestore.Engine{}, // pebble:PATH of a folder
	"postgres": pgstore.Engine{},     // postgres://USER@HOST/DATABASE, see package pgstore
	"memory":   &memstore.Engine{},   // memory:NAME, for tests: it ends with the process
}

// InFolder returns the URL of the embedded store in a folder.
func InFolder(path string) string { return "pebble:" + path }

// For returns the URL of a store that several servers share, for the server
// whose data is in the folder. The folder contains the publish mark, and only
// one process at a time can use it.
func For(url, folder, server string) string {
	if !Shared(url) {
		return url
	}
	return pgstore.For(url, folder, server)
}

// WithObjects returns the URL of a store that several servers share, with the
// bucket in which it keeps large payloads.
func WithObjects(url, bucket string) string { return pgstore.WithObjects(url, bucket) }

// Shared reports whether several servers can have the store with the URL open.
func Shared(url string) bool { return strings.HasPrefix(url, "postgres:") }

// Open opens the store with the URL for reading and writing, and makes it if it
// does not exist. See store.Engine.
func Open(ctx context.Context, url string, o store.Options) (store.Store, error) {
	e, location, err := find(url)
	if err != nil {
		return nil, err
	}
	return e.Open(ctx, location, o)
}

// OpenReadOnly opens the store with the URL for reading, and changes nothing.
// See store.Engine.
func OpenReadOnly(ctx context.Context, url string, o store.Options) (store.Store, error) {
	e, location, err := find(url)
	if err != nil {
		return nil, err
	}
	return e.OpenReadOnly(ctx, location, o)
}

// Examine opens the store with the URL for reading although it may be damaged.
// See store.Engine.
func Examine(ctx context.Context, url string, o store.Options) (store.Examination, error) {
	e, location, err := find(url)
	if err != nil {
		return nil, err
	}
	return e.Examine(ctx, location, o)
}

// Snapshot takes a snapshot of the store with the URL. See store.Engine.
func Snapshot(ctx context.Context, url, scratch string) (*store.Snapshot, error) {
	e, location, err := find(url)
	if err != nil {
		return nil, err
	}
	return e.Snapshot(ctx, location, scratch)
}

func find(url string) (e store.Engine, location string, err error) {
	scheme, location, ok := strings.Cut(url, ":")
	if e = engines[scheme]; !ok || e == nil || location == "" {
		// the URL may contain a password
		return nil, "", fmt.Errorf("unknown store URL: it must be SCHEME:LOCATION, and SCHEME one of %s", strings.Join(slices.Sorted(maps.Keys(engines)), ", "))
	}
	return e, location, nil
}
