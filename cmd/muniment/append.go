package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/schollz/progressbar/v3"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger/receipt"
)

type appendCmd struct {
	Files []string `arg:"" help:"Files; folders, of which every file below is taken; or - for standard input." predictor:"file"`
	serverFlags
	ReceiptDir     string `help:"Folder for the receipts, written as <file name>.receipt.json." placeholder:"DIR" default:"."`
	MediaType      string `help:"Media type of the evidence. Needed for what is not a Sigstore bundle, DSSE envelope or in-toto statement." placeholder:"TYPE"`
	Kind           string `help:"Kind of the entries." default:"attestation"`
	IdempotencyKey string `help:"For kinds that record events: names the event, so that a rerun does not record it twice. Default: the SHA-256 of the file." placeholder:"KEY"`
	Detached       bool   `help:"Leave the payload out of the receipts."`
	NoReceipts     bool   `help:"Write no receipts; they can be fetched later."`
	Policy         string `help:"Verify each receipt against this policy before it is written." type:"path" env:"MUNIMENT_POLICY" predictor:"file"`
	StreamKey      string `help:"With --policy: check each receipt's tag, too." type:"path" env:"MUNIMENT_STREAM_KEY" predictor:"file"`
	JSON           bool   `help:"Print one JSON object for each file."`
}

func (appendCmd) Help() string {
	return `Running it again is harmless: what is recorded already gives its receipt again.

Exit code: 0 all have receipts; 1 some don't; 2 nothing could be done.

Examples:
  muniment append provenance.sigstore.json --token-file acme.token --receipt-dir receipts
  muniment append --media-type application/spdx+json sbom.spdx.json
  muniment append build/attestations/ --detached --policy policy
  syft . -o cyclonedx-json | muniment append - --media-type application/vnd.cyclonedx+json`
}

// A piece of evidence on its way to the server.
type piece struct {
	name    string // as given
	receipt string // path of its receipt
	sub     muniment.Submission
	path    string // "" for standard input
}

const (
	groupEntries = 200
	groupBytes   = 16 << 20
)

func (c *appendCmd) Run(a *app) error {
	if c.StreamKey != "" && c.Policy == "" {
		return errors.New("--stream-key needs --policy")
	}
	policy, key, err := optionalPolicy(c.Policy, c.StreamKey)
	if err != nil {
		return err
	}
	client, err := c.client(policy, key)
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
		if err := os.MkdirAll(c.ReceiptDir, 0o755); err != nil {
			return fmt.Errorf("--receipt-dir: %w", err)
		}
	}
	bar := a.progress(int64(len(pieces)), "append")
	recorded, duplicates, failed := 0, 0, 0
	for len(pieces) > 0 {
		group, rest := c.group(a, pieces)
		pieces = rest
		if err := c.send(a, client, group, bar, &recorded, &duplicates, &failed); err != nil {
			return err
		}
	}
	_ = bar.Finish()
	if !c.JSON {
		verified := ""
		if policy == nil && recorded > 0 {
			verified = "; not verified yet: give --policy, or run 'muniment verify'"
		}
		fmt.Fprintf(a.stderr, "%d with receipts (%d of them recorded before), %d failed%s\n", recorded, duplicates, failed, verified)
	}
	if failed > 0 {
		return exitWith(exitNo, nil)
	}
	return nil
}

// collect finds the files. It reads none of them.
func (c *appendCmd) collect() ([]piece, error) {
	var out []piece
	add := func(name, path string) error {
		base := filepath.Base(name)
		if path == "" {
			base = "stdin"
		}
		out = append(out, piece{name: name, path: path, receipt: filepath.Join(c.ReceiptDir, base+".receipt.json")})
		return nil
	}
	for _, f := range c.Files {
		if f == "-" {
			if err := add(f, ""); err != nil {
				return nil, err
			}
			continue
		}
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if err := add(f, f); err != nil {
				return nil, err
			}
			continue
		}
		before := len(out)
		err = filepath.WalkDir(f, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".receipt.json") {
				return err
			}
			return add(path, path)
		})
		if err != nil {
			return nil, err
		}
		for i := before; i < len(out); i++ { // keep apart what has the same name in different folders
			rel, err := filepath.Rel(f, out[i].path)
			if err != nil {
				return nil, err
			}
			out[i].receipt = filepath.Join(c.ReceiptDir, rel+".receipt.json")
		}
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

// group reads as many pieces as go into one call. A file that can't be read is reported by its missing payload.
func (c *appendCmd) group(a *app, pieces []piece) (group, rest []piece) {
	size := 0
	for i := range pieces {
		p := &pieces[i]
		if len(group) == groupEntries || size > groupBytes {
			return group, pieces[i:]
		}
		var err error
		if p.path == "" {
			p.sub.Payload, err = io.ReadAll(a.stdin)
		} else {
			if info, serr := os.Stat(p.path); serr == nil && len(group) > 0 && size+int(info.Size()) > groupBytes {
				return group, pieces[i:]
			}
			p.sub.Payload, err = os.ReadFile(p.path)
		}
		if err != nil {
			fmt.Fprintln(a.stderr, "muniment:", err)
		}
		size += len(p.sub.Payload)
		p.sub.Kind, p.sub.MediaType = c.Kind, c.MediaType
		if ingest.IsEvent(c.Kind) {
			if p.sub.IdempotencyKey = c.IdempotencyKey; p.sub.IdempotencyKey == "" {
				p.sub.IdempotencyKey = fmt.Sprintf("sha256:%x", sha256.Sum256(p.sub.Payload))
			}
		} else {
			p.sub.IdempotencyKey = c.IdempotencyKey // refused by the server, with the reason
		}
		group = append(group, *p)
	}
	return group, nil
}

func (c *appendCmd) send(a *app, client *muniment.Client, group []piece, bar *progressbar.ProgressBar, recorded, duplicates, failed *int) error {
	subs := make([]muniment.Submission, len(group))
	for i := range group {
		subs[i] = group[i].sub
	}
	results, err := client.AppendBatch(a.ctx, subs)
	if err != nil {
		return err
	}
	for i, r := range results {
		p := &group[i]
		if r.Err == nil && !c.NoReceipts {
			r.Err = c.writeReceipt(p, r.Receipt)
		}
		_ = bar.Add(1)
		if r.Err != nil {
			*failed++
		} else if *recorded++; r.Duplicate {
			*duplicates++
		}
		if err := c.tell(a, p, &r); err != nil {
			return err
		}
	}
	return nil
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
	if err := os.MkdirAll(filepath.Dir(p.receipt), 0o755); err != nil {
		return err
	}
	return replaceFile(p.receipt, append(out, '\n'))
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
		fmt.Fprintf(a.stderr, "%s: %v\n", p.name, r.Err)
	case r.Duplicate:
		fmt.Fprintf(a.stdout, "%d\t%s\t%s (recorded before)\n", r.Index, p.name, path)
	default:
		fmt.Fprintf(a.stdout, "%d\t%s\t%s\n", r.Index, p.name, path)
	}
	return nil
}
