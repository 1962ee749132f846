package receipt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"muniment.dev/muniment/internal/charset"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// MediaTypePrefix is what the media types of all versions begin with.
const MediaTypePrefix = "application/vnd.muniment.receipt."

// MediaType is the media type of a receipt.
const MediaType = MediaTypePrefix + "v2+json"

// A Form determines the parts of a receipt. See docs/spec/receipt.md, section
// 1.
type Form string

// The forms of a receipt.
const (
	Full          Form = "full"
	Detached      Form = "detached"
	Shared        Form = "shared"
	PayloadErased Form = "payload-erased"
	HeaderErased  Form = "header-erased"
)

// has reports which openings the form contains, and whether it is a valid form.
// Without a link or header, a receipt contains its hash.
func (f Form) has() (link, header, payload, ok bool) {
	switch f {
	case Full, Detached:
		return true, true, true, true
	case Shared:
		return false, true, true, true
	case PayloadErased:
		return true, true, false, true
	case HeaderErased:
		return true, false, false, true
	}
	return false, false, false, false
}

// A Receipt contains those openings of an entry that its form includes, and the
// proof that the entry is in the log.
type Receipt struct {
	Form    Form
	Tag     entry.Hash
	Time    uint64          // Unix milliseconds
	Link    *LinkOpening    // nil: see LinkHash
	Header  *HeaderOpening  // nil: see HeaderHash
	Payload *PayloadOpening // nil: erased

	LinkHash   entry.Hash
	HeaderHash entry.Hash

	Proof []byte // tlog-proof, verbatim
}

// A LinkOpening is the input of the link hash.
type LinkOpening struct {
	Salt     entry.Salt
	StreamID entry.Hash
	Seq      uint64
	Prev     entry.Hash
}

// A HeaderOpening is the input of the header hash.
type HeaderOpening struct {
	Salt    entry.Salt
	Content []byte // the header, verbatim
}

// A PayloadOpening is the input of the payload's commitment.
type PayloadOpening struct {
	Salt    entry.Salt
	Content []byte // nil: not in the receipt
}

// AppendJSON appends the receipt's JSON to b. It returns an error if the
// receipt's parts do not match its form.
func (r *Receipt) AppendJSON(b []byte) ([]byte, error) {
	w, err := r.appendOpening(b)
	if err != nil {
		return nil, err
	}
	w.Member("proof", string(r.Proof))
	w.Close('}')
	return w.Text, w.Err
}

// A ProofTail is the part of a proof that all receipts at a checkpoint share,
// encoded for JSON.
type ProofTail struct{ quoted, signed []byte }

// Checkpoint returns the signed checkpoint of the tail.
func (t *ProofTail) Checkpoint() []byte { return t.signed }

// NewProofTail returns the tail for a signed checkpoint.
func NewProofTail(signed []byte) ProofTail {
	w := strictjson.Writer{}
	w.Quote(string(signed))
	return ProofTail{w.Text[1:], signed} // without the opening quotation mark
}

// AppendJSONWithProof is AppendJSON for a proof of the given index, inclusion
// proof and checkpoint. It writes the proof directly into the JSON, and ignores
// the receipt's Proof.
func (r *Receipt) AppendJSONWithProof(b []byte, index uint64, path [][]byte, tail *ProofTail) ([]byte, error) {
	if b == nil {
		size := 700 + len(path)*46 + len(tail.quoted)
		if r.Header != nil {
			size += len(r.Header.Content) * 5 / 4
		}
		if r.Payload != nil {
			size += base64.StdEncoding.EncodedLen(len(r.Payload.Content))
		}
		b = make([]byte, 0, size)
	}
	w, err := r.appendOpening(b)
	if err != nil {
		return nil, err
	}
	w.Name("proof")
	b = append(w.Text, `"c2sp.org/tlog-proof@v1\nindex `...)
	b = strconv.AppendUint(b, index, 10)
	b = append(b, `\n`...)
	for _, h := range path {
		b = base64.StdEncoding.AppendEncode(b, h)
		b = append(b, `\n`...)
	}
	b = append(b, `\n`...)
	b = append(b, tail.quoted...)
	return append(b, '}'), w.Err
}

