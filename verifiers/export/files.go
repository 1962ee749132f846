package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"muniment.dev/muniment/ledger/entry"
)

// files performs step 8.
func (v *verification) files(ctx context.Context) error {
	if v.o.Files == nil {
		return nil
	}
	for i := range v.manifest.Files {
		if err := v.present(v.manifest.Files[i].Name); err != nil {
			return err
		}
	}
	if err := v.noOthers(ctx); err != nil {
		return err
	}
	var total uint64
	for _, f := range v.manifest.Files {
		total += f.Size
	}
	buf := make([]byte, 256<<10)
	for i := range v.manifest.Files {
		if err := v.content(ctx, &v.manifest.Files[i], total, buf); err != nil {
			return err
		}
	}
	return nil
}

// present performs step 8.1 for a file. Neither the file nor a folder on its
// path can be a link.
func (v *verification) present(name string) error {
	for at := 0; at < len(name); {
		next := strings.IndexByte(name[at:], '/')
		last := next < 0
		path := name
		if !last {
			path = name[:at+next]
		}
		info, err := fs.Lstat(v.o.Files, path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENAMETOOLONG):
			return fail(FileMissing, "file %q is missing", name)
		case err != nil:
			return fail(Unreadable, "file %q: %w", name, err)
		case last && !info.Mode().IsRegular():
			return fail(FileMissing, "file %q is not a regular file", name)
		case !last && !info.IsDir():
			return fail(FileMissing, "file %q: %q is not a folder", name, path)
		case last:
			return nil
		}
		at += next + 1
	}
	return nil
}

// noOthers performs step 8.2.
func (v *verification) noOthers(ctx context.Context) error {
	own := map[string]bool{}
	for _, f := range v.manifest.Files {
		own[f.Name] = true
	}
	return fs.WalkDir(v.o.Files, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fail(Unreadable, "%q: %w", path, err)
		case d.IsDir() || own[path]:
			return nil
		}
		return fail(FileExtra, "file %q is not in the manifest", path)
	})
}

// content performs step 8.3 for a file. It needs constant memory.
func (v *verification) content(ctx context.Context, f *File, total uint64, buf []byte) error {
	in, err := v.o.Files.Open(f.Name)
	if err != nil {
		return fail(Unreadable, "file %q: %w", f.Name, err)
	}
	defer in.Close()
	sum, size := sha256.New(), uint64(0)
	for size <= f.Size {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(buf[:min(uint64(len(buf)), f.Size+1-size)])
		sum.Write(buf[:n])
		size += uint64(n)
		v.done += uint64(n)
		if v.o.Progress != nil {
			v.o.Progress(v.done, total)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fail(Unreadable, "file %q: %w", f.Name, err)
		}
	}
	switch {
	case size > f.Size:
		return fail(FileSize, "file %q has more than %d bytes", f.Name, f.Size)
	case size < f.Size:
		return fail(FileSize, "file %q has %d bytes, want %d", f.Name, size, f.Size)
	case entry.Hash(sum.Sum(nil)) != f.SHA256:
		return fail(FileDigest, "file %q has another digest than in the manifest", f.Name)
	}
	return nil
}
