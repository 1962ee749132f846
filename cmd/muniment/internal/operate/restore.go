package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/logkey"
	"muniment.dev/muniment/ledger/receipt"
)

type restoreCmd struct {
	Backup   string   `arg:"" help:"Backup, a folder made by 'muniment backup'." type:"path" predictor:"dir"`
	Data     string   `help:"Data folder to make. It must not exist, or must be empty." required:"" type:"path"`
	Policy   string   `help:"Policy file of the log, from another source than the backup. Default: the backup's own." predictor:"file"`
	Digest   string   `help:"Digest of the backup, as 'muniment backup' printed it." placeholder:"sha256:HEX"`
	Anchor   []string `help:"Newer signed checkpoint of the log, such as an anchor file, or store.anchor of the lost folder. May be repeated." placeholder:"FILE" type:"path"`
	Erasures []string `help:"Receipts of erasures that are newer than the backup, as 'muniment receipt get' prints them, one after another. May be repeated." placeholder:"FILE" type:"path"`
	JSON     bool     `help:"Print JSON."`
}

func (restoreCmd) Help() string {
	return `Before the data folder is made, every file is compared with the manifest, and the store is proven whole and signed by the log's key. A backup that
is older than an anchor is restored, and the server then serves it read-only. A backup contains evidence that was erased after it was made. Give the
receipts of these erasures with --erasures, and the evidence is erased before the folder is made. Each receipt must verify under the policy, and its
checkpoint is an anchor as well.

Exit code: 0 restored; 1 refused: damaged, of another log, or a fork; 2 failed; 3 restored, but older than an anchor.

Examples:
  muniment restore /mnt/backups/20261127T231500.000Z --data ./data --digest sha256:… --policy policy
  muniment restore /mnt/backups/20261127T231500.000Z --data ./data --anchor ./lost/store.anchor`
}

// digest returns the value of --digest, which may lack its algorithm.
func (c *restoreCmd) digest() (d entry.Digest, err error) {
	text := c.Digest
	switch {
	case text == "":
		return d, nil
	case !strings.Contains(text, ":"):
		text = "sha256:" + text
	}
	if d, err = entry.ParseDigest(text); err == nil && d.Algorithm() != "sha256" {
		err = fmt.Errorf("%q must be a SHA-256", text)
	}
	if err != nil {
		return d, fmt.Errorf("--digest: %w", err)
	}
	return d, nil
}

func (c *restoreCmd) Run(a *term.App) (err error) {
	want, err := c.digest()
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(c.Data); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and restore overwrites nothing: choose another folder", c.Data)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := ownfolder.CheckFolder(c.Data); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	root, err := os.OpenRoot(c.Backup)
	if err != nil {
		return err
	}
	defer root.Close()
	b, digest, err := readBackupIndex(root)
	if err != nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s: %w", c.Backup, err))
	}
	if !want.IsZero() && want.Value() != digest {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s: its digest is sha256:%s, not the one given with --digest", c.Backup, digest))
	}
	if err := owner.MkdirAll(filepath.Dir(c.Data), 0o700); err != nil {
		return err
	}
	staging, err := owner.MkdirTempLike(c.Data, ".restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	if err := c.copyFiles(a, root, b, staging); err != nil {
		return err
	}
	log := a.StoreLogger(slog.LevelError)
	behind, err := c.prove(a.Ctx, b, staging, log)
	if err != nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s is not restored: %w", c.Backup, err))
	}
	if err := syncFolders(staging); err != nil {
		return err
	}
	if err := os.Remove(c.Data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := errors.Join(os.Rename(staging, c.Data), wholefile.SyncPath(filepath.Dir(c.Data))); err != nil {
		return err
	}
	return c.print(a, b, behind)
}

func (c *restoreCmd) print(a *term.App, b *BackupIndex, behind error) error {
	if c.JSON {
		if err := term.WriteJSON(a.Stdout, map[string]any{"data": c.Data, "origin": b.Origin, "size": b.Size, "root": b.Root, "rolledBack": behind != nil, "secrets": b.Secrets}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.Stdout, "restored  %s\nlog       %s, size %d, root %s\n", c.Data, b.Origin, b.Size, b.Root)
		if !b.Secrets {
			fmt.Fprintln(a.Stdout, "keys and tokens are not in the backup: put them back before you start the server")
		}
	}
	if behind != nil {
		return term.ExitWith(term.ExitRollback, fmt.Errorf("the backup is older than the log was: %w\nThe server serves it read-only. See \"A log that was rolled back\" in docs/operator.md", behind))
	}
	return nil
}