// appendOpening appends everything but the proof, and leaves the object open.
func (r *Receipt) appendOpening(b []byte) (*strictjson.Writer, error) {
	link, header, payload, ok := r.Form.has()
	if !ok || link != (r.Link != nil) || header != (r.Header != nil) || payload != (r.Payload != nil) {
		return nil, fmt.Errorf("receipt: its parts do not match the form %q", r.Form)
	}
	w := &strictjson.Writer{Text: append(b, '{')}
	w.Member("mediaType", MediaType)
	w.Member("form", string(r.Form))
	w.Member("tag", r.Tag.Base64())
	w.Integer("time", r.Time)
	if link {
		w.Name("link")
		w.Open('{')
		w.Base64("salt", r.Link.Salt[:])
		w.Base64("streamId", r.Link.StreamID[:])
		w.Integer("seq", r.Link.Seq)
		w.Base64("prev", r.Link.Prev[:])
		w.Close('}')
	} else {
		w.Base64("linkHash", r.LinkHash[:])
	}
	if header {
		w.Name("header")
		w.Open('{')
		w.Base64("salt", r.Header.Salt[:])
		w.Member("content", string(r.Header.Content))
		w.Close('}')
	} else {
		w.Base64("headerHash", r.HeaderHash[:])
	}
	if payload {
		w.Name("payload")
		w.Open('{')
		w.Base64("salt", r.Payload.Salt[:])
		if r.Payload.Content != nil {
			w.Base64("content", r.Payload.Content)
		}
		w.Close('}')
	}
	return w, nil
}

// Parse reads a receipt strictly. It verifies nothing, and does not parse the
// header or the proof. The error is an *Error that names the invalid member.
func Parse(data []byte) (*Receipt, error) {
	r := &Receipt{}
	if err := strictjson.Parse(data, r.read); err != nil {
		var e *Error
		if errors.As(err, &e) {
			return nil, e
		}
		if cause := charset.Explain(data); cause != "" {
			return nil, fail(ReceiptMalformed, "receipt: %s", cause)
		}
		return nil, fail(ReceiptMalformed, "receipt: %w", err)
	}
	return r, nil
}

func (r *Receipt) read(o *strictjson.Object) error {
	mt := o.String("mediaType")
	if o.Err() != nil {
		return nil
	}
	if mt != MediaType {
		return fail(ReceiptVersion, "receipt: mediaType %q instead of %q: another version of the format", mt, MediaType)
	}
	r.Form = Form(o.String("form"))
	link, header, payload, ok := r.Form.has()
	if !ok {
		return fmt.Errorf("form: %q is not a form of a receipt", string(r.Form))
	}
	o.Base64Fixed("tag", r.Tag[:])
	r.Time = o.Integer("time")
	if link {
		r.Link = &LinkOpening{}
		o.RequiredObject("link", r.Link.read)
	} else {
		o.Base64Fixed("linkHash", r.LinkHash[:])
	}
	if header {
		r.Header = &HeaderOpening{}
		o.RequiredObject("header", func(o *strictjson.Object) error {
			o.Base64Fixed("salt", r.Header.Salt[:])
			r.Header.Content = []byte(o.String("content"))
			return nil
		})
	} else {
		o.Base64Fixed("headerHash", r.HeaderHash[:])
	}
	if payload {
		r.Payload = &PayloadOpening{}
		o.RequiredObject("payload", func(o *strictjson.Object) error {
			o.Base64Fixed("salt", r.Payload.Salt[:])
			if o.Has("content") {
				r.Payload.Content = append([]byte{}, o.Base64("content")...)
			}
			return nil
		})
		if embedded := r.Payload.Content != nil; r.Form == Full && !embedded || r.Form == Detached && embedded {
			return errors.New("payload.content: required in the form full, not allowed in the form detached")
		}
	}
	r.Proof = []byte(o.String("proof"))
	return nil
}

func (l *LinkOpening) read(o *strictjson.Object) error {
	o.Base64Fixed("salt", l.Salt[:])
	o.Base64Fixed("streamId", l.StreamID[:])
	l.Seq = o.Integer("seq")
	o.Base64Fixed("prev", l.Prev[:])
	return nil
}
