package bundle

import (
	"errors"
	"fmt"
	"io"
)

// A Bundle is an open bundle. Its manifest matches its members. Nothing else is
// verified.
type Bundle struct {
	Manifest *Manifest
	Identity string
	Bytes    int64 // of the file

	r      io.ReaderAt
	files  []file // without the manifest, in the order of the manifest's members
	places map[string]int
}

// Open performs steps 1 and 2 of docs/spec/bundle.md, section 5. Errors are of
// the type *Error.
func Open(r io.ReaderAt, size int64) (*Bundle, error) {
	files, err := readArchive(r, size)
	if err != nil {
		return nil, err
	}
	last := files[len(files)-1]
	if last.name != ManifestName {
		return nil, fail(ManifestMissing, "the last member is %s, want %s", last.name, ManifestName)
	}
	if last.size > MaxManifestSize {
		return nil, fail(ManifestMalformed, "%s: more than %d bytes", ManifestName, MaxManifestSize)
	}
	text := make([]byte, last.size)
	if err := readAt(r, text, last.offset); err != nil {
		return nil, err
	}
	b := &Bundle{Identity: Identity(text), Bytes: size, r: r, files: files[:len(files)-1], places: map[string]int{}}
	if b.Manifest, err = parseManifest(text); err != nil {
		return nil, err
	}
	if err := b.compare(); err != nil {
		return nil, fail(MembersDiffer, "%s: %w", ManifestName, err)
	}
	return b, nil
}

// compare compares the manifest's members with those of the archive.
func (b *Bundle) compare() error {
	members := b.Manifest.Members
	if len(members) != len(b.files) {
		return fmt.Errorf("it lists %d members, but the archive has %d others", len(members), len(b.files))
	}
	tiles := 0
	for i, f := range b.files {
		m := &members[i]
		switch {
		case m.Name != f.name:
			return fmt.Errorf("it lists the member %.100q, but the archive has %s", m.Name, f.name)
		case m.Size != f.size:
			return fmt.Errorf("%s: it lists %d bytes, but the archive has %d", f.name, m.Size, f.size)
		case m.Role == "" || m.Role != roleOf(f.name):
			return fmt.Errorf("%s: no member of the role %.100q has this name", f.name, string(m.Role))
		case m.Role == RoleTile:
			tiles++
		}
		b.places[f.name] = i
	}
	for _, name := range []string{CheckpointName, PolicyName, IndexName} {
		if _, ok := b.places[name]; !ok {
			return fmt.Errorf("no member %s", name)
		}
	}
	return b.compareTiles(tiles)
}

// compareTiles compares the members that are tiles with those of the tree.
func (b *Bundle) compareTiles(have int) error {
	var err error
	n := 0
	Tiles(b.Manifest.Size, func(t Tile) bool {
		n++
		switch i, ok := b.places[t.Name()]; {
		case !ok:
			err = fmt.Errorf("no member %s", t.Name())
		case b.files[i].size != t.Size():
			err = fmt.Errorf("%s: %d bytes, want %d", t.Name(), b.files[i].size, t.Size())
		}
		return err == nil
	})
	if err == nil && n != have {
		err = errors.New("a tile that the tree does not have")
	}
	return err
}

// section returns the content of a member by its place.
func (b *Bundle) section(i int) *io.SectionReader {
	return io.NewSectionReader(b.r, b.files[i].offset, b.files[i].size)
}

// Open returns the content of a member, or nil if there is none with the name.
func (b *Bundle) Open(name string) *io.SectionReader {
	if i, ok := b.places[name]; ok {
		return b.section(i)
	}
	return nil
}

// maxRead is the size of the largest member that is read into memory.
const maxRead = 16 << 20

// read returns the content of a small member, which exists.
func (b *Bundle) read(name string) ([]byte, error) {
	f := b.files[b.places[name]]
	if f.size > maxRead {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", name, f.size, maxRead)
	}
	out := make([]byte, f.size)
	return out, readAt(b.r, out, f.offset)
}
