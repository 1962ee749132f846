package objects

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"muniment.dev/muniment/ledger/store"
)

var (
	// ErrMissing is the error of an object that is not in the bucket.
	ErrMissing = errors.New("no such object")
	// ErrWrong is the error of an object with other bytes than were written.
	ErrWrong = errors.New("not what was written")
	// ErrExists is the error of an object that was written in the meantime, by
	// this or by another program.
	ErrExists = errors.New("the object was written before")

	errNoBucket       = errors.New("there is no such bucket: create it, or correct the URL in the setting")
	errNoCredentials  = errors.New("no credentials")
	errNotImplemented = errors.New("not implemented by the storage")
)

// try makes attempts until one succeeds, or fails for a reason that does not
// pass. The error of the last is store.ErrUnavailable if that reason may pass.
func (b *Bucket) try(ctx context.Context, name string, attempt func(context.Context) error) error {
	what := b.name
	if name != "" {
		what += "/" + name
	}
	var err error
	for n := range b.attempts {
		if n > 0 && !sleep(ctx, b.delay(n)) {
			break
		}
		if err = b.once(ctx, attempt); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
		if definite := classify(err); definite != nil {
			return fmt.Errorf("%s: %w", what, definite)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w: check that it works and can be reached (%d attempts, the last: %s)", what, store.ErrUnavailable, b.attempts, reason(err))
}

// reason returns the part of the library's error that names the cause.
func reason(err error) string {
	var send *smithyhttp.RequestSendError
	if errors.As(err, &send) {
		return send.Err.Error()
	}
	if status, code := answer(err); status != 0 {
		return fmt.Sprintf("status %d (%s)", status, code)
	}
	return err.Error()
}

// answer returns the status and the code of the storage's answer, or 0.
func answer(err error) (status int, code string) {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	return status, code
}

func (b *Bucket) once(ctx context.Context, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	return attempt(ctx)
}

// delay returns the pause before an attempt, of which half is random.
func (b *Bucket) delay(attempt int) time.Duration {
	d := b.pause << (attempt - 1)
	return d/2 + rand.N(d/2+1)
}

// sleep reports whether the time has passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// classify returns the error for a reason that does not pass, or nil. Errors of
// the storage are given by their code: their text is the storage's own.
func classify(err error) error {
	for _, own := range []error{ErrMissing, ErrWrong, errNoCredentials} {
		if errors.Is(err, own) {
			if own == errNoCredentials {
				return fmt.Errorf("%w: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give credentials=FILE (%w)", own, err)
			}
			return err
		}
	}
	status, code := answer(err)
	switch code {
	case "NoSuchKey", "NotFound", "NoSuchVersion":
		return fmt.Errorf("%w (%s)", ErrMissing, code)
	case "NoSuchBucket":
		return errNoBucket
	case "PreconditionFailed":
		return ErrExists
	case "ConditionalRequestConflict":
		return nil // another condition is being checked
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable":
		return nil // damaged on the way, or busy
	case "RequestTimeTooSkewed":
		return fmt.Errorf("the storage refuses the time of this machine (%s): set the clock", code)
	case "NotImplemented", "VersioningNotConfigured":
		return fmt.Errorf("%w (%s)", errNotImplemented, code)
	}
	switch {
	case status == http.StatusNotImplemented:
		return errNotImplemented
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == 0, status < 300:
		return nil
	case status == http.StatusNotFound:
		return ErrMissing
	case status == http.StatusPreconditionFailed:
		return ErrExists
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("refused with status %d (%s): check the credentials, and the permissions that docs/scale-out.md lists", status, code)
	case status < 400:
		return fmt.Errorf("redirected with status %d (%s): correct the region and the endpoint in the setting", status, code)
	}
	return fmt.Errorf("refused with status %d (%s)", status, code)
}
