package operate

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"strings"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/receipt"
)

// errRolledBack reports that the log has fewer entries than the replica.
var errRolledBack = errors.New("it was rolled back, or is behind: if it stays so, ask the log's operator")

// errSpool reports that the log did not take the decisions of the replica.
var errSpool = errors.New("decisions of the replica are not recorded")

// followCause returns the reason why a replica cannot follow its log, as a
// label of metrics.
func followCause(err error) string {
	var ce *connect.Error
	isCall := errors.As(err, &ce)
	switch {
	case errors.Is(err, ledger.ErrForked):
		return api.FollowForked
	case errors.Is(err, errRolledBack):
		return api.FollowRolledBack
	case errors.Is(err, errFollowsReplica):
		return api.FollowReplica
	case errors.Is(err, errSpool):
		return api.FollowSpool
	case errors.As(err, new(*stall)), errors.Is(err, context.DeadlineExceeded), isCall && ce.Code() == connect.CodeDeadlineExceeded:
		return api.FollowStalled
	case errors.Is(err, ledger.ErrDelta), errors.Is(err, delta.ErrDamaged), errors.Is(err, delta.ErrFormat), errors.As(err, new(*receipt.Error)):
		return api.FollowNotVerified
	case errors.Is(err, ledger.ErrDiskFull), errors.As(err, new(*fs.PathError)):
		return api.FollowDisk
	case errors.As(err, new(*redirected)):
		return api.FollowAnswer
	case !isCall:
		return api.FollowOther
	case connect.IsWireError(ce) && (ce.Code() == connect.CodeUnauthenticated || ce.Code() == connect.CodePermissionDenied):
		return api.FollowRefused
	case connect.IsWireError(ce), ce.Code() == connect.CodeUnavailable && !errors.As(err, new(net.Error)):
		return api.FollowServer
	case ce.Code() == connect.CodeUnavailable:
		return api.FollowUnreachable
	}
	return api.FollowAnswer
}

// followText returns an error for the log and for operators, with the remedy.
// It is bounded, and safe to print.
func followText(err error) string {
	text := strings.TrimSuffix(remote.Reason(err), ".")
	cause := followCause(err)
	switch remedy := remote.FollowRemedy(err); {
	case cause == api.FollowStalled: // it has a remedy
	case remedy != "":
		text += ": " + strings.TrimSuffix(remedy, ".")
	case cause == api.FollowAnswer && !errors.As(err, new(*redirected)):
		text += ": this is not the answer of a ledger: check the address in --follow, and what lies between"
	case receiptCode(err) == receipt.CheckpointUnsigned:
		text += ": if the log's key has changed, replace the file policy of the replica, and restart it"
	}
	text = term.Escape(text)
	if r := []rune(text); len(r) > followErrors {
		text = string(r[:followErrors]) + "…"
	}
	return text
}

func receiptCode(err error) receipt.Code {
	if e, ok := errors.AsType[*receipt.Error](err); ok {
		return e.Code
	}
	return ""
}
