package format

import (
	"mime"
	"testing"

	"muniment.dev/muniment/verifiers/shape"
)

// TestRegistry checks that each row is complete and bounded, and that its media
// type is canonical and unique.
func TestRegistry(t *testing.T) {
	shapes, names := map[shape.Set]bool{}, map[string]bool{}
	for _, f := range All() {
		if f.Name == "" || names[f.Name] || f.MaxSize <= 0 || f.read == nil {
			t.Errorf("row %+v", f)
		}
		names[f.Name] = true
		if is, err := Canonical(f.MediaType); err != nil || is != f.MediaType || Of(is) != f {
			t.Errorf("%s: media type %q, canonical %q, %v", f.Name, f.MediaType, is, err)
		}
		if f.shape != shape.None && (shapes[f.shape] || f.recognize != nil) {
			t.Errorf("%s: recognized in two ways, or by the same shape as another format", f.Name)
		}
		shapes[f.shape] = true
		if _, err := f.Read(make([]byte, f.MaxSize+1)); err == nil {
			t.Errorf("%s: a document above the size limit is read", f.Name)
		}
		if _, err := f.Read(nil); err == nil {
			t.Errorf("%s: an empty document is read", f.Name)
		}
	}
}

func TestCanonical(t *testing.T) {
	for given, want := range map[string]string{
		"Application/VND.In-Toto+JSON; charset=utf-8":          Statement.MediaType,
		"application/vnd.dev.sigstore.bundle.v0.3+json":        "application/vnd.dev.sigstore.bundle.v0.3+json",
		"application/vnd.dev.sigstore.bundle+json;version=0.1": "application/vnd.dev.sigstore.bundle+json; version=0.1",
		"Text/Plain; Charset=x":                                "text/plain; charset=x",
		"json":                                                 "",
		"":                                                     "",
	} {
		if got, err := Canonical(given); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", given, got, err, want)
		}
	}
}

// TestCanonicalUnparsed checks that media types that are not parsed, because
// they look canonical, are the same as after parsing.
func TestCanonicalUnparsed(t *testing.T) {
	skipped := 0
	for c := range 256 {
		for _, s := range []string{"a" + string([]byte{byte(c)}) + "b/c", "a/b" + string([]byte{byte(c)}), string([]byte{byte(c)}) + "/c", "a/" + string([]byte{byte(c)}), "a/b/" + string([]byte{byte(c)})} {
			if !isCanonical(s) {
				continue
			}
			skipped++
			base, params, err := mime.ParseMediaType(s)
			if is := mime.FormatMediaType(base, params); err != nil || is != s {
				t.Errorf("%q is taken for canonical; parsed: %q, %v", s, is, err)
			}
		}
	}
	if want := 4 * (26 + 10 + 9); skipped != want {
		t.Errorf("%d media types look canonical, want %d", skipped, want)
	}
}
