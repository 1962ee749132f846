package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

type backupCmd struct {
	Data           string `help:"Data folder. Its server may be running." required:"" type:"path" env:"MUNIMENT_DATA"`
	To             string `help:"Folder of backups, in which each backup is a folder. It is made if it is missing." required:"" type:"path" placeholder:"DIR"`
	WithoutSecrets bool   `help:"Leave out keys and tokens. Back them up elsewhere: the log cannot continue without them. The evidence in entries is in clear either way."`
	Full           bool   `help:"Copy every file. By default, unchanged files are hard links to the newest backup's."`
	JSON           bool   `help:"Print JSON."`
}

func (backupCmd) Help() string {
	return `A backup contains the log as it was published at one moment, and the rest of the data folder. It is proven whole before it gets its name. The next
backup removes an interrupted one. Keep the printed digest elsewhere, for 'muniment restore --digest'.

Exit code: 0 done; 2 failed.

Examples:
  muniment backup --data ./data --to /mnt/backups
  muniment backup --data ./data --to /mnt/backups --without-secrets --json`
}

// A backupWriter writes one backup.
type backupWriter struct {
	dir     string                // of the files in the partial backup
	old     map[string]BackupFile // of the previous backup, by path
	oldDir  string                // of the files of the previous backup
	index   BackupIndex
	copied  int64 // bytes
	linked  int64
	scratch string
	warn    func(string)
}

func (c *backupCmd) Run(a *term.App) (err error) {
	d, err := datadir.Load(c.Data)
	if err != nil {
		return err
	}
	if err := ownfolder.CheckFolder(c.To); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	if err := owner.MkdirAll(c.To, 0o700); err != nil {
		return err
	}
	if err := owner.Touch(filepath.Join(c.To, ".lock")); err != nil {
		return err
	}
	lock, err := vfs.Default.Lock(filepath.Join(c.To, ".lock"))
	if err != nil {
		return fmt.Errorf("%s: another backup is being made: %w", c.To, err)
	}
	defer lock.Close()
	if err := removePartial(c.To); err != nil {
		return err
	}
	partial, err := owner.MkdirTemp(c.To, PartialPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	w := &backupWriter{dir: filepath.Join(partial, backupFiles), scratch: filepath.Join(partial, "scratch"), warn: a.Warn}
	w.index.Origin, w.index.Created, w.index.Secrets = d.Config.Origin, time.Now().UTC(), !c.WithoutSecrets
	if !c.Full {
		w.useNewest(c.To, d.Config.Origin)
	}
	log := a.StoreLogger(slog.LevelError)
	if err := w.write(a, d, log); err != nil {
		return err
	}
	text, digest, err := w.index.Marshal()
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(w.scratch), datadir.WriteNew(filepath.Join(partial, BackupManifest), string(text), 0o600), syncFolders(partial)); err != nil {
		return err
	}
	name := w.index.Created.Format("20060102T150405.000Z")
	if err := errors.Join(os.Rename(partial, filepath.Join(c.To, name)), wholefile.SyncPath(c.To)); err != nil {
		return err
	}
	return c.print(a, w, filepath.Join(c.To, name), digest)
}

func (c *backupCmd) print(a *term.App, w *backupWriter, path, digest string) error {
	if c.JSON {
		return term.WriteJSON(a.Stdout, map[string]any{"backup": path, "origin": w.index.Origin, "size": w.index.Size, "root": w.index.Root, "digest": "sha256:" + digest,
			"files": len(w.index.Files), "bytesCopied": w.copied, "bytesLinked": w.linked, "secrets": w.index.Secrets})
	}
	fmt.Fprintf(a.Stdout, "backup  %s\nlog     %s, size %d, root %s\nfiles   %d; %s copied, %s linked to the previous backup\ndigest  sha256:%s\n",
		path, w.index.Origin, w.index.Size, w.index.Root, len(w.index.Files), term.Count(w.copied, "byte"), term.Count(w.linked, "byte"), digest)
	if !w.index.Secrets {
		fmt.Fprintln(a.Stdout, "keys and tokens are not in the backup")
	}
	return nil
}

// removePartial removes interrupted backups.
func removePartial(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, PartialPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// useNewest makes w link to the files of the newest readable backup of the log.
func (w *backupWriter) useNewest(dir, origin string) {
	names, _ := filepath.Glob(filepath.Join(dir, "[0-9]*Z"))
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		root, err := os.OpenRoot(name)
		if err != nil {
			continue
		}
		b, _, err := readBackupIndex(root)
		root.Close()
		if err != nil || b.Origin != origin {
			continue
		}
		w.oldDir, w.old = filepath.Join(name, backupFiles), map[string]BackupFile{}
		for _, f := range b.Files {
			w.old[f.Path] = f
		}
		return
	}
}

