package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// imageCommand writes the image that deploy/helm and deploy/kubernetes run: the
// static program, the root certificates of the Mozilla programme, and the cat
// with which kubectl exec reads a file. It has no shell.
type imageCommand struct {
	Out      string   `arg:"" help:"Tar archive to write."`
	Builds   string   `arg:"" help:"Folder with the programs muniment and cat of each architecture: BUILDS/amd64/muniment."`
	Arch     []string `required:"" help:"Architectures."`
	Version  string   `required:"" help:"Version of the release."`
	Revision string   `required:"" help:"Commit that it was built from."`
	Epoch    int64    `required:"" env:"SOURCE_DATE_EPOCH" help:"Time of all files, in Unix seconds."`
}

func (c *imageCommand) Run() error {
	labels := map[string]string{
		"org.opencontainers.image.title":    "muniment",
		"org.opencontainers.image.version":  c.Version,
		"org.opencontainers.image.revision": c.Revision,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range c.Arch {
		image, err := c.image(arch, labels)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		platform := &v1.Platform{OS: "linux", Architecture: arch}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	index = mutate.Annotations(index, labels).(v1.ImageIndex)
	// a layout of one image for several platforms, as podman and skopeo read it
	outer := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index, Descriptor: v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": c.Version}},
	})
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, outer); err != nil {
		return err
	}
	members, err := c.walk(dir)
	if err != nil {
		return err
	}
	if err := create(c.Out, func(w io.Writer) error { return writeTar(w, members) }); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

func (c *imageCommand) image(arch string, labels map[string]string) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	program, err := os.ReadFile(filepath.Join(c.Builds, arch, "muniment"))
	if err != nil {
		return nil, err
	}
	cat, err := os.ReadFile(filepath.Join(c.Builds, arch, "cat"))
	if err != nil {
		return nil, err
	}
	when := time.Unix(c.Epoch, 0).UTC()
	var layers []v1.Layer
	for _, members := range [][]member{
		{ // changes rarely, so that pulls share it
			{"bin/cat", cat, 0o755, when},
			{"etc/passwd", []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"), 0o644, when},
			{"etc/group", []byte("root:x:0:\nnonroot:x:65532:\n"), 0o644, when},
			{"etc/ssl/certs/ca-certificates.crt", rootCertificates(), 0o644, when},
		},
		{{"usr/local/bin/muniment", program, 0o755, when}},
	} {
		var text bytes.Buffer
		if err := writeTar(&text, members); err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil },
			tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", arch, v1.Time{Time: when}
	file.Config = v1.Config{
		User: "65532:65532", Entrypoint: []string{"/usr/local/bin/muniment"}, Cmd: []string{"--help"}, WorkingDir: "/",
		Env: []string{"PATH=/usr/local/bin:/bin"}, Labels: labels,
	}
	return mutate.ConfigFile(image, file)
}

// rootCertificates returns, in PEM, the roots that are trusted without
// constraints. PEM files cannot contain constraints.
func rootCertificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return out.Bytes()
}

// walk returns the files of a folder, in the order of their names.
func (c *imageCommand) walk(dir string) ([]member, error) {
	var out []member
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		out = append(out, member{name, data, 0o644, time.Unix(c.Epoch, 0).UTC()})
		return err
	})
	return out, err
}
