package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/schollz/progressbar/v3"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger/receipt"
)

type appendCmd struct {
	Files []string `arg:"" help:"Files; folders, of which every file below is taken; or - for standard input." predictor:"file"`
	serverFlags
	ReceiptDir     string        `help:"Folder for the receipts, written as <file name>.receipt.json." placeholder:"DIR" default:"."`
	MediaType      string        `help:"Media type of the evidence. Needed for what is not a Sigstore bundle, DSSE envelope or in-toto statement." placeholder:"TYPE"`
	Kind           string        `help:"Kind of the entries." default:"attestation"`
	IdempotencyKey string        `help:"For kinds that record events: names the event, so that a rerun does not record it twice. Default: the SHA-256 of the file." placeholder:"KEY"`
	Detached       bool          `help:"Leave the payload out of the receipts."`
	NoReceipts     bool          `help:"Write no receipts; they can be fetched later."`
	Policy         string        `help:"Verify each receipt against this policy before it is written." env:"MUNIMENT_POLICY" predictor:"file"`
	StreamKey      string        `help:"With --policy: check each receipt's tag, too." env:"MUNIMENT_STREAM_KEY" predictor:"file"`
	Wait           string        `help:"published: answer as soon as the evidence is recorded. witnessed: wait for the cosignatures that the log's policy asks for, and put them into the receipts; a --policy that asks for them implies it." enum:"published,witnessed" default:"published"`
	WaitTime       time.Duration `help:"How long to wait for cosignatures." default:"1m" placeholder:"DURATION"`
	JSON           bool          `help:"Print one JSON object for each file."`
}

func (appendCmd) Help() string {
	return `Running it again is harmless: what is recorded already gives its receipt again.

Exit code: 0 all have receipts; 1 some don't; 2 nothing could be done, or the wait for witnesses was too long.

Examples:
  muniment append provenance.sigstore.json --token-file acme.token --receipt-dir receipts
  muniment append --media-type application/spdx+json sbom.spdx.json
  muniment append build/attestations/ --detached --policy policy
  muniment append provenance.sigstore.json --wait witnessed --policy policy
  syft . -o cyclonedx-json | muniment append - --media-type application/vnd.cyclonedx+json`
}

// A piece of evidence on its way to the server.
type piece struct {
	name    string // as given
	receipt string // path of its receipt
	sub     muniment.Submission
	path    string // "" for standard input
	err     error  // it can't be sent
}

const (
	groupEntries = 200
	groupBytes   = 16 << 20
	maxFileBytes = 60 << 20 // what a call of 64 MiB has room for; the server's own limit may be lower
)

func (c *appendCmd) Run(a *app) error {
	if c.StreamKey != "" && c.Policy == "" {
		return errors.New("--stream-key needs --policy")
	}
	policy, key, err := optionalPolicy(c.Policy, c.StreamKey)
	if err != nil {
		return err
	}
	witnessed := c.Wait == "witnessed" || policy != nil && (policy.RequiresWitness() || policy.PostQuantum())
	client, err := c.connect(muniment.Options{Policy: policy, StreamKey: key, Witnessed: witnessed})
	if err != nil {
		return err
	}
	pieces, err := c.collect()
	if err != nil {
		return err
	}
	if c.IdempotencyKey != "" && len(pieces) > 1 {
		return errors.New("--idempotency-key names one event: append one file at a time")
	}
	if !c.NoReceipts {
		if err := os.MkdirAll(c.ReceiptDir, 0o777); err != nil {
			return fmt.Errorf("--receipt-dir: %w", err)
		}
	}
	t := &tally{witnessed: witnessed, bar: a.progress(int64(len(pieces)), "append")}
	for len(pieces) > 0 {
		var group []piece
		group, pieces = c.group(a, pieces)
		if err = c.send(a, client, group, t); err != nil {
			break
		}
	}
	_ = t.bar.Finish()
	if !c.JSON {
		verified := ""
		if policy == nil && t.recorded > 0 {
			verified = "; not verified yet: give --policy, or run 'muniment verify'"
		}
		fmt.Fprintf(a.stderr, "%d with receipts (%d of them recorded before), %d failed%s\n", t.recorded, t.duplicates, t.failed, verified)
	}
	if err != nil {
		return err
	}
	if t.failed > 0 {
		return exitWith(exitNo, nil)
	}
	return nil
}

