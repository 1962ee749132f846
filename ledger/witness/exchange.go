package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
)

const (
	maxAnswer     = 64 << 10 // an ML-DSA-44 cosignature takes 3.3 KB
	maxConflicts  = 3        // in a row, before the response is an error
	sizeMediaType = "text/x.tlog.size"
)

// An endpoint is a witness: a URL and the keys that cosign there. One goroutine
// owns it, except for status.
type endpoint struct {
	name    string
	url     string // with add-checkpoint
	keys    []note.Verifier
	known   uint64 // size of the witness's last cosigned tree that the log has seen
	client  *http.Client
	timeout time.Duration // for one checkpoint
	status  status
}

// cosign submits the checkpoint, which is signed, and returns the witness's
// verified signature lines.
func (e *endpoint) cosign(ctx context.Context, s State, signed []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	for range maxConflicts {
		proof, err := s.Prove(ctx, e.known)
		if err != nil {
			return "", fmt.Errorf("prove consistency with size %d: %w", e.known, err)
		}
		answer, known, err := e.submit(ctx, e.known, proof, signed)
		if err != nil {
			return "", err
		}
		if answer != nil {
			e.known = s.Size
			return e.verify(signed, answer)
		}
		switch {
		case known > s.Size:
			return "", &aheadError{known, s.Size}
		case known == e.known:
			return "", fmt.Errorf("%w: a conflict with the size %d that was sent", ErrAnswer, known)
		}
		e.known = known
	}
	return "", fmt.Errorf("%w: a conflict with another size each time", ErrAnswer)
}

// An aheadError is ErrAhead with the size that the witness has seen.
type aheadError struct{ known, size uint64 }

func (e *aheadError) Error() string {
	return fmt.Sprintf("%v: %d entries instead of %d", ErrAhead, e.known, e.size)
}

func (e *aheadError) Unwrap() error { return ErrAhead }

// submit performs one exchange. It returns the response, or nil and the
// witness's size if that is not old.
func (e *endpoint) submit(ctx context.Context, old uint64, proof []entry.Hash, signed []byte) (answer []byte, known uint64, err error) {
	body := fmt.Appendf(nil, "old %d\n", old)
	for i := range proof {
		body = base64.StdEncoding.AppendEncode(body, proof[i][:])
		body = append(body, '\n')
	}
	body = append(body, '\n')
	body = append(body, signed...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	res, err := e.client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if len(answer) > maxAnswer {
		return nil, 0, fmt.Errorf("%w: longer than %d bytes", ErrAnswer, maxAnswer)
	}
	switch res.StatusCode {
	case http.StatusOK:
		return answer, 0, nil
	case http.StatusConflict:
		known, err := strconv.ParseUint(strings.TrimSuffix(string(answer), "\n"), 10, 63)
		if err != nil || res.Header.Get("Content-Type") != sizeMediaType {
			return nil, 0, fmt.Errorf("%w: a conflict without a size", ErrAnswer)
		}
		return nil, known, nil
	case http.StatusUnprocessableEntity:
		return nil, 0, fmt.Errorf("%w, from size %d", ErrInconsistent, old)
	case http.StatusNotFound:
		return nil, 0, ErrUnknownLog
	case http.StatusForbidden:
		return nil, 0, ErrKeyRefused
	case http.StatusBadRequest:
		return nil, 0, ErrRequest
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, 0, fmt.Errorf("%w: %s", ErrUnreachable, res.Status)
	}
	return nil, 0, fmt.Errorf("%w: HTTP status %d", ErrAnswer, res.StatusCode)
}

// verify returns the lines of the answer that are valid cosignatures of the
// checkpoint by the witness's keys. It can return lines together with an error.
func (e *endpoint) verify(signed, answer []byte) (string, error) {
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	n, err := note.Open(fmt.Appendf(nil, "%s\n\n%s", text, answer), note.VerifierList(e.keys...))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCosignature, withoutNote(err))
	}
	var lines strings.Builder
	for _, s := range n.Sigs {
		if err := checkTime(s); err != nil {
			return "", fmt.Errorf("%w: %w", ErrCosignature, err)
		}
		fmt.Fprintf(&lines, "— %s %s\n", s.Name, s.Base64)
	}
	if len(n.Sigs) < len(e.keys) {
		return lines.String(), fmt.Errorf("%w: only %d of its %d keys in the policy have signed", ErrCosignature, len(n.Sigs), len(e.keys))
	}
	return lines.String(), nil
}

// withoutNote describes an error of note.Open without repeating the witness's
// text.
func withoutNote(err error) error {
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return errors.New("no signature by one of its keys in the policy")
	case errors.As(err, &invalid):
		return fmt.Errorf("the signature by %s+%08x does not verify", invalid.Name, invalid.Hash)
	}
	return errors.New("malformed signature lines")
}

// checkTime checks that a cosignature has a time, as C2SP tlog-witness
// requires.
func checkTime(s note.Signature) error {
	b, err := base64.StdEncoding.DecodeString(s.Base64)
	if err != nil || len(b) < 12 {
		return errors.New("it has no time")
	}
	if t := binary.BigEndian.Uint64(b[4:]); t == 0 || t > math.MaxInt64 {
		return fmt.Errorf("its time is %d", t)
	}
	return nil
}
