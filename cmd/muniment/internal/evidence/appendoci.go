package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/verifiers/oci"
)

// A harvested describes where a registry has a document. It is part of the
// output with --json.
type harvested struct {
	Artifact string     `json:"artifact,omitempty"` // digest of the manifest
	Platform string     `json:"platform,omitempty"`
	Source   oci.Source `json:"source,omitempty"`
	Skipped  string     `json:"skipped,omitempty"` // reason for not recording it
}

// registries parses the references, before anything is recorded.
func (c *appendCmd) registries() ([]*oci.Registry, error) {
	switch {
	case len(c.Files) == 0:
		return nil, errors.New("--from-oci: no reference specified: name images or charts, such as registry.example.com/app:1.7.0")
	case c.ByReference != "" || c.MediaType != "" || c.IdempotencyKey != "":
		return nil, errors.New("--from-oci excludes --by-reference, --media-type and --idempotency-key")
	}
	var all []*oci.Registry
	for _, reference := range c.Files {
		r, err := c.Open(reference)
		if err != nil {
			return nil, fmt.Errorf("--from-oci: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// A harvester appends what is attached to artifacts in registries. It holds one
// group of documents at a time.
type harvester struct {
	*appendCmd
	app    *term.App
	client *muniment.Client
	tally  *tally

	group []piece
	size  int // bytes of the group's payloads
	// digests of the documents so far, because one document can be attached to
	// several artifacts
	seen map[string]bool
}

func (h *harvester) run(registries []*oci.Registry) error {
	h.seen = map[string]bool{}
	var silent []string // references without an answer
	for i, r := range registries {
		found := 0
		_, err := r.Harvest(h.app.Ctx, func(at *oci.Attachment, problem error) error {
			n, err := h.attachment(r.Repository(), at, problem)
			found += n
			return err
		})
		var sending *sendError
		if errors.As(err, &sending) {
			return sending.error
		}
		reference := h.Files[i]
		switch {
		case h.app.Ctx.Err() != nil:
			return h.app.Ctx.Err()
		case err != nil:
			silent = append(silent, term.Quoted(reference))
		case found == 0:
			err = errors.New("no attestation or signature is attached to it: attach one, for example with cosign attest")
		}
		if err != nil {
			h.group = append(h.group, piece{name: reference, harvest: &harvested{}, err: err})
		}
	}
	if err := h.flush(); err != nil {
		return err
	}
	if len(silent) > 0 {
		return fmt.Errorf("no complete answer about %s", strings.Join(silent, ", "))
	}
	return nil
}

// A sendError is an error of the ledger, not of a registry. It ends the
// command.
type sendError struct{ error }

// attachment adds an attachment to the group, and returns the number of
// documents found in it.
func (h *harvester) attachment(repository string, at *oci.Attachment, problem error) (found int, err error) {
	p := piece{name: repository + "@" + at.Digest, harvest: &harvested{Artifact: at.Artifact.Digest, Platform: at.Artifact.Platform, Source: at.Source}, err: problem}
	if at.Digest == "" {
		p.name = repository + "@" + at.Artifact.Digest
	}
	if problem == nil {
		document, err := at.Document()
		switch {
		case err != nil:
			p.err = err
		case document == nil:
			return 0, h.skip(&p, at.MediaType)
		case h.known(document.Data):
			return 1, nil
		default:
			p.sub.MediaType, p.sub.Payload = document.MediaType, document.Data
			p.receipt = filepath.Join(h.ReceiptDir, strings.Replace(at.Digest, ":", "-", 1)+".receipt.json")
			p.large = len(document.Data) > streamBytes
		}
	}
	return 1, h.add(p)
}

// known reports whether a document was already appended by this command.
func (h *harvester) known(data []byte) bool {
	sum := sha256.Sum256(data)
	key := hex.EncodeToString(sum[:])
	if h.seen[key] {
		return true
	}
	h.seen[key] = true
	return false
}

// add appends a large piece at once, and others with the rest of their group.
func (h *harvester) add(p piece) error {
	h.complete(&p)
	if p.large || len(h.group) == groupEntries || h.size+len(p.sub.Payload) > groupBytes {
		if err := h.flush(); err != nil {
			return err
		}
	}
	if p.large {
		if err := h.sendLarge(h.app, h.client, &p, h.tally); err != nil {
			return &sendError{err}
		}
		return nil
	}
	h.group, h.size = append(h.group, p), h.size+len(p.sub.Payload)
	return nil
}

func (h *harvester) flush() error {
	if len(h.group) == 0 {
		return nil
	}
	err := h.send(h.app, h.client, h.group, h.tally)
	h.group, h.size = nil, 0
	if err != nil {
		return &sendError{err}
	}
	return nil
}

// skip reports an attachment that is not an attestation.
func (h *harvester) skip(p *piece, mediaType string) error {
	if err := h.flush(); err != nil {
		return err
	}
	h.tally.skipped++
	if mediaType == "" {
		mediaType = "an artifact without a type"
	}
	p.harvest.Skipped = mediaType + " is not an attestation"
	if h.JSON {
		return term.WriteJSON(h.app.Stdout, struct {
			File string `json:"file"`
			*harvested
		}{p.name, p.harvest})
	}
	fmt.Fprintf(h.app.Stderr, "%s: skipped: %s\n", term.Quoted(p.name), term.Quoted(p.harvest.Skipped))
	return nil
}
