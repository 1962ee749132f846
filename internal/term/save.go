package term

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"muniment.dev/muniment/internal/ownfolder"
)

// SaveFolder makes a folder for SaveByDigest.
func SaveFolder(dir string) error {
	if err := ownfolder.CheckFolder(dir); err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	return nil
}

// SaveByDigest writes a JSON file that is named by a prefix, which can be
// empty, and the digest of its content.
func (a *App) SaveByDigest(dir, prefix string, data []byte) error {
	sum := sha256.Sum256(data)
	path := filepath.Join(dir, prefix+"sha256-"+hex.EncodeToString(sum[:])+".json")
	if _, err := os.Lstat(path); err == nil {
		return nil // its readers verify the content
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("--save: %w", err)
	}
	if err := a.WriteOutput(path, data); err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	return nil
}
