package datadir

import (
	"errors"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
)

// The server of a replica owns its store. An import meanwhile hands the open
// file over to it, through a socket in the data folder that only the folder's
// owner can use.

// importSocket is the file name of the socket.
const importSocket = "import.sock"

// ErrNoServer reports that no server takes imports for the folder.
var ErrNoServer = errors.New("no server takes imports for this folder")

// A RefusedImport is the error of a server that refused a delta.
type RefusedImport struct{ text string }

func (e *RefusedImport) Error() string { return e.text }

// Refused reports whether an import failed because of what is in the delta.
func Refused(err error) bool {
	var refused *RefusedImport
	for _, is := range []error{ledger.ErrGap, ledger.ErrReplay, ledger.ErrDelta, delta.ErrDamaged, delta.ErrFormat} {
		if errors.Is(err, is) {
			return true
		}
	}
	return errors.As(err, &refused)
}

// An importMessage is one message of the server: progress, or the result.
type importMessage struct {
	Done    uint64               `json:"done,omitempty"`
	Total   uint64               `json:"total,omitempty"`
	Report  *ledger.ImportReport `json:"report,omitempty"`
	Root    string               `json:"root,omitempty"`
	Digest  string               `json:"digest,omitempty"`
	Error   string               `json:"error,omitempty"`
	Refused bool                 `json:"refused,omitempty"`
	// the checkpoints of a fork
	Kept    []byte `json:"kept,omitempty"`
	Offered []byte `json:"offered,omitempty"`
}

func resultMessage(r *ledger.ImportReport, err error) *importMessage {
	if err == nil {
		return &importMessage{Report: r, Root: r.Root.String(), Digest: r.Digest.String()}
	}
	m := &importMessage{Error: err.Error(), Refused: Refused(err)}
	var fork *ledger.Fork
	if errors.As(err, &fork) {
		m.Kept, m.Offered = fork.Kept, fork.Offered
	}
	return m
}

// result returns what resultMessage was given.
func (m *importMessage) result() (*ledger.ImportReport, error) {
	switch {
	case m.Kept != nil:
		return nil, ledger.NewFork(m.Kept, m.Offered, errors.New("the server of the replica compared them"))
	case m.Refused:
		return nil, &RefusedImport{m.Error}
	case m.Report == nil:
		return nil, errors.New(m.Error)
	}
	for _, one := range []struct {
		text string
		to   *entry.Hash
	}{{m.Root, &m.Report.Root}, {m.Digest, &m.Report.Digest}} {
		var err error
		if *one.to, err = entry.ParseHash(one.text); err != nil {
			return nil, errors.New("the server's answer about the import is malformed")
		}
	}
	return m.Report, nil
}
