package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/schollz/progressbar/v3"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/oci"
	"muniment.dev/muniment/verifiers/shape"
)

type appendCmd struct {
	Files []string `arg:"" optional:"" help:"Files, folders (searched recursively), or - for standard input. With --from-oci: images or charts in registries." predictor:"file"`
	remote.Flags
	remote.RegistryFlags
	FromOCI        bool          `name:"from-oci" help:"Record the attestations and signatures that are attached to images or charts in registries, named as HOST/NAME:TAG or HOST/NAME@sha256:…, and to each platform of an index."`
	ReceiptDir     string        `help:"Folder to write receipts to, as <file name>.receipt.json." placeholder:"DIR" default:"."`
	MediaType      string        `help:"Media type of the evidence. Required unless the file is a Sigstore bundle, DSSE envelope or in-toto statement." placeholder:"TYPE"`
	Kind           string        `help:"Kind of the entries." default:"${kind}"`
	IdempotencyKey string        `help:"For kinds that record events: identifies the event, so that a rerun does not record it twice. Default: the file's SHA-256." placeholder:"KEY"`
	Detached       bool          `help:"Write receipts without the payload."`
	NoReceipts     bool          `help:"Write no receipts. They can be fetched later."`
	Policy         string        `help:"Trust policy to verify each receipt against before writing it." env:"MUNIMENT_POLICY" predictor:"file"`
	StreamKey      string        `help:"With --policy: also check each receipt's stream tag." env:"MUNIMENT_STREAM_KEY" predictor:"file"`
	Wait           string        `help:"published: return once the evidence is recorded. witnessed: wait for the cosignatures that the log's policy requires, and include them in the receipts. Implied by a --policy that requires cosignatures." enum:"published,witnessed" default:"published"`
	WaitTime       time.Duration `help:"How long to wait for cosignatures." default:"1m" placeholder:"DURATION"`
	ByReference    string        `help:"Record only the digest, size and location of evidence kept elsewhere. A FILE is checked against the digest, but not sent." placeholder:"sha256:…"`
	Location       string        `help:"With --by-reference: location of the evidence." placeholder:"URI"`
	Size           *uint64       `help:"With --by-reference and no FILE: size of the evidence." placeholder:"BYTES"`
	JSON           bool          `help:"Print one JSON object per file."`

	receipts *os.Root // ReceiptDir, so that no link leads out of it
	content  *os.File // large standard input, spooled to disk
}

func (appendCmd) Help() string {
	return `Running it again is safe: evidence that is already recorded gets its receipt again.

Files over 8 MiB are streamed, up to the server's limit (1 GiB by default). Their receipts don't contain
the payload: keep the file, and verify it with 'muniment verify --payload'.

A JSON Lines file of bundles, envelopes or statements, such as 'gh attestation download' writes, is
appended line by line. The receipt of line 2 is <file name>.2.receipt.json.

With --from-oci, the arguments are references to images and charts. Everything that verify-image finds there is
recorded if the admission policy accepts it. An attachment that the registry does not provide fails alone.
Receipts are named by the digest of the attestation.

Exit code: 0 all recorded, with receipts; 1 some failed; 2 no answer, or the witnesses did not cosign in time.

Examples:
  muniment append provenance.sigstore.json --token-file acme.token --receipt-dir receipts
  muniment append --media-type application/spdx+json sbom.spdx.json
  muniment append build/attestations/ --detached --policy policy
  muniment append provenance.sigstore.json --wait witnessed --policy policy
  syft . -o cyclonedx-json | muniment append - --media-type application/vnd.cyclonedx+json
  muniment append --from-oci registry.example.com/app:1.7.0 --receipt-dir receipts
  muniment append --by-reference sha256:2cf24dba… --location s3://scans/2026/11/scan.json --size 5368709120 --media-type application/json`
}

