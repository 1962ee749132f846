package witness

import "errors"

// What a witness may have done wrong, or says that the log has.
var (
	// ErrAhead says that the witness has cosigned a larger tree than this log
	// has: the log was rolled back, or another server signs with its key.
	ErrAhead = errors.New("it has cosigned a larger tree than this log has")
	// ErrInconsistent says that the witness has cosigned a tree that this log's
	// is no continuation of.
	ErrInconsistent = errors.New("it has cosigned a tree that is not a beginning of this log's")
	// ErrUnknownLog says that the witness doesn't know the log.
	ErrUnknownLog = errors.New("it does not know this log; give its operator the log's key")
	// ErrKeyRefused says that the witness has another key for the log.
	ErrKeyRefused = errors.New("it knows this log by another key; give its operator the log's key")
	// ErrRequest says that the witness could not read the request.
	ErrRequest = errors.New("it calls the request malformed")
	// ErrAnswer says that the witness's answer is not one of the protocol.
	ErrAnswer = errors.New("its answer is not one of C2SP tlog-witness")
	// ErrCosignature says that the answer has no valid cosignature of this
	// checkpoint by one of the witness's keys, or not by all of them.
	ErrCosignature = errors.New("its answer does not have its cosignature of this checkpoint")
	// ErrUnreachable says that there was no answer, none in time, or one that
	// asks to come again.
	ErrUnreachable = errors.New("no answer")
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
	return "log" // the log could not make a proof, or keep the cosignature
}
