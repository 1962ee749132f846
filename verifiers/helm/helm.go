// Package helm reads Helm charts and verifies their provenance files, which are
// signed with PGP (https://helm.sh/docs/topics/provenance/).
//
// Package chartindex verifies charts with index files, and package oci with
// attestations attached to them in a registry.
package helm

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"muniment.dev/muniment/internal/plain"
)

// Size limits.
const (
	MaxProvenance = 1 << 20   // bytes of a provenance or index file, and of a Chart.yaml
	MaxKeyring    = 32 << 20  // bytes
	maxUnpacked   = 256 << 20 // bytes of an archive, on the way to its Chart.yaml
)

// Errors of this package wrap one of these, except for read errors.
var (
	ErrMalformed   = errors.New("malformed")    // a document does not have its format
	ErrNotVerified = errors.New("not verified") // a verdict on a well-formed document
)

// An Archive is a chart as a .tgz.
type Archive struct {
	Name, Version string // from its Chart.yaml
	Digest        string // sha256:…
}

// String returns the chart's name as used in index files and registries.
func (a *Archive) String() string { return a.Name + "-" + a.Version }

// metadata contains the members of a Chart.yaml that this package uses.
type metadata struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// ReadArchive reads and hashes an archive of any size. The name and version are
// claims of its author.
func ReadArchive(r io.Reader) (*Archive, error) {
	h := sha256.New()
	tee := io.TeeReader(r, h)
	m, err := chartYAML(tee)
	if err != nil && !errors.Is(err, ErrMalformed) {
		return nil, err
	}
	if _, rerr := io.Copy(io.Discard, tee); rerr != nil {
		return nil, rerr
	}
	if err != nil {
		return nil, err
	}
	return &Archive{m.Name, m.Version, "sha256:" + hex.EncodeToString(h.Sum(nil))}, nil
}

// chartYAML finds the Chart.yaml in the archive's only folder.
func chartYAML(r io.Reader) (*metadata, error) {
	reader := &noting{r: r}
	bad := func(format string, args ...any) error {
		if reader.err != nil {
			return reader.err // the archive could not be read
		}
		return plain.Malformed(ErrMalformed, "chart archive", fmt.Errorf(format, args...))
	}
	unzipped, err := gzip.NewReader(reader)
	if err != nil {
		return nil, bad("not a .tgz, or damaged")
	}
	limited := &io.LimitedReader{R: unzipped, N: maxUnpacked}
	for files := tar.NewReader(limited); ; {
		f, err := files.Next()
		switch {
		case limited.N <= 0:
			return nil, bad("no Chart.yaml in its first %d bytes", maxUnpacked)
		case err == io.EOF:
			return nil, bad("no Chart.yaml found")
		case err != nil:
			return nil, bad("not a .tgz, or damaged")
		}
		name := strings.TrimPrefix(f.Name, "./")
		if folder, file, _ := strings.Cut(name, "/"); f.Typeflag != tar.TypeReg || folder == "" || file != "Chart.yaml" {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(files, MaxProvenance+1))
		if err != nil {
			return nil, bad("%s: incomplete", quoted(name))
		}
		m, err := readMetadata(text)
		if err != nil {
			return nil, bad("%s: %w", quoted(name), err)
		}
		return m, nil
	}
}

func readMetadata(text []byte) (*metadata, error) {
	if len(text) > MaxProvenance {
		return nil, fmt.Errorf("more than %d bytes", MaxProvenance)
	}
	texts, err := Texts(text, "name", "version")
	if err != nil {
		return nil, err
	}
	m := metadata{texts["name"], texts["version"]}
	if m.Name == "" {
		return nil, errors.New("name: missing")
	}
	if m.Version == "" {
		return nil, errors.New("version: missing")
	}
	return &m, nil
}

// A noting reader keeps the last error of its underlying reader, except for
// io.EOF.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}