// A piece is one document to append.
type piece struct {
	name    string // as given on the command line
	receipt string // path of its receipt
	sub     muniment.Submission
	root    *os.Root // the folder that contains path, or nil
	path    string   // relative to root; "" for standard input
	err     error    // why it can't be sent

	large   bool     // sent as a stream
	content *os.File // large standard input, spooled to disk
	harvest *harvested
	// section is one document of a large file of JSON Lines, or nil for the
	// whole file.
	section *documents.Section
	split   bool // already checked for JSON Lines
}

const (
	groupEntries = 200
	groupBytes   = 16 << 20
	streamBytes  = 8 << 20 // larger files are sent as streams
)

func (c *appendCmd) Run(a *term.App) error {
	if c.StreamKey != "" && c.Policy == "" {
		return errors.New("--stream-key requires --policy")
	}
	policy, key, err := datadir.OptionalPolicy(c.Policy, c.StreamKey)
	if err != nil {
		return err
	}
	witnessed := c.Wait == "witnessed" || policy != nil && (policy.RequiresWitness() || policy.PostQuantum())
	client, err := c.Connect(muniment.Options{Policy: policy, StreamKey: key, Witnessed: witnessed})
	if err != nil {
		return err
	}
	var pieces []piece
	var registries []*oci.Registry
	switch {
	case c.FromOCI:
		registries, err = c.registries()
	case c.ByReference != "":
		if pieces, err = c.collect(); err == nil {
			pieces, err = c.reference(pieces)
		}
	default:
		pieces, err = c.collect()
	}
	if err != nil {
		return err
	}
	if c.IdempotencyKey != "" && len(pieces) > 1 {
		return errors.New("--idempotency-key identifies one event: append one file at a time")
	}
	if !c.NoReceipts {
		if err := ownfolder.CheckFolder(c.ReceiptDir); err != nil {
			return fmt.Errorf("--receipt-dir: %w", err)
		}
		if err := os.MkdirAll(c.ReceiptDir, 0o777); err != nil {
			return fmt.Errorf("--receipt-dir: %w", err)
		}
		if c.receipts, err = os.OpenRoot(c.ReceiptDir); err != nil {
			return fmt.Errorf("--receipt-dir: %w", err)
		}
		defer c.receipts.Close()
	}
	defer func() {
		if c.content != nil {
			c.content.Close()
		}
	}()
	t := &tally{witnessed: witnessed}
	if c.FromOCI {
		t.bar = a.ProgressCount("append")
		err = (&harvester{appendCmd: c, app: a, client: client, tally: t}).run(registries)
	} else {
		t.bar = a.Progress(int64(len(pieces)), "append")
		err = c.sendAll(a, client, pieces, t)
	}
	_ = t.bar.Finish()
	if !c.JSON && (err == nil || t.recorded+t.failed > 0) {
		fmt.Fprintf(a.Stderr, "%d appended (%d already recorded), %d failed%s\n", t.recorded, t.duplicates, t.failed, t.skips())
		if policy == nil && t.recorded > 0 && !c.NoReceipts {
			fmt.Fprintln(a.Stderr, "receipts not verified: use --policy, or run 'muniment verify'")
		}
	}
	if err != nil {
		return err
	}
	if t.failed > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// sendAll appends the pieces in groups.
func (c *appendCmd) sendAll(a *term.App, client *muniment.Client, pieces []piece, t *tally) (err error) {
	for len(pieces) > 0 && err == nil {
		var group []piece
		group, pieces = c.group(a, pieces)
		if err = a.Ctx.Err(); err != nil {
			break // the group may have an unread piece
		}
		if group[0].large {
			err = c.sendLarge(a, client, &group[0], t)
		} else {
			err = c.send(a, client, group, t)
		}
	}
	return err
}

// collect lists the files to append, without reading them.
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
			return nil, fmt.Errorf("%s and %s would both have the receipt %s: append them separately, each with its own --receipt-dir", other, p.name, p.receipt)
		}
		seen[p.receipt] = p.name
	}
	if len(out) == 0 && c.ByReference == "" {
		if slices.ContainsFunc(c.Files, isFolder) {
			return nil, errors.New("no files to append: receipts in folders (*.receipt.json) are left out")
		}
		return nil, errors.New("no files to append: name files or folders, or - for standard input")
	}
	return out, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// walk returns the files in a folder and its subfolders. It follows links