// collect finds the files. It reads none of them.
func (c *appendCmd) collect() ([]piece, error) {
	var out []piece
	for _, f := range c.Files {
		if f == "-" {
			out = append(out, piece{name: f, receipt: filepath.Join(c.ReceiptDir, "stdin.receipt.json")})
			continue
		}
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, piece{name: f, path: f, receipt: filepath.Join(c.ReceiptDir, filepath.Base(f)+".receipt.json")})
			continue
		}
		below, err := c.walk(f)
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	seen := map[string]string{}
	for _, p := range out {
		if other, ok := seen[p.receipt]; ok && !c.NoReceipts {
			return nil, fmt.Errorf("%s and %s would both have the receipt %s; append them one after the other with different --receipt-dir", other, p.name, p.receipt)
		}
		seen[p.receipt] = p.name
	}
	if len(out) == 0 {
		return nil, errors.New("no files there")
	}
	return out, nil
}

// walk returns the files below a folder. Links to files are followed, as in a folder that a cluster mounts; those to folders are not.
func (c *appendCmd) walk(dir string) ([]piece, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	var out []piece
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".receipt.json") {
			return err
		}
		if info, err := os.Stat(path); err != nil {
			return err
		} else if !info.Mode().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		// The folder's own structure keeps apart what has the same name in different places.
		out = append(out, piece{name: filepath.Join(dir, rel), path: path, receipt: filepath.Join(c.ReceiptDir, rel+".receipt.json")})
		return nil
	})
	return out, err
}

// group reads as many pieces as go into one call. A file that can't be read, or is too large for a call, has an error instead of a payload.
func (c *appendCmd) group(a *app, pieces []piece) (group, rest []piece) {
	size := int64(0)
	for i := range pieces {
		p := &pieces[i]
		if len(group) == groupEntries || size > groupBytes {
			return group, pieces[i:]
		}
		if info, err := os.Stat(p.path); p.path != "" && err == nil {
			if len(group) > 0 && size+info.Size() > groupBytes {
				return group, pieces[i:]
			}
			if info.Size() > maxFileBytes {
				p.err = fmt.Errorf("%d bytes; one call takes %d", info.Size(), maxFileBytes)
				group = append(group, *p)
				continue
			}
		}
		p.sub.Payload, p.err = c.read(a, p)
		size += int64(len(p.sub.Payload))
		p.sub.Kind, p.sub.MediaType, p.sub.IdempotencyKey = c.Kind, c.MediaType, c.IdempotencyKey
		if ingest.IsEvent(c.Kind) && c.IdempotencyKey == "" {
			p.sub.IdempotencyKey = fmt.Sprintf("sha256:%x", sha256.Sum256(p.sub.Payload))
		}
		group = append(group, *p)
	}
	return group, nil
}

