package operate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/mark"
)

// maxCopied is the largest number of files in a folder that is copied.
const maxCopied = 1000

// ofOneServer lists what a server writes into its folder, or does not need.
var ofOneServer = []string{datadir.TokenDir, datadir.OperatorDir, reloadFile, datadir.SharedBase, datadir.SharedText, datadir.WebhookState, "audit.log", "access.log"}

// copyFolder makes the folder of a further server of a log from that of another
// one, or puts its files in place of those of an earlier copy. What a server
// has written into its folder stays.
func (c *initCmd) copyFolder(a *term.App) error {
	d, err := datadir.Load(c.CopyOf)
	if err != nil {
		return fmt.Errorf("--copy-of: %w", err)
	}
	if d.Config.Store == "" {
		return fmt.Errorf("--copy-of: the log is in the folder %s: only servers that share a store have copies of a folder", c.CopyOf)
	}
	if has, err := datadir.Load(c.Dir); err == nil && has.Config.Origin != d.Config.Origin {
		return fmt.Errorf("%s is the folder of the log %s, not of %s", c.Dir, has.Config.Origin, d.Config.Origin)
	}
	if err := owner.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(mark.Path(filepath.Join(c.Dir, datadir.StoreDir))); errors.Is(err, fs.ErrNotExist) {
		if err := mark.Create(filepath.Join(c.Dir, datadir.StoreDir)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	left := maxCopied
	if err := c.copyFiles("", &left); err != nil {
		return err
	}
	return c.Print(a, &term.Made{Title: fmt.Sprintf("Copied the folder of the log %s to %s", d.Config.Origin, c.Dir), Origin: d.Config.Origin, Folder: c.Dir, Next: c.next()})
}

// copyFiles copies the files of a folder and of those in it. It follows links,
// because the files of a mounted Secret are links.
func (c *initCmd) copyFiles(in string, left *int) error {
	entries, err := os.ReadDir(filepath.Join(c.CopyOf, in))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(in, e.Name())
		if strings.HasPrefix(name, datadir.StoreDir) || strings.HasPrefix(e.Name(), "..") || slices.Contains(ofOneServer, name) {
			continue
		}
		if *left--; *left < 0 {
			return fmt.Errorf("%s has more than %d files: it is no data folder", c.CopyOf, maxCopied)
		}
		info, err := os.Stat(filepath.Join(c.CopyOf, name))
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := owner.MkdirAll(filepath.Join(c.Dir, name), 0o700); err != nil {
				return err
			}
			if err := c.copyFiles(name, left); err != nil {
				return err
			}
			continue
		}
		text, err := bounded.ReadFile(filepath.Join(c.CopyOf, name), bounded.Config)
		if err != nil {
			return err
		}
		if err := wholefile.ReplaceOwnedPath(filepath.Join(c.Dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
