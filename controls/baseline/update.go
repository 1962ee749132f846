package baseline

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/catalog"
)

// Text returns the file as it was parsed.
func (f *File) Text() []byte { return f.text }

// Update returns the text of the file with other digests, by the references of
// their images. Only hexadecimal digits of these digests differ.
func (f *File) Update(digests map[string]string) ([]byte, error) {
	text := bytes.Clone(f.text)
	found := 0
	for _, i := range f.Images {
		to, ok := digests[i.Reference]
		if !ok {
			continue
		}
		if !digestPattern.MatchString(to) {
			return nil, fmt.Errorf("image %s: %q is not a SHA-256 digest", i.Reference, to)
		}
		copy(text[i.digits:], to[len(prefix):])
		found++
	}
	if found != len(digests) {
		return nil, fmt.Errorf("%d of %d images to update are not in the file", len(digests)-found, len(digests))
	}
	if err := f.onlyDigests(text, digests); err != nil {
		return nil, fmt.Errorf("the file is not changed: %w", err)
	}
	return text, nil
}

// onlyDigests reads a changed text again. It returns an error unless the
// digests are as given, and everything else is as it was.
func (f *File) onlyDigests(text []byte, digests map[string]string) error {
	g, err := Parse(text)
	if err != nil {
		return fmt.Errorf("read it again: %w", err)
	}
	if len(g.Images) != len(f.Images) {
		return fmt.Errorf("it would have %d images instead of %d", len(g.Images), len(f.Images))
	}
	for n, i := range g.Images {
		want := f.Images[n].Digest
		if to, ok := digests[i.Reference]; ok {
			want = to
		}
		if i.Reference != f.Images[n].Reference || i.Digest != want {
			return fmt.Errorf("images[%d] would not be as intended", n)
		}
	}
	if !sameSet(f.Set(f.Images...), g.Set(g.Images...)) {
		return fmt.Errorf("something other than digests would change")
	}
	return nil
}

func sameSet(a, b *catalog.Set) bool {
	if a.Version != b.Version || len(a.Signers) != len(b.Signers) || len(a.Controls) != len(b.Controls) {
		return false
	}
	for i := range a.Signers {
		if !proto.Equal(a.Signers[i], b.Signers[i]) {
			return false
		}
	}
	for i := range a.Controls {
		if !proto.Equal(a.Controls[i], b.Controls[i]) {
			return false
		}
	}
	return true
}
