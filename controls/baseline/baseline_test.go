package baseline

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	digestA = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	digestB = "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
	keyA    = "sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"
)

// TestSpecExample parses the example of the specification.
func TestSpecExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/spec/baselines.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ := strings.Cut(rest, "```")
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Images) != 2 || f.Images[0].Digest != digestA || f.Images[1].Vetted == nil || f.Images[1].Vetted.Expires.Format("2006-01-02") != "2027-02-01" {
		t.Errorf("%+v", f.Images)
	}
}

const head = "version: v1\nsigners: {ci: {keys: [\"" + keyA + "\"]}}\n"

// TestProblems checks that each mistake is reported with its place.
func TestProblems(t *testing.T) {
	image := "  - {image: 'a.example/xx:1', digest: " + digestA + "}\n"
	required := head + "require: [{name: p, signers: [ci]}]\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {"", "the baseline is empty"},
		"not UTF-8":           {"version: \xff", "not UTF-8"},
		"UTF-16":              {"\xff\xfev\x00", "not UTF-8"},
		"no version":          {"signers: {}\nimages: []\n", "line 2, column 9: images: must not be empty"},
		"no images":           {head, "images: missing"},
		"unknown member":      {required + "image: []\n", `image: unknown member: a baseline has images, require, signers, version: did you mean images?`},
		"second document":     {required + "images:\n" + image + "---\nversion: 2\n", "more than one YAML document"},
		"duplicate member":    {required + "images:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", digest: " + digestB + "}\n", "line 5, column 112: images[0].digest: duplicate member"},
		"anchor":              {required + "images:\n  - {image: 'a.example/xx:1', digest: &d " + digestA + "}\n", "images[0].digest: anchors and aliases are not allowed"},
		"alias":               {required + "images:\n  - {image: &i 'a.example/xx:1', digest: *i}\n", "anchors and aliases are not allowed"},
		"tag":                 {required + "images:\n  - {image: 'a.example/xx:1', digest: !!str " + digestA + "}\n", "images[0].digest: must not have a tag"},
		"escape":              {required + "images:\n  - {image: 'a.example/xx:1', digest: \"\\x73" + digestA[1:] + "\"}\n", "line 5, column 39: images[0].digest: must be written on one line without escape sequences"},
		"folded":              {required + "images:\n  - image: a.example/xx:1\n    digest: >-\n      " + digestA + "\n", "images[0].digest: must be written on one line"},
		"continued line":      {required + "images:\n  - image: a.example/xx:1\n    digest: \"" + digestA[:20] + "\\\n      " + digestA[20:] + "\"\n", "images[0].digest: must be written on one line"},
		"short digest":        {required + "images:\n  - {image: 'a.example/xx:1', digest: 'sha256:abc'}\n", "must be sha256: and 64 lowercase"},
		"upper case":          {required + "images:\n  - {image: 'a.example/xx:1', digest: '" + strings.ToUpper(digestA) + "'}\n", "must be sha256: and 64 lowercase"},
		"no digest":           {required + "images:\n  - {image: 'a.example/xx:1'}\n", "images[0].digest: missing"},
		"no tag":              {required + "images:\n  - {image: 'a.example/xx', digest: " + digestA + "}\n", "must be REGISTRY/NAME:TAG"},
		"no registry":         {required + "images:\n  - {image: 'debian:13', digest: " + digestA + "}\n", "must be REGISTRY/NAME:TAG"},
		"a folder":            {required + "images:\n  - {image: 'library/debian:13', digest: " + digestA + "}\n", "must be REGISTRY/NAME:TAG"},
		"digest in reference": {required + "images:\n  - {image: 'a.example/xx@" + digestA + "', digest: " + digestA + "}\n", "move the digest to the member digest"},
		"twice":               {required + "images:\n" + image + image, "line 6, column 13: images[1].image: duplicate reference: images[0] has it, too"},
		"no evidence":         {head + "images:\n" + image, "images[0]: needs no evidence"},
		"two sources":         {head + "images:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", require: [{name: p, signers: [ci]}], vetted: {expires: 2027-01-01, signers: [ci]}}\n", "has require and vetted"},
		"unknown signer":      {head + "require: [{name: p, signers: [cj]}]\nimages:\n" + image, `line 3, column 31: require[0].signers[0]: "cj" is not a signer of this set: did you mean ci?`},
		"own signer":          {head + "images:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", require: [{name: p, signers: [cj]}]}\n", `images[0].require[0].signers[0]: "cj" is not a signer`},
		"vetting signer":      {head + "images:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", vetted: {expires: 2027-01-01, signers: [cj]}}\n", `images[0].vetted.signers: "cj" is not a signer`},
		"unmeetable":          {head + "require: [{name: p, signers: [ci], min_signers: 2}]\nimages:\n" + image, "require[0].min_signers: can never be met"},
		"unused but wrong":    {head + "require: [{name: p, signers: [cj]}]\nimages:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", vetted: {expires: 2027-01-01, signers: [ci]}}\n", "require[0].signers[0]"},
		"two forms of signer": {"version: v1\nsigners: {ci: {keys: ['" + keyA + "'], submitters: ['x']}}\nimages:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", vetted: {expires: 2027-01-01, signers: [ci]}}\n", "signers.ci: must be exactly one of"},
		"no expiry":           {head + "images:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", vetted: {signers: [ci]}}\n", "images[0].vetted.expires: missing"},
		"expiry":              {head + "images:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", vetted: {expires: tomorrow, signers: [ci]}}\n", "must be a day such as 2027-02-01"},
	} {
		t.Run(name, func(t *testing.T) {
			switch _, err := Parse([]byte(c.text)); {
			case err == nil:
				t.Fatal("no error")
			case !strings.Contains(err.Error(), c.want):
				t.Errorf("%s\nwant %s", err, c.want)
			case name != "empty" && !strings.HasPrefix(err.Error(), "line ") && !strings.Contains(err.Error(), "UTF-8"):
				t.Errorf("no position: %s", err)
			}
		})
	}
}

