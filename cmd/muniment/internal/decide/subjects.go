package decide

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
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/oci"
)

// maxSubjects is the number of subjects that one call of the API takes.
const maxSubjects = 10_000

// subjectFlags name the artifacts that a gate decides about.
type subjectFlags struct {
	Subjects []string `arg:"" optional:"" name:"subject" help:"Artifact: a file, chart archive, delta or export manifest; an image or chart in a registry, as HOST/NAME:TAG or oci://…; or a digest, with --type."`
	Manifest []string `help:"File or folder with rendered Kubernetes manifests, or - for standard input: every image in them is a subject. May be repeated." placeholder:"FILE" type:"path"`
	Type     string   `help:"Type of the subjects, which otherwise follows from what they are." enum:",image,chart,delta,export-manifest,file" default:"" placeholder:"image|chart|delta|export-manifest|file"`
	Name     string   `help:"Name of the subject that a digest or file identifies, to which controls and exceptions can refer." placeholder:"NAME"`
	Offline  bool     `help:"Do not contact registries: references must contain digests, and the platforms of an index are not decided one by one."`
	remote.RegistryFlags
}

// A subject is an artifact, and where it was found.
type subject struct {
	*munimentv1.GateSubject
	Where []string // places in manifests
}

// A resolver turns arguments into subjects. Registries only resolve names: tags
// to digests, and indexes to the manifests of their platforms.
type resolver struct {
	flags    *subjectFlags
	app      *term.App
	paths    []images.Path // of the control set
	subjects []*subject
	unknown  []images.Image
	byRef    map[[2]string]*subject // by type and reference
}

// resolve returns the subjects that the flags name, and the fields of manifests
// that look like images but are in no known place.
func (f *subjectFlags) resolve(a *term.App, paths []images.Path) ([]*subject, []images.Image, error) {
	r := &resolver{flags: f, app: a, paths: paths, byRef: map[[2]string]*subject{}}
	switch {
	case len(f.Subjects)+len(f.Manifest) == 0:
		return nil, nil, errors.New("no subject specified: name a file, a reference or a digest, or use --manifest")
	case f.Name != "" && (len(f.Subjects) != 1 || len(f.Manifest) > 0):
		return nil, nil, errors.New("--name is for one subject")
	}
	for _, arg := range f.Subjects {
		if err := r.argument(a.Ctx, arg); err != nil {
			return nil, nil, err
		}
	}
	for _, path := range f.Manifest {
		if err := r.manifests(a.Ctx, path); err != nil {
			return nil, nil, err
		}
	}
	if len(r.subjects) > maxSubjects {
		return nil, nil, fmt.Errorf("%d subjects, above the limit of %d", len(r.subjects), maxSubjects)
	}
	return r.subjects, r.unknown, nil
}

// argument resolves a file, a digest or a reference. A file whose path is also
// a reference is an error: otherwise a file in a repository would replace the
// image that a job asks about.
func (r *resolver) argument(ctx context.Context, arg string) error {
	// Algorithms and values of digests can contain slashes, but references such
	// as registry.example.com/app:1.7 and localhost:5000/app must not be taken
	// for digests. The digests of artifacts are hexadecimal.
	if digest, err := entry.ParseDigest(arg); err == nil && !strings.Contains(arg, "/") {
		if r.flags.Type == "" {
			return fmt.Errorf("%s: a digest does not reveal what it identifies: add --type", arg)
		}
		r.add(r.flags.Type, r.flags.Name, digestOf(digest.String()))
		return nil
	}
	info, err := fs.FileInfo(nil), fs.ErrNotExist
	if !strings.Contains(arg, "://") {
		info, err = os.Stat(arg)
	}
	switch {
	case err == nil && pinnedReference.MatchString(arg):
		return fmt.Errorf("%[1]s: both a file and a reference: name the file as ./%[1]s, or the reference as oci://%[1]s", arg)
	case err == nil && info.IsDir():
		return fmt.Errorf("%s: a folder: name its files, or use --manifest for rendered manifests", arg)
	case err == nil:
		return r.file(arg)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case !strings.Contains(arg, "/"):
		return fmt.Errorf("%s: neither a file nor a reference with a registry, such as registry.example.com/app:1.7", arg)
	}
	s, err := r.reference(ctx, r.flags.Type, arg)
	if err == nil && r.flags.Name != "" {
		s.Artifact.Name = r.flags.Name
	}
	return err
}

// pinnedReference matches references that begin with a registry's host, and end
// with a tag or digest.
var pinnedReference = regexp.MustCompile(`^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]+)?|[A-Za-z0-9-]+:[0-9]+|localhost)/.*[:@][^/]+$`)

func (r *resolver) add(typ, name string, digest map[string]string) *subject {
	s := &subject{GateSubject: &munimentv1.GateSubject{Type: typ, Artifact: &munimentv1.Artifact{Name: name, Digest: digest}}}
	r.subjects = append(r.subjects, s)
	return s
}

