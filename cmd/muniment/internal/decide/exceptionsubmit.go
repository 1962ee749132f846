package decide

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
)

type exceptionSubmitCmd struct {
	Spool string `arg:"" help:"Folder with the signed requests, as gate --spool has written them." type:"path"`
	remote.Flags
	term.ResultFlags
}

func (exceptionSubmitCmd) Help() string {
	return `Appends the requests for break-glass that were signed while the ledger was down, and removes them from the spool. Any credentials that may
append exception-request do: the signature identifies the person. A request that the ledger refuses stays in the spool.

Exit code: 0 all recorded; 1 some refused; 2 no answer.

Example:
  muniment exception submit /var/spool/muniment --token-file acme.token`
}

// A submittedUse is the result for one document of a spool.
type submittedUse struct {
	Document  string  `json:"document"` // digest
	Exception string  `json:"exception,omitempty"`
	Entry     *uint64 `json:"entry,omitempty"`
	Refused   string  `json:"refused,omitempty"`
}

// Text implements term.Result.
func (r *submittedUse) Text() string {
	if r.Entry == nil {
		return fmt.Sprintf("%s refused: %s\n", r.Document, term.Quoted(r.Refused))
	}
	return fmt.Sprintf("%s recorded (entry %d)\n", term.Quoted(r.Exception), *r.Entry)
}

func (c *exceptionSubmitCmd) Run(a *term.App) error {
	s, err := spool.Open(c.Spool)
	if err != nil {
		return err
	}
	defer s.Close()
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	digests, err := s.Digests()
	if err != nil {
		return err
	}
	var rows []*submittedUse
	refused := 0
	for _, digest := range digests {
		r, err := submitSpooled(a.Ctx, client, s, digest)
		if err != nil {
			return errors.Join(term.PrintRows(a, c.ResultFlags, rows, ""), err)
		}
		if r == nil {
			continue
		}
		if rows = append(rows, r); r.Entry == nil {
			refused++
		}
	}
	if err := term.PrintRows(a, c.ResultFlags, rows, "no requests"); err != nil || refused == 0 {
		return err
	}
	return term.ExitWith(term.ExitNo, fmt.Errorf("%s refused, and kept in the spool", term.Count(refused, "request")))
}

// submitSpooled submits a document of a spool, and removes it once it is
// recorded. It returns nil for documents of other types.
func submitSpooled(ctx context.Context, client *muniment.Client, s *spool.Spool, digest string) (*submittedUse, error) {
	r := &submittedUse{Document: digest}
	document, err := s.Get(digest)
	if errors.Is(err, spool.ErrChanged) {
		r.Refused = err.Error()
		return r, nil
	} else if err != nil {
		return nil, err
	}
	if spool.Type(document) != kinds.BreakGlassType {
		return nil, nil
	}
	m, err := signedRequest(document)
	if err != nil {
		r.Refused = err.Error()
		return r, nil
	}
	r.Exception = m.Id
	index, err := submitSigned(ctx, client, document)
	if err == nil {
		r.Entry = &index
		return r, s.Remove(digest)
	}
	if no, ok := errors.AsType[*term.ExitError](err); ok && no.Code == term.ExitNo {
		r.Refused = err.Error()
		return r, nil
	}
	return nil, err
}

// signedRequest returns the request in an envelope.
func signedRequest(envelope []byte) (*munimentv1.ExceptionRequest, error) {
	e, err := dsse.Parse(envelope)
	if err != nil {
		return nil, err
	}
	m := &munimentv1.ExceptionRequest{}
	if err := protojson.Unmarshal(e.Payload, m); err != nil {
		return nil, plain.DecodeError(err)
	}
	return m, nil
}

// submitSigned appends a signed request and returns the index of its entry.
// The digest of the envelope is the idempotency key.
func submitSigned(ctx context.Context, client *muniment.Client, envelope []byte) (uint64, error) {
	_, key, _ := strings.Cut(entry.SHA256(envelope), ":")
	r, err := client.Append(ctx, muniment.Submission{Kind: kindname.ExceptionRequest, Payload: envelope, IdempotencyKey: key})
	if err == nil {
		err = r.Err
	}
	if isRefusal(err) {
		if index, known := recordedAs(ctx, client, envelope); known {
			return index, nil
		}
		err = term.ExitWith(term.ExitNo, errors.New(strings.TrimPrefix(remote.ErrorText(err), "--kind: ")))
	}
	return r.Index, err
}

// recordedAs returns the entry that has recorded a signed request, by any
// submitter. A caller that cannot read finds none.
func recordedAs(ctx context.Context, client *muniment.Client, envelope []byte) (index uint64, known bool) {
	m, err := signedRequest(envelope)
	if err != nil {
		return 0, false
	}
	filter := &munimentv1.Filter{Kind: kindname.ExceptionRequest, Attribute: "exception=" + m.Id}
	_ = eachEntry(ctx, client, filter, munimentv1.Order_ORDER_OLDEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
		var payload bytes.Buffer
		if _, err := client.ReadPayload(ctx, e.Index, &payload); err != nil {
			return false, err
		}
		index, known = e.Index, bytes.Equal(payload.Bytes(), envelope)
		return !known, nil
	})
	return index, known
}