func (c *appendCmd) read(a *app, p *piece) ([]byte, error) {
	if p.path != "" {
		return os.ReadFile(p.path)
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() { // a terminal or pipe may never end
		data, err := io.ReadAll(io.LimitReader(a.stdin, maxFileBytes+1))
		if err == nil && len(data) > maxFileBytes {
			err = fmt.Errorf("more than %d bytes, which one call takes", maxFileBytes)
		}
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-a.ctx.Done():
		return nil, fmt.Errorf("standard input: %w", a.ctx.Err())
	}
}

// send makes one call for the pieces that could be read, and reports on all. What it returns ends the command.
func (c *appendCmd) send(a *app, client *muniment.Client, group []piece, t *tally) error {
	var subs []muniment.Submission
	for i := range group {
		if group[i].err == nil {
			subs = append(subs, group[i].sub)
		}
	}
	var results []muniment.Result
	if len(subs) > 0 {
		var err error
		ctx, cancel := a.ctx, context.CancelFunc(func() {})
		if t.witnessed {
			ctx, cancel = context.WithTimeout(ctx, c.WaitTime)
		}
		results, err = client.AppendBatch(ctx, subs)
		if t.witnessed && ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("not witnessed after %v: the evidence may be recorded; run the same command again, or fetch the receipts later with 'muniment receipt --witnessed'", c.WaitTime)
		}
		cancel()
		if code := connect.CodeOf(err); err != nil && len(subs) == 1 && (code == connect.CodeInvalidArgument || code == connect.CodeResourceExhausted) {
			results = []muniment.Result{{Err: err}} // this one is too large, others may not be
		} else if err != nil {
			return err
		}
	}
	for i := range group {
		p := &group[i]
		r := muniment.Result{Err: p.err}
		if p.err == nil {
			r, results = results[0], results[1:]
		}
		if r.Err == nil && !c.NoReceipts {
			r.Err = c.writeReceipt(p, r.Receipt)
		}
		t.add(&r)
		if err := c.tell(a, p, &r); err != nil {
			return err
		}
	}
	return a.ctx.Err()
}

// A tally counts what became of the pieces.
type tally struct {
	witnessed                    bool // that is what is waited for
	bar                          *progressbar.ProgressBar
	recorded, duplicates, failed int
}

func (t *tally) add(r *muniment.Result) {
	_ = t.bar.Add(1) // a bar that can't be drawn changes nothing
	switch {
	case r.Err != nil:
		t.failed++
	case r.Duplicate:
		t.duplicates++
		fallthrough
	default:
		t.recorded++
	}
}

func (c *appendCmd) writeReceipt(p *piece, detached []byte) error {
	out := detached
	if !c.Detached {
		r, err := receipt.Parse(detached)
		if err != nil {
			return err
		}
		if r.Form == receipt.Detached {
			r.Form, r.Payload.Content = receipt.Full, p.sub.Payload
			if out, err = r.AppendJSON(nil); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(p.receipt), 0o777); err != nil { // less what the umask takes away
		return err
	}
	if old, err := os.ReadFile(p.receipt); err == nil && !receiptOf(old, p.sub.Payload) {
		return fmt.Errorf("recorded, but %s is there and is not a receipt of this evidence; choose another --receipt-dir", p.receipt)
	}
	return replaceFile(p.receipt, append(out, '\n'))
}

// receiptOf says whether the file is a receipt for the payload, which may be replaced by a newer one.
func receiptOf(data, payload []byte) bool {
	r, err := receipt.Parse(data)
	if err != nil || r.Header == nil || r.Payload == nil {
		return false
	}
	h, err := receipt.ParseHeader(r.Header.Content)
	return err == nil && h.Payload.Commitment == receipt.Commitment(r.Payload.Salt, payload)
}

func (c *appendCmd) tell(a *app, p *piece, r *muniment.Result) error {
	path := p.receipt
	if c.NoReceipts {
		path = ""
	}
	if c.JSON {
		o := struct {
			File      string  `json:"file"`
			Index     *uint64 `json:"index,omitempty"`
			Duplicate bool    `json:"duplicate,omitempty"`
			Receipt   string  `json:"receipt,omitempty"`
			Error     string  `json:"error,omitempty"`
		}{File: p.name}
		if r.Err != nil {
			o.Error = r.Err.Error()
		} else {
			o.Index, o.Duplicate, o.Receipt = &r.Index, r.Duplicate, path
		}
		return writeJSON(a.stdout, o)
	}
	switch {
	case r.Err != nil:
		fmt.Fprintf(a.stderr, "%s: %s\n", quoted(p.name), printable(r.Err.Error()))
	case r.Duplicate:
		fmt.Fprintf(a.stdout, "%d\t%s\t%s (recorded before)\n", r.Index, quoted(p.name), quoted(path))
	default:
		fmt.Fprintf(a.stdout, "%d\t%s\t%s\n", r.Index, quoted(p.name), quoted(path))
	}
	return nil
}
