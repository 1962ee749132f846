//go:build !unix

package datadir

import (
	"context"
	"os"

	"muniment.dev/muniment/ledger"
)

// HandOver returns ErrNoServer: servers run on Unix systems.
func HandOver(context.Context, string, *os.File, func(done, total uint64)) (*ledger.ImportReport, error) {
	return nil, ErrNoServer
}

// TakeImports does nothing: servers run on Unix systems.
func TakeImports(string, func(context.Context, *os.File, func(done, total uint64)) (*ledger.ImportReport, error)) (func(), error) {
	return func() {}, nil
}
