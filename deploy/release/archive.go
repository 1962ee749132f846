package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// archiveCommand writes an archive that depends only on the names and contents
// of its files, and on the time of the release.
type archiveCommand struct {
	Out   string   `arg:"" help:"Archive to write."`
	Files []string `arg:"" help:"Files, as PATH or NAME=PATH. Programs have the mode of their file."`
	Epoch int64    `required:"" env:"SOURCE_DATE_EPOCH" help:"Time of all files, in Unix seconds."`
}

// A member is a file of an archive.
type member struct {
	name string
	data []byte
	mode fs.FileMode
	time time.Time
}

func (c *archiveCommand) Run() error {
	members := make([]member, len(c.Files))
	for i, f := range c.Files {
		name, path, found := strings.Cut(f, "=")
		if !found {
			name, path = filepath.Base(f), f
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		m := member{name, data, 0o644, time.Unix(c.Epoch, 0).UTC()}
		if info.Mode()&0o111 != 0 || strings.HasSuffix(name, ".exe") {
			m.mode = 0o755
		}
		members[i] = m
	}
	return create(c.Out, func(w io.Writer) error {
		switch {
		case strings.HasSuffix(c.Out, ".zip"):
			return writeZip(w, members)
		case strings.HasSuffix(c.Out, ".tar.gz"):
			z := gzip.NewWriter(w)
			if err := writeTar(z, members); err != nil {
				return err
			}
			return z.Close()
		}
		return fmt.Errorf("%s: must end with .zip or .tar.gz", c.Out)
	})
}

// create writes a file, and removes it if that fails.
func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}

func writeTar(w io.Writer, members []member) error {
	t := tar.NewWriter(w)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: int64(m.mode), Size: int64(len(m.data)), ModTime: m.time, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(m.data); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeZip(w io.Writer, members []member) error {
	z := zip.NewWriter(w)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate, Modified: m.time}
		h.SetMode(m.mode)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(m.data); err != nil {
			return err
		}
	}
	return z.Close()
}