// written draws a spelling of a digest.
func written(t *rapid.T, digest string) string {
	return rapid.SampledFrom([]string{digest, "'" + digest + "'", `"` + digest + `"`}).Draw(t, "quotes")
}

// drawFile draws a valid file with its digests.
func drawFile(t *rapid.T) (text string, digests []string) {
	space := func(label string) string {
		return rapid.SampledFrom([]string{"", "", "\n", "# " + digestA + "\n", "# é \u2028# x\n", "   \n"}).Draw(t, label)
	}
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"", "---\n", "# head\n---\n"}).Draw(t, "start"))
	b.WriteString(space("space"))
	b.WriteString(head)
	b.WriteString("require: [{name: p, predicate_types: ['https://x.example/" + digestA + "'], signers: [ci]}] # require\n")
	b.WriteString("images:\n")
	for i := range rapid.IntRange(1, 4).Draw(t, "images") {
		digest := fmt.Sprintf("sha256:%064x", rapid.Uint64Range(0, 3).Draw(t, "digest"))
		digests = append(digests, digest)
		b.WriteString(space("space"))
		vetted := rapid.SampledFrom([]string{"", ", vetted: {expires: 2027-01-01, signers: [ci], reason: 'é " + digest + "'}"}).Draw(t, "vetted")
		switch rapid.IntRange(0, 3).Draw(t, "style") {
		case 0:
			fmt.Fprintf(&b, "  - {image: 'a.example/xx:%d', digest: %s%s}\n", i, written(t, digest), vetted)
		case 1:
			fmt.Fprintf(&b, "  - {digest: %s, image: a.example/é-%d/../x%d:1}\n", written(t, digest), i, i)
			s := strings.ReplaceAll(b.String(), fmt.Sprintf("a.example/é-%d/../x%d:1", i, i), fmt.Sprintf("\"\\x61.example/x%d:1\"", i))
			b.Reset()
			b.WriteString(s)
		case 2:
			fmt.Fprintf(&b, "  - image:   a.example/xx%d:1 # %s\n    digest:     %s   # ↑ %s\n", i, digest, written(t, digest), digest)
		default:
			fmt.Fprintf(&b, "  -\n      digest:\n        %s\n      image: a.example/xx%d:1\n", written(t, digest), i)
		}
	}
	b.WriteString(rapid.SampledFrom([]string{"", "...\n", "# end", "# " + digestB + "\n"}).Draw(t, "end"))
	text = b.String()
	if rapid.Bool().Draw(t, "crlf") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if rapid.Bool().Draw(t, "bom") {
		text = byteOrderMark + text
	}
	return text, digests
}

const byteOrderMark = "\ufeff"

// TestUpdateChangesOnlyDigests checks for random files and changes that every
// byte outside of the changed digests stays, and that the digests are the
// intended ones.
func TestUpdateChangesOnlyDigests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, digests := drawFile(t)
		f, err := Parse([]byte(text))
		if err != nil {
			t.Fatalf("%s\n%q", err, text)
		}
		moves, changed := map[string]string{}, map[int]bool{}
		for i, image := range f.Images {
			if image.Digest != digests[i] {
				t.Fatalf("image %d has the digest %s, want %s", i, image.Digest, digests[i])
			}
			if rapid.Bool().Draw(t, "moves") {
				moves[image.Reference] = fmt.Sprintf("sha256:%064x", rapid.Uint64().Draw(t, "to"))
				for k := image.digits; k < image.digits+64; k++ {
					changed[k] = true
				}
			}
		}
		out, err := f.Update(moves)
		if err != nil {
			t.Fatalf("%s\n%q", err, text)
		}
		if len(out) != len(text) {
			t.Fatalf("%d bytes became %d", len(text), len(out))
		}
		for k := range out {
			if out[k] != text[k] && !changed[k] {
				t.Fatalf("byte %d changed from %q to %q\n%q", k, text[k], out[k], text)
			}
		}
		g, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		for i, image := range g.Images {
			want := digests[i]
			if to, ok := moves[image.Reference]; ok {
				want = to
			}
			if image.Digest != want {
				t.Errorf("image %d has the digest %s, want %s", i, image.Digest, want)
			}
		}
		// independent of the parser: without digests, the texts are equal
		mark := regexp.MustCompile(`[0-9a-f]{64}`)
		if !bytes.Equal(mark.ReplaceAll(out, nil), mark.ReplaceAll([]byte(text), nil)) {
			t.Error("text other than digests differs")
		}
	})
}

// TestUpdateRefuses checks changes that are refused.
func TestUpdateRefuses(t *testing.T) {
	f, err := Parse([]byte(head + "images:\n  - {image: 'a.example/xx:1', digest: " + digestA + ", vetted: {expires: 2027-01-01, signers: [ci]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, digests := range map[string]map[string]string{
		"another image": {"a.example/y:1": digestB},
		"not a digest":  {"a.example/xx:1": digestB[:70] + "\n"},
	} {
		if _, err := f.Update(digests); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