// copyFiles copies the files of the manifest and compares their digests.
func (c *restoreCmd) copyFiles(a *term.App, root *os.Root, b *BackupIndex, staging string) error {
	var total int64
	for _, f := range b.Files {
		total += f.Size
	}
	bar := a.ByteProgress(total, "restore")
	defer bar.Finish()
	for _, f := range b.Files {
		src, err := bounded.OpenIn(root, filepath.Join(backupFiles, f.Path))
		if err != nil {
			return term.ExitWith(term.ExitNo, fmt.Errorf("%s: damaged: %w", c.Backup, err))
		}
		size, digest, err := copySynced(a.Ctx, filepath.Join(staging, f.Path), io.LimitReader(src, f.Size+1), bar)
		src.Close()
		if err != nil {
			return err
		}
		if size != f.Size || digest != f.SHA256 {
			return term.ExitWith(term.ExitNo, fmt.Errorf("%s: damaged: %s does not match the manifest", c.Backup, f.Path))
		}
	}
	return nil
}

// prove returns an error unless the restored stores are whole and the policy's
// key signed the log's checkpoint. behind is not nil if an anchor is ahead of
// the log. The newest anchor is kept beside the store.
func (c *restoreCmd) prove(ctx context.Context, b *BackupIndex, staging string, log *slog.Logger) (behind, err error) {
	text, err := bounded.ReadFile(filepath.Join(staging, datadir.ConfigFile), bounded.Config)
	if err != nil {
		return nil, err
	}
	var config struct {
		Origin  string `yaml:"origin"`
		Replica bool   `yaml:"replica"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", datadir.ConfigFile, err)
	}
	policyPath := filepath.Join(staging, datadir.PolicyFile)
	if c.Policy != "" {
		policyPath = c.Policy
	}
	policy, err := datadir.ReadPolicyFile(policyPath)
	if err != nil {
		return nil, err
	}
	if config.Origin != b.Origin || policy.Origin() != b.Origin {
		return nil, fmt.Errorf("the manifest is for the log %q, %s for %q, and the policy for %q", b.Origin, datadir.ConfigFile, config.Origin, policy.Origin())
	}
	d := &datadir.Dir{Path: staging, Config: datadir.Config{Origin: config.Origin}}
	if config.Replica {
		d.Replica = policy
	}
	for _, k := range d.StoreKinds() {
		if k.Name != datadir.StoreDir && k.Unpublished(staging) {
			continue // there is no state to prove
		}
		k.Small = true
		signed, err := proveRestored(ctx, staging, k, log)
		if err != nil {
			return nil, err
		}
		if k.Name != datadir.StoreDir {
			continue
		}
		if _, err := note.Open(signed, note.VerifierList(policy.LogKey())); err != nil {
			return nil, fmt.Errorf("its checkpoint is not signed by the policy's log key, %s: if the key was rotated after the backup, give the policy with the older key", logkey.ID(policy.LogKey()))
		}
		if string(signed) != b.Checkpoint {
			return nil, errors.New("the manifest and the store have different checkpoints")
		}
		anchors, err := readAnchors(c.Anchor, policy)
		if err != nil {
			return nil, err
		}
		erasures, err := readErasures(c.Erasures, policy)
		if err != nil {
			return nil, err
		}
		for _, e := range erasures { // each proves that the log had this tree
			anchors = append(anchors, e.checkpoint)
		}
		if err := eraseLater(ctx, staging, k, erasures, log); err != nil {
			return nil, err
		}
		if behind, err = checkAnchors(ctx, k, staging, anchors, log); err != nil {
			return nil, err
		}
	}
	return behind, nil
}

// readAnchors reads checkpoints that the log's key must have signed.
func readAnchors(paths []string, policy *receipt.TrustPolicy) (anchors []datadir.Checkpoint, err error) {
	for _, path := range paths {
		signed, err := bounded.ReadFile(path, bounded.Config)
		if err != nil {
			return nil, err
		}
		if _, err := note.Open(signed, note.VerifierList(policy.LogKey())); err != nil {
			return nil, fmt.Errorf("--anchor %s: not signed by the policy's log key: %w", path, err)
		}
		anchors = append(anchors, datadir.Checkpoint{Source: "--anchor " + path, Signed: signed})
	}
	return anchors, nil
}

// checkAnchors returns an error if an anchor contradicts the store. behind is
// not nil if one is ahead of it. The newest is kept beside the store.
func checkAnchors(ctx context.Context, k datadir.StoreKind, staging string, anchors []datadir.Checkpoint, log *slog.Logger) (behind, err error) {
	own := filepath.Join(staging, k.Name) + datadir.AnchorSuffix
	newest, err := bounded.ReadFile(own, bounded.Config)
	if err != nil {
		return nil, err
	}
	before, err := receipt.ParseCheckpointUnverified(newest)
	if err != nil {
		return nil, err
	}
	for _, c := range anchors {
		at, err := receipt.ParseCheckpointUnverified(c.Signed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Source, err)
		}
		if at.Size > before.Size {
			newest, before = c.Signed, at
			behind = fmt.Errorf("%s: %w: %d entries", c.Source, anchor.ErrAhead, at.Size)
		}
	}
	k.Checkpoints = anchors
	if _, err := proveRestored(ctx, filepath.Clean(staging), k, log); err != nil {
		return nil, err
	}
	return behind, anchor.Write(own, newest)
}

// A provenErasure is an erasure and the checkpoint under which its receipt
// verifies.
type provenErasure struct {
	ledger.LaterErasure
	checkpoint datadir.Checkpoint
}

// readErasures reads the receipts of the entries that record erasures, which
// must all verify.
func readErasures(paths []string, policy *receipt.TrustPolicy) (erasures []provenErasure, err error) {
	for _, path := range paths {
		text, err := bounded.ReadFile(path, bounded.Document)
		if err != nil {
			return nil, err
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		for n := 1; ; n++ {
			source := fmt.Sprintf("--erasures %s: document %d", path, n)
			var one json.RawMessage
			if err := dec.Decode(&one); err == io.EOF {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", source, err)
			}
			e, err := proveErasure(one, policy)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", source, err)
			}
			e.checkpoint.Source = source
			erasures = append(erasures, e)
		}
	}
	return erasures, nil
}

// proveErasure verifies a receipt and returns the erasure that its entry
// records.
func proveErasure(data []byte, policy *receipt.TrustPolicy) (e provenErasure, err error) {
	kind := ledger.ErasureKind
	s, err := receipt.Verify(data, []*receipt.TrustPolicy{policy}, receipt.Options{HeaderOnly: true, Kind: &kind})
	if err != nil {
		return e, fmt.Errorf("not a receipt of an erasure: get one with: muniment receipt get INDEX: %w", err)
	}
	if s.Link == nil {
		return e, errors.New("a shared receipt hides the stream: get one with: muniment receipt get INDEX")
	}
	attributes := s.Header.Attributes
	if e.Entry, err = strconv.ParseUint(attributes["entry"], 10, 64); err != nil || e.Entry >= s.Index {
		return e, fmt.Errorf("the erasure names no earlier entry: %q", attributes["entry"])
	}
	e.Stream, e.Header = s.Link.StreamID, attributes["scope"] == ledger.ScopeHeaderAndPayload
	e.checkpoint.Signed, err = receiptCheckpoint(data)
	return e, err
}

// receiptCheckpoint returns the checkpoint in a receipt, with its signatures.
func receiptCheckpoint(data []byte) ([]byte, error) {
	r, err := receipt.Parse(data)
	if err != nil {
		return nil, err
	}
	p, err := receipt.ParseProof(string(r.Proof))
	if err != nil {
		return nil, err
	}
	return p.Checkpoint, nil
}

// eraseLater repeats erasures that were recorded after the backup.
func eraseLater(ctx context.Context, staging string, k datadir.StoreKind, proven []provenErasure, log *slog.Logger) (err error) {
	if len(proven) == 0 {
		return nil
	}
	if k.Replica {
		return errors.New("--erasures: the folder is a replica: import the log's next delta, which has them")
	}
	s, err := datadir.OpenStore(ctx, staging, k, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	erasures := make([]ledger.LaterErasure, len(proven))
	for i, e := range proven {
		erasures[i] = e.LaterErasure
	}
	if _, err = ledger.EraseLater(ctx, s, erasures); err != nil {
		return fmt.Errorf("--erasures: %w", err)
	}
	return nil
}
