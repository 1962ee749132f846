package prove

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/export"
)

type exportManifestReleaseCmd struct {
	Manifest string `arg:"" help:"The signed manifest." predictor:"file"`
	manifestTrust
	Files     string `help:"Folder with the files of the export and no others. Recipients must not be able to read it." required:"" placeholder:"DIR" predictor:"file" type:"path"`
	To        string `help:"Folder to create, with the files, the manifest and its receipt." required:"" placeholder:"DIR" type:"path"`
	Policy    string `help:"Trust policy of the log." required:"" env:"MUNIMENT_POLICY" predictor:"file"`
	StreamKey string `help:"The tenant's stream key." required:"" env:"MUNIMENT_STREAM_KEY" placeholder:"FILE" predictor:"file" type:"path"`
	JSON      bool   `help:"Print JSON."`
	remote.Flags
}

func (exportManifestReleaseCmd) Help() string {
	return `Records the manifest, verifies its receipt and that the whole stream of the tenant has no other spend of
the budget, and only then copies the files to the folder --to. If anything fails, nothing is handed out. A manifest that was recorded counts as spent even then.

In --to are the folder files, export.sigstore.json and receipt.json. Hand it to the recipient.

Exit code: 0 released; 1 refused; 2 no answer.

Example:
  muniment export-manifest release q2.export.sigstore.json --files staging/ --to q2/ --key exporter.pub --policy policy --stream-key acme.key`
}

// Names in the folder of a release.
const (
	releasedFiles    = "files"
	releasedManifest = "export.sigstore.json"
	releasedReceipt  = "receipt.json"
)

func (c *exportManifestReleaseCmd) Run(a *term.App) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	policy, key, err := datadir.OptionalPolicy(c.Policy, c.StreamKey)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.To); err == nil {
		return fmt.Errorf("--to: %s exists and is not overwritten: choose another name", c.To)
	}
	if err := ownfolder.CheckFolder(c.To); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	text, err := readManifest(a, c.Manifest)
	if err != nil {
		return err
	}
	client, err := c.Connect(muniment.Options{Policy: policy, StreamKey: key, Witnessed: policy.RequiresWitness() || policy.PostQuantum()})
	if err != nil {
		return err
	}
	r := &release{cmd: c, a: a, o: o, client: client, policies: []*receipt.TrustPolicy{policy}, key: key, manifest: text}
	report, err := r.run()
	var refused *export.Error
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	return reportManifest(a, c.JSON, c.Manifest, report, err)
}

// A release is the progress of handing out an export.
type release struct {
	cmd      *exportManifestReleaseCmd
	a        *term.App
	o        export.Options
	client   *muniment.Client
	policies []*receipt.TrustPolicy
	key      *entry.StreamKey
	manifest []byte
}

// run verifies, records, verifies again and copies.
func (r *release) run() (*export.Report, error) {
	root, err := os.OpenRoot(r.cmd.Files)
	if err != nil {
		return nil, fmt.Errorf("--files: %w", err)
	}
	defer root.Close()
	o := r.o
	o.Files = root.FS()
	if _, err := export.Verify(r.a.Ctx, r.manifest, o); err != nil {
		return nil, err
	}
	m, err := export.Read(r.manifest)
	if err != nil {
		return nil, err
	}
	if err := r.affordable(m); err != nil {
		return nil, err
	}
	appended, err := r.client.Append(r.a.Ctx, muniment.Submission{Kind: kindname.ExportManifest, Payload: r.manifest})
	if err != nil {
		return nil, fmt.Errorf("record the manifest: %w", remote.NotFound(err))
	}
	return r.handOut(root, m, appended.Receipt)
}

// affordable returns an error if the manifest understates what is spent. Its
// verification after recording would find that, too, but then it would count.
func (r *release) affordable(m *export.Manifest) error {
	if m.Privacy == nil {
		return nil
	}
	var spends export.Spends
	err := r.withStream(0, func(f *os.File, size int64) (err error) {
		spends, err = spendsIn(r.a, f, size, r.policies, r.key, m)
		return err
	})
	if connect.CodeOf(err) == connect.CodeInvalidArgument {
		return nil // an empty log; the stream is verified again after recording
	}
	if err != nil {
		return err
	}
	if total := spends.Sum.Plus(m.Privacy.Amount()); !m.Privacy.Spent().AtLeast(total) {
		return export.Understated(total, m.Privacy)
	}
	return nil
}

