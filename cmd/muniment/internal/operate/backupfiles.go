package operate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/wholefile"
)

// The format of a backup is specified in docs/spec/backup.md.
const (
	backupVersion  = "muniment.dev/backup/v1"
	BackupManifest = "manifest"
	backupFiles    = "files"
	PartialPrefix  = ".partial-"
)

// A BackupIndex is the manifest of a backup.
type BackupIndex struct {
	Origin     string       `json:"origin"`
	Created    time.Time    `json:"created"`
	Size       uint64       `json:"size"`
	Root       string       `json:"root"`
	Checkpoint string       `json:"checkpoint"`
	Secrets    bool         `json:"secrets"` // whether it contains keys and tokens
	Files      []BackupFile `json:"files"`
}

// A BackupFile is a file listed in a manifest.
type BackupFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Modified is the source's time of modification in Unix nanoseconds, or 0
	// if the source may change.
	Modified int64 `json:"modified,omitempty"`
}

// Marshal returns the manifest and its digest.
func (b *BackupIndex) Marshal() (text []byte, digest string, err error) {
	body, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return nil, "", err
	}
	body = append(body, '\n')
	sum := sha256.Sum256(body)
	digest = hex.EncodeToString(sum[:])
	return append(fmt.Appendf(nil, "%s %d %s\n", backupVersion, len(body), digest), body...), digest, nil
}

// newestBackup returns the name of the newest backup in a folder of backups, or
// "".
func newestBackup(root *os.Root) string {
	names, err := fs.Glob(root.FS(), "*/"+BackupManifest)
	if err != nil || len(names) == 0 {
		return ""
	}
	return path.Dir(slices.Max(names)) // names are times
}

func readBackupIndex(root *os.Root) (*BackupIndex, string, error) {
	text, err := bounded.ReadFileIn(root, BackupManifest, bounded.Receipt)
	if newest := newestBackup(root); errors.Is(err, fs.ErrNotExist) && newest != "" {
		return nil, "", fmt.Errorf("this folder contains backups: name one, such as the newest, %s", filepath.Join(root.Name(), newest))
	}
	if err != nil {
		return nil, "", fmt.Errorf("not a backup: %w", err)
	}
	line, body, _ := bytes.Cut(text, []byte("\n"))
	f := strings.Split(string(line), " ")
	if len(f) != 3 || f[0] != backupVersion {
		return nil, "", fmt.Errorf("%s: not the manifest of a backup", BackupManifest)
	}
	sum := sha256.Sum256(body)
	if n, err := strconv.Atoi(f[1]); err != nil || n != len(body) || hex.EncodeToString(sum[:]) != f[2] {
		return nil, "", fmt.Errorf("%s: damaged: it does not match its own digest", BackupManifest)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	b := &BackupIndex{}
	if err := dec.Decode(b); err != nil {
		return nil, "", fmt.Errorf("%s: %w", BackupManifest, err)
	}
	seen := map[string]bool{}
	for _, f := range b.Files {
		if !filepath.IsLocal(f.Path) || filepath.Clean(f.Path) != f.Path || f.Path == "." || seen[f.Path] || f.Size < 0 {
			return nil, "", fmt.Errorf("%s: %q is not a file of a data folder", BackupManifest, f.Path)
		}
		seen[f.Path] = true
	}
	return b, f[2], nil
}

// inBackup reports whether a file outside the stores is backed up. Without
// secrets, only listed files are.
func inBackup(path string, secrets bool) bool {
	for _, s := range []string{datadir.StoreDir, datadir.RekorStoreDir} {
		if path == s || strings.HasPrefix(path, s+string(filepath.Separator)) || path == s+".mark" || path == s+datadir.AnchorSuffix {
			return false // see writeStore
		}
	}
	if top, _, _ := strings.Cut(path, string(filepath.Separator)); strings.HasPrefix(top, "reindex-") || strings.HasPrefix(top, ".") {
		return false
	}
	if secrets {
		return true
	}
	switch {
	case path == datadir.ConfigFile, path == datadir.PolicyFile, path == datadir.PQPolicyFile, path == datadir.KeysFile, strings.HasPrefix(path, datadir.RootsDir+string(filepath.Separator)):
		return true
	}
	return false
}

// folderPaths returns the regular files of the data folder, outside its stores,
// that are backed up.
func folderPaths(data string, secrets bool) (paths []string, err error) {
	err = filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		if e.IsDir() && (rel == datadir.StoreDir || rel == datadir.RekorStoreDir) {
			return filepath.SkipDir
		}
		if e.Type().IsRegular() && inBackup(rel, secrets) {
			paths = append(paths, rel)
		}
		return nil
	})
	return paths, err
}

// copySynced writes a new file durably and returns its size and SHA-256.
func copySynced(ctx context.Context, path string, r io.Reader, progress io.Writer) (size int64, digest string, err error) {
	if err := owner.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, "", err
	}
	f, err := owner.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, hash, progress), interrupt.Reader(ctx, r))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, "", err
	}
	return size, hex.EncodeToString(hash.Sum(nil)), nil
}

// digestFile returns a file's size and SHA-256.
func digestFile(ctx context.Context, path string, progress io.Writer) (size int64, digest string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(hash, progress), interrupt.Reader(ctx, f))
	return size, hex.EncodeToString(hash.Sum(nil)), err
}

// syncFolders syncs a folder and all folders below it.
func syncFolders(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return wholefile.SyncPath(path)
	})
}