// within the folder, which volumes mounted by Kubernetes consist of. A link
// that leads out of the folder fails that file only: following it could record
// files that are not evidence.
func (c *appendCmd) walk(dir string) ([]piece, error) {
	root, err := os.OpenRoot(dir) // open until the command ends
	if err != nil {
		return nil, err
	}
	var out []piece
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".receipt.json") || wholefile.Temporary(d.Name()) {
			return err
		}
		rel := filepath.FromSlash(path)
		// Files of the same name in different subfolders need receipts of their
		// own, so keep the folder's structure.
		p := piece{name: filepath.Join(dir, rel), root: root, path: rel, receipt: filepath.Join(c.ReceiptDir, rel+".receipt.json")}
		if info, err := root.Stat(rel); err != nil {
			if d.Type()&fs.ModeSymlink == 0 {
				return err
			}
			p.err = fmt.Errorf("link not followed, because it is broken or leads out of the folder: append its target instead (%w)", err)
		} else if !info.Mode().IsRegular() {
			return nil
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// size returns the size of a piece, if it is known before reading.
func (p *piece) size() (int64, bool) {
	switch {
	case p.section != nil:
		return p.section.Size, true
	case p.path == "":
		return 0, false
	}
	info, err := p.stat()
	if err != nil {
		return 0, false
	}
	return info.Size(), true
}

// stat returns the file information of a piece.
func (p *piece) stat() (fs.FileInfo, error) {
	if p.root != nil {
		return p.root.Stat(p.path)
	}
	return os.Stat(p.path)
}

// group reads as many pieces as fit into one call, or returns one large piece.
// A piece that can't be read has err set instead of a payload.
func (c *appendCmd) group(a *term.App, pieces []piece) (group, rest []piece) {
	size := int64(0)
	for i := 0; i < len(pieces); i++ {
		p := &pieces[i]
		if len(group) == groupEntries || size > groupBytes {
			return group, pieces[i:]
		}
		if s, ok := p.size(); ok && p.sub.Payload == nil && p.err == nil {
			if len(group) > 0 && size+s > groupBytes {
				return group, pieces[i:]
			}
			p.large = s > streamBytes
		}
		if !p.large && p.sub.Payload == nil && p.err == nil {
			p.err = c.read(a, p)
			if p.err == nil && !p.large && len(p.sub.Payload) == 0 {
				p.err = errors.New("evidence is empty: it must have at least one byte")
			}
		}
		if p.large && len(group) > 0 {
			return group, pieces[i:]
		}
		if p.err == nil && !p.split {
			p.split = true
			pieces = slices.Replace(pieces, i, i+1, c.lines(p)...)
			if p = &pieces[i]; p.section != nil {
				i-- // a single line may be small enough for a group
				continue
			}
			p.large = p.large && p.err == nil // report the error, send nothing
		}
		size += int64(len(p.sub.Payload))
		c.complete(p)
		if p.large {
			return []piece{*p}, pieces[i+1:]
		}
		group = append(group, *p)
	}
	return group, nil
}

// complete sets what the flags determine about a submission.
func (c *appendCmd) complete(p *piece) {
	p.sub.Kind, p.sub.IdempotencyKey = c.Kind, c.IdempotencyKey
	if p.sub.MediaType == "" {
		p.sub.MediaType = c.MediaType
	}
	if !p.large && ingest.IsEvent(c.Kind) && c.IdempotencyKey == "" {
		p.sub.IdempotencyKey = entry.SHA256(p.sub.Payload)
	}
}

// lines splits a file of JSON Lines into one piece per document if each is a
// bundle, envelope or statement. Otherwise it returns the piece unchanged.
func (c *appendCmd) lines(p *piece) []piece {
	if c.MediaType != "" || c.ByReference != "" {
		return []piece{*p}
	}
	if p.large {
		return c.largeLines(p)
	}
	several, err := shape.Lines(p.sub.Payload)
	if err != nil {
		p.err = err
		return []piece{*p}
	}
	return c.split(p, len(several), func(one *piece, i int) { one.sub.Payload = several[i] })
}

// split returns one piece for each of a file's n documents, or the piece
// unchanged if n is 0.
func (c *appendCmd) split(p *piece, n int, set func(one *piece, i int)) []piece {
	if n > 0 && c.IdempotencyKey != "" {
		p.err = errors.New("--idempotency-key identifies one event, but the file contains several documents: split the file")
		n = 0
	}
	if n == 0 {
		return []piece{*p}
	}
	out := make([]piece, n)
	for i := range out {
		out[i] = *p
		out[i].name = term.LineName(p.name, i+1)
		out[i].receipt = fmt.Sprintf("%s.%d.receipt.json", strings.TrimSuffix(p.receipt, ".receipt.json"), i+1)
		set(&out[i], i)
	}
	return out
}

// read reads the payload of a piece, or marks the piece as large.
func (c *appendCmd) read(a *term.App, p *piece) (err error) {
	if p.section != nil {
		p.sub.Payload, err = p.readSection()
		return err
	}
	if p.path != "" {
		if p.root != nil {
			p.sub.Payload, err = bounded.ReadFileIn(p.root, p.path, streamBytes)
			return err
		}
		p.sub.Payload, err = bounded.ReadFile(p.path, streamBytes)
		return err
	}
	done := make(chan error, 1)
	var payload []byte
	var content *os.File
	go func() { // reading a terminal or pipe may block indefinitely
		var err error
		payload, content, err = readInput(a.Stdin)
		done <- err
	}()
	select {
	case err := <-done:
		p.sub.Payload, p.content, p.large = payload, content, content != nil
		c.content = content
		return err
	case <-a.Ctx.Done():
		return fmt.Errorf("standard input: %w", a.Ctx.Err())
	}
}

// send appends the readable pieces of a group in one call and reports the
// results of all. An error ends the command.
func (c *appendCmd) send(a *term.App, client *muniment.Client, group []piece, t *tally) error {
	var subs []muniment.Submission
	for i := range group {
		if group[i].err == nil {
			subs = append(subs, group[i].sub)
		}
	}
	var results []muniment.Result
	if len(subs) > 0 {
		var err error
		ctx, cancel := a.Ctx, context.CancelFunc(func() {})
		if t.witnessed {
			ctx, cancel = context.WithTimeout(ctx, c.WaitTime)
		}
		results, err = client.AppendBatch(ctx, subs)
		if t.witnessed && (ctx.Err() == context.DeadlineExceeded || connect.CodeOf(err) == connect.CodeDeadlineExceeded) {
			err = c.waited(err)
		}
		cancel()
		if code := connect.CodeOf(err); err != nil && len(subs) == 1 && (code == connect.CodeInvalidArgument || code == connect.CodeResourceExhausted) {
			results = []muniment.Result{{Err: err}} // only this piece was refused
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
		if err := c.print(a, p, &r); err != nil {
			return err
		}
	}
	return a.Ctx.Err()
}

// waited explains the error of a call that ran out of time while waiting for
// cosignatures. Only a timeout means that the evidence was not witnessed. Any
// other error, with or without a code, is the server's refusal.
func (c *appendCmd) waited(err error) error {
	if err == nil {
		return nil
	}
	code := connect.CodeOf(err)
	if code == connect.CodeDeadlineExceeded || code == connect.CodeCanceled || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not witnessed after %v: the evidence may be recorded; run the command again, or fetch receipts later with 'muniment receipt --witnessed'", c.WaitTime)
	}
	return fmt.Errorf("not recorded within %v, because the server refused: %w", c.WaitTime, err)
}

// A tally counts results.
type tally struct {
	witnessed                    bool // wait for cosignatures
	bar                          *progressbar.ProgressBar
	recorded, duplicates, failed int
	skipped                      int // attachments that are not attestations
}

// skips returns the end of the summary.
func (t *tally) skips() string {
	if t.skipped == 0 {
		return ""
	}
	return fmt.Sprintf(", %d skipped", t.skipped)
}

func (t *tally) add(r *muniment.Result) {
	_ = t.bar.Add(1)
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

// writeReceipt writes a piece's receipt atomically. It replaces an earlier
// receipt of the same evidence, and nothing else.
func (c *appendCmd) writeReceipt(p *piece, detached []byte) error {
	out := detached
	if !c.Detached && !p.large {
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
	name, err := filepath.Rel(c.ReceiptDir, p.receipt)
	if err != nil {
		return err
	}
	if err := c.receipts.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	// If two runs write the same receipt, one of them creates it.
	err = wholefile.Create(c.receipts, name, append(out, '\n'), 0o666)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return c.replaceReceipt(p, name, out)
}

// replaceReceipt replaces a receipt of the same evidence.
func (c *appendCmd) replaceReceipt(p *piece, name string, out []byte) error {
	info, err := c.receipts.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("recorded, but %s is not a regular file: remove it, or choose another --receipt-dir", p.receipt)
	}
	old, err := bounded.ReadFileIn(c.receipts, name, bounded.Receipt)
	if err != nil {
		return err
	}
	ours, err := p.hasReceipt(old)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("recorded, but %s exists and is not a receipt of this evidence: choose another --receipt-dir", p.receipt)
	}
	// Keep the old receipt if the log has erased the header since.
	if r, err := receipt.Parse(out); err != nil || r.Header == nil {
		return err
	}
	return wholefile.Replace(c.receipts, name, append(out, '\n'), 0o666)
}

// hasReceipt reports whether data is a receipt of the piece, so that a newer
// receipt can replace it.
func (p *piece) hasReceipt(data []byte) (bool, error) {
	r, err := receipt.Parse(data)
	if err != nil || r.Header == nil || r.Payload == nil {
		return false, nil
	}
	h, err := entry.ParseHeader(r.Header.Content)
	if err != nil {
		return false, nil
	}
	if !p.large {
		return h.Payload.Commitment == entry.Commitment(r.Payload.Salt, p.sub.Payload), nil
	}
	f, err := p.open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	c := entry.NewCommitment(r.Payload.Salt)
	if _, err := io.Copy(c, f); err != nil {
		return false, err
	}
	return h.Payload.Commitment == entry.Hash(c.Sum(nil)), nil
}

func (c *appendCmd) print(a *term.App, p *piece, r *muniment.Result) error {
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
			Code      string  `json:"code,omitempty"`
			*harvested
		}{File: p.name, harvested: p.harvest}
		if r.Err != nil {
			o.Error, o.Code = remote.Reason(r.Err), remote.Code(r.Err)
		} else {
			o.Index, o.Duplicate, o.Receipt = &r.Index, r.Duplicate, path
		}
		return term.WriteJSON(a.Stdout, o)
	}
	switch {
	case r.Err != nil:
		fmt.Fprintf(a.Stderr, "%s: %s\n", term.Quoted(p.name), term.Indented(remote.Reason(r.Err)))
	case r.Duplicate:
		fmt.Fprintf(a.Stdout, "%d\t%s\t%s (already recorded)\n", r.Index, term.Quoted(p.name), term.Quoted(path))
	default:
		fmt.Fprintf(a.Stdout, "%d\t%s\t%s\n", r.Index, term.Quoted(p.name), term.Quoted(path))
	}
	return nil
}