// withStream fetches an evidence bundle of the tenant at a size of the log, or
// at its latest. It has the headers of the whole stream.
func (r *release) withStream(at uint64, use func(f *os.File, size int64) error) error {
	f, err := os.CreateTemp("", "muniment-stream-*.bundle.tar")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	bar := r.a.ProgressBytes("stream")
	defer bar.Finish()
	// Any selection has all headers. This one has few payloads.
	request := &munimentv1.CreateBundleRequest{Artifacts: []*munimentv1.GateSubject{{Type: artifact.File, Artifact: &munimentv1.Artifact{Digest: map[string]string{"sha256": strings.Repeat("0", 64)}}}}, TreeSize: at}
	if _, err := r.client.CreateBundle(r.a.Ctx, io.MultiWriter(f, bar), request); err != nil {
		return fmt.Errorf("fetch the stream: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return use(f, size)
}

// handOut copies the files to a folder with a random name, verifies the copies
// with everything, and gives the folder its name.
func (r *release) handOut(from *os.Root, m *export.Manifest, proof []byte) (report *export.Report, err error) {
	size, err := sizeOf(proof) // has the cosignatures that the policy requires
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(r.cmd.To)
	staging, err := os.MkdirTemp(parent, ".release-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(staging)
	to, err := os.OpenRoot(staging)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if err := to.Mkdir(releasedFiles, 0o777); err != nil {
		return nil, err
	}
	files, err := to.OpenRoot(releasedFiles)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	for i := range m.Files {
		if err := copyInto(r.a.Ctx, files, from, &m.Files[i]); err != nil {
			return nil, err
		}
	}
	err = r.withStream(size, func(f *os.File, size int64) (err error) {
		o := r.o
		o.Files, o.Receipt, o.Policies, o.StreamKey, o.Stream, o.StreamSize = files.FS(), proof, r.policies, r.key, f, size
		report, err = export.Verify(r.a.Ctx, r.manifest, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{releasedManifest: r.manifest, releasedReceipt: append(proof, '\n')} {
		if err := to.WriteFile(name, content, 0o666); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(staging, 0o755); err != nil {
		return nil, err
	}
	return report, os.Rename(staging, r.cmd.To)
}

// sizeOf returns the size of the tree of a receipt.
func sizeOf(proof []byte) (uint64, error) {
	r, err := receipt.Parse(proof)
	if err != nil {
		return 0, err
	}
	p, err := receipt.ParseProof(string(r.Proof))
	if err != nil {
		return 0, err
	}
	c, err := receipt.ParseCheckpointUnverified(p.Checkpoint)
	return c.Size, err
}

// copyInto copies a file, and at most one byte more than it should have.
func copyInto(ctx context.Context, to, from *os.Root, f *export.File) error {
	if dir := filepath.Dir(filepath.FromSlash(f.Name)); dir != "." {
		if err := to.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	in, err := from.Open(f.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(interrupt.Reader(ctx, in), int64(f.Size)+1))
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close(), ctx.Err())
}

// spendsIn verifies an evidence bundle, and returns the spends of the
// manifest's budget.
func spendsIn(a *term.App, f io.ReaderAt, size int64, policies []*receipt.TrustPolicy, key *entry.StreamKey, m *export.Manifest) (export.Spends, error) {
	show, finish := a.ProgressFunc("verify the stream")
	defer finish()
	b, _, err := bundle.Verify(a.Ctx, f, size, policies, bundle.Options{StreamKey: key, Tenant: &m.Tenant, Progress: show})
	if err != nil {
		return export.Spends{}, term.ExitWith(term.ExitNo, fmt.Errorf("the stream: %w", err))
	}
	return export.SpendsOf(a.Ctx, b, m)
}