func (w *backupWriter) write(a *term.App, d *datadir.Dir, log *slog.Logger) error {
	if err := errors.Join(owner.MkdirAll(w.dir, 0o700), owner.MkdirAll(w.scratch, 0o700)); err != nil {
		return err
	}
	for _, k := range d.StoreKinds() {
		if err := w.writeStore(a, d, k, log); err != nil {
			return err
		}
	}
	paths, err := folderPaths(d.Path, w.index.Secrets)
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, err := os.Open(filepath.Join(d.Path, path))
		if err != nil {
			return err
		}
		err = w.add(a.Ctx, BackupFile{Path: path}, f, io.Discard)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (w *backupWriter) writeStore(a *term.App, d *datadir.Dir, k datadir.StoreKind, log *slog.Logger) error {
	scratch := filepath.Join(w.scratch, k.Name)
	if err := owner.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	s, err := engine.Snapshot(a.Ctx, k.URL(d.Path), scratch)
	if errors.Is(err, store.ErrUnpublished) && k.Name == datadir.RekorStoreDir {
		return w.writeFreshMark(a.Ctx, k)
	}
	if err != nil {
		return datadir.AdviseStart(err)
	}
	defer s.Close()
	var total int64
	for _, f := range s.Files {
		total += f.Size
	}
	bar := a.ByteProgress(total, "backup "+k.Name)
	defer bar.Finish()
	for _, f := range s.Files {
		b := BackupFile{Path: filepath.Join(k.Name, f.Name), Size: f.Size}
		if !f.Modified.IsZero() {
			b.Modified = f.Modified.UnixNano()
		}
		if err := w.add(a.Ctx, b, io.NewSectionReader(f.Content, 0, f.Size), bar); err != nil {
			return err
		}
	}
	c, err := receipt.ParseCheckpointUnverified(s.Mark.Checkpoint)
	if err != nil {
		return err
	}
	if k.Name == datadir.StoreDir {
		w.index.Size, w.index.Root, w.index.Checkpoint = c.Size, c.Root.Base64(), string(s.Mark.Checkpoint)
	}
	path := filepath.Join(w.dir, k.Name)
	if err := errors.Join(mark.Write(path, s.Mark), anchor.Write(path+datadir.AnchorSuffix, s.Mark.Checkpoint),
		os.Chmod(path+datadir.AnchorSuffix, 0o600)); err != nil {
		return err
	}
	for _, name := range []string{mark.Path(k.Name), k.Name + datadir.AnchorSuffix} {
		if err := w.addWritten(a.Ctx, name); err != nil {
			return err
		}
	}
	k.Small = true
	if _, err = proveRestored(a.Ctx, w.dir, k, log); err != nil {
		return fmt.Errorf("the copy is not whole, so no backup is kept: %w: check the data folder with 'muniment fsck'", err)
	}
	return os.Remove(filepath.Join(path, "LOCK")) // of the proof
}

// writeFreshMark backs up a store to which nothing was published: its mark,
// without which the server would take the store for a lost one.
func (w *backupWriter) writeFreshMark(ctx context.Context, k datadir.StoreKind) error {
	path := filepath.Join(w.dir, k.Name)
	if err := mark.Create(path); err != nil {
		return err
	}
	return w.addWritten(ctx, mark.Path(k.Name))
}

// proveRestored returns the checkpoint of the store's mark, or an error unless
// the store in the folder is whole.
func proveRestored(ctx context.Context, folder string, k datadir.StoreKind, log *slog.Logger) (checkpoint []byte, err error) {
	s, m, err := datadir.OpenStoreReadOnly(ctx, folder, k, log)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.CheckLarge(ctx), s.Close()); err != nil {
		return nil, err
	}
	return m.Checkpoint, nil
}

// add adds a file, as a link if the previous backup contains it undamaged, else
// as a copy.
func (w *backupWriter) add(ctx context.Context, b BackupFile, r io.Reader, progress io.Writer) error {
	path := filepath.Join(w.dir, b.Path)
	if old, ok := w.old[b.Path]; ok && b.Modified != 0 && old.Modified == b.Modified && old.Size == b.Size {
		if err := owner.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if os.Link(filepath.Join(w.oldDir, b.Path), path) == nil { // else it is copied
			whole, err := w.checkLink(ctx, path, old, progress)
			if err != nil {
				return fmt.Errorf("back up %s: %w", b.Path, err)
			}
			if whole {
				w.linked += b.Size
				w.index.Files = append(w.index.Files, old)
				return nil
			}
			progress = io.Discard // the file is counted already
		}
	}
	var err error
	if b.Size, b.SHA256, err = copySynced(ctx, path, r, progress); err != nil {
		return fmt.Errorf("back up %s: %w", b.Path, err)
	}
	w.copied += b.Size
	w.index.Files = append(w.index.Files, b)
	return nil
}

// checkLink reports whether a file linked to the previous backup's is the one
// that the previous backup lists. Otherwise it removes the link: damage must
// not spread from one backup to the next.
func (w *backupWriter) checkLink(ctx context.Context, path string, old BackupFile, progress io.Writer) (bool, error) {
	size, digest, err := digestFile(ctx, path, progress)
	if cerr := ctx.Err(); cerr != nil {
		return false, cerr
	}
	if err == nil && size == old.Size && digest == old.SHA256 {
		return true, nil
	}
	w.warn(fmt.Sprintf("%s is damaged, in every backup that shares it. This backup gets a new copy", filepath.Join(w.oldDir, old.Path)))
	return false, os.Remove(path)
}

// addWritten lists a file that was written into the backup.
func (w *backupWriter) addWritten(ctx context.Context, name string) error {
	size, digest, err := digestFile(ctx, filepath.Join(w.dir, name), io.Discard)
	if err != nil {
		return err
	}
	w.index.Files = append(w.index.Files, BackupFile{Path: strings.TrimPrefix(name, "/"), Size: size, SHA256: digest})
	return nil
}