// file hashes a file and recognizes its type by its content.
func (r *resolver) file(path string) error {
	f, err := interrupt.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := &headWriter{}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, head), f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	typ := r.flags.Type
	if typ == "" {
		if typ, err = typeOf(f, head.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	name := r.flags.Name
	if name == "" {
		name = filepath.Base(path)
	}
	r.add(typ, name, map[string]string{"sha256": hex.EncodeToString(h.Sum(nil))})
	return nil
}

// maxHead is the number of bytes by which a file's type is recognized. Export
// manifests are not larger.
const maxHead = 1 << 20

// A headWriter keeps the first bytes that are written to it, and one more, by
// which a longer file is recognized.
type headWriter struct{ bytes.Buffer }

func (w *headWriter) Write(p []byte) (int, error) {
	w.Buffer.Write(p[:min(len(p), maxHead+1-w.Len())])
	return len(p), nil
}

func typeOf(f io.ReadSeeker, head []byte) (string, error) {
	switch {
	case bytes.HasPrefix(head, []byte(delta.Preamble)):
		return artifact.Delta, nil
	case isExportManifest(head):
		return artifact.ExportManifest, nil
	case !bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return artifact.File, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	_, err := helm.ReadArchive(f)
	switch {
	case err == nil:
		return artifact.Chart, nil
	case errors.Is(err, helm.ErrMalformed):
		return artifact.File, nil
	}
	return "", err
}

// isExportManifest reports whether a document is an export manifest, or has the
// members that every one of version 1 has.
func isExportManifest(text []byte) bool {
	var m map[string]json.RawMessage
	if len(text) > maxHead || json.Unmarshal(text, &m) != nil {
		return false
	}
	if _, err := export.Read(text); err == nil {
		return true
	}
	for _, member := range []string{"files", "residencyRegions", "licenses"} {
		if _, ok := m[member]; !ok {
			return false
		}
	}
	return true
}

// reference resolves an image or chart in a registry. Without a type, the
// registry's manifest determines which it is.
func (r *resolver) reference(ctx context.Context, typ, ref string) (*subject, error) {
	key := [2]string{typ, ref}
	if s := r.byRef[key]; s != nil {
		return s, nil
	}
	s, err := r.lookUp(ctx, typ, ref)
	if err != nil {
		return nil, err
	}
	r.byRef[key] = s
	return s, nil
}

func (r *resolver) lookUp(ctx context.Context, typ, ref string) (*subject, error) {
	plain := strings.TrimPrefix(ref, "oci://")
	name, at, pinned := strings.Cut(plain, "@")
	if r.flags.Offline {
		digest, err := entry.ParseDigest(at)
		if !pinned || err != nil {
			return nil, fmt.Errorf("%s: a tag can only be resolved by a registry: omit --offline, or name a digest", ref)
		}
		if typ == "" {
			typ = artifact.Image
		}
		return r.add(typ, name, digestOf(digest.String())), nil
	}
	registry, err := r.flags.Open(ref)
	if err != nil {
		return nil, err
	}
	all, err := registry.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	if typ == "" {
		typ = artifact.Image
		if all[0].Chart != nil {
			typ = artifact.Chart
		}
	}
	s := r.add(typ, name, digestOf(all[0].Digest))
	s.Parts = partsOf(all)
	return s, nil
}

// archivePart names the part of a chart in a registry that is its archive.
const archivePart = "archive"

// partsOf returns the parts of the first artifact: the archive of a chart, or
// the manifests of the platforms of an index.
func partsOf(all []*oci.Artifact) (parts []*munimentv1.GatePart) {
	if all[0].Chart != nil {
		parts = append(parts, &munimentv1.GatePart{Digest: digestOf(all[0].Chart.Archive), Platform: archivePart})
	}
	for _, p := range platforms(all) {
		parts = append(parts, &munimentv1.GatePart{Digest: digestOf(p.Digest), Platform: p.Platform})
	}
	return parts
}

// platforms returns the manifests below an index, without indexes in it.
func platforms(all []*oci.Artifact) []*oci.Artifact {
	return slices.DeleteFunc(slices.Clone(all[1:]), func(a *oci.Artifact) bool {
		return strings.Contains(a.MediaType, "index") || strings.Contains(a.MediaType, "manifest.list")
	})
}

func digestOf(text string) map[string]string {
	alg, value, _ := strings.Cut(text, ":")
	return map[string]string{alg: value}
}

// manifests resolves the images in manifests.
func (r *resolver) manifests(ctx context.Context, path string) error {
	if path == "-" {
		return r.stream(ctx, "standard input", r.app.Stdin)
	}
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return fmt.Errorf("--manifest: %w", err)
	} else if info.IsDir() {
		if files, err = manifestFiles(path); err != nil {
			return fmt.Errorf("--manifest: %w", err)
		}
	}
	for _, name := range files {
		f, err := interrupt.Open(name)
		if err != nil {
			return fmt.Errorf("--manifest: %w", err)
		}
		err = r.stream(ctx, name, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// manifestFiles returns the YAML and JSON files in a folder and below, sorted.
func manifestFiles(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s: no .yaml, .yml or .json files", dir)
	}
	return files, err
}

func (r *resolver) stream(ctx context.Context, name string, in io.Reader) error {
	found, err := images.Read(in, r.paths)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if found.Resources == 0 {
		return fmt.Errorf("%s: no Kubernetes resources", name)
	}
	for _, i := range found.Images {
		// The registry's manifest must not turn it into a chart, to which
		// other controls apply.
		s, err := r.reference(ctx, artifact.Image, i.Reference)
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w", name, i.Line, i.Resource, err)
		}
		s.Where = append(s.Where, fmt.Sprintf("%s:%d: %s %s", name, i.Line, i.Resource, i.Field))
	}
	for _, i := range found.Unknown {
		i.Field = fmt.Sprintf("%s:%d: %s", name, i.Line, i.Field)
		r.unknown = append(r.unknown, i)
	}
	return nil
}
