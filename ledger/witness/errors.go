package witness

import "errors"

// Errors of an exchange with a witness.
var (
	// ErrAhead means that the witness has cosigned a larger tree than the
	// log
	// has. The log was rolled back, or another server signs with its key.
	ErrAhead = errors.New("it has cosigned a larger tree than this log has")
	// ErrInconsistent means that the witness has cosigned a tree that the
	// log's
	// tree does not extend.
	ErrInconsistent = errors.New("it has cosigned a tree that this log's tree does not extend")
	// ErrUnknownLog means that the witness is not configured with the log.
	ErrUnknownLog = errors.New("it does not know this log; give its operator the log's key")
	// ErrKeyRefused means that the witness is configured with another key
	// for the log.
	ErrKeyRefused = errors.New("it is configured with another key for this log: give its operator the log's key")
	// ErrRequest means that the witness refused the request as malformed.
	ErrRequest = errors.New("it refused the request as malformed")
	// ErrAnswer means that the response does not follow the protocol.
	ErrAnswer = errors.New("its response does not follow C2SP tlog-witness")
	// ErrCosignature means that the response lacks a valid cosignature of the
	// checkpoint by one or all of the witness's keys.
	ErrCosignature = errors.New("its response lacks a valid cosignature of this checkpoint")
	// ErrUnreachable means that there was no response in time, or one that asks
	// for another attempt later.
	ErrUnreachable = errors.New("no response")
)

// labels are the names of the errors in metrics.
var labels = []struct {
	err   error
	label string
}{
	{ErrAhead, "ahead"},
	{ErrInconsistent, "inconsistent"},
	{ErrUnknownLog, "unknown_log"},
	{ErrKeyRefused, "key_refused"},
	{ErrRequest, "request"},
	{ErrAnswer, "answer"},
	{ErrCosignature, "cosignature"},
	{ErrUnreachable, "unreachable"},
}

func label(err error) string {
	for _, l := range labels {
		if errors.Is(err, l.err) {
			return l.label
		}
	}
	return "log" // the log could not prove consistency or store the cosignature
}
