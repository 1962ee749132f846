package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	_ "crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"muniment.dev/muniment/internal/peers/helmrig"
)

func TestProvenanceOfHelm(t *testing.T) {
	w := helmrig.New(t)
	w.Pack("gateway", "1.7.0", "one")
	prov, a := w.Read("gateway-1.7.0.tgz.prov"), archive(t, w.Read("gateway-1.7.0.tgz"))
	other := helmrig.NewEntity(t, "Other", "other@acme.example", nil)
	for name, data := range map[string][]byte{
		"binary": serialised(t, other, w.Signer), "armored": armored(t, w.Signer), "armored, one after the other": armored(t, other, w.Signer), "the secret one": w.Read("secring.gpg"),
	} {
		p, err := keyring(t, data).Verify(prov)
		if err != nil {
			t.Errorf("keyring %s: %v", name, err)
			continue
		}
		if err := p.Check(a); err != nil {
			t.Errorf("keyring %s: %v", name, err)
		}
		if p.Chart != "gateway" || p.Version != "1.7.0" || p.Files["gateway-1.7.0.tgz"] != a.Digest || p.SignedAt.IsZero() {
			t.Errorf("keyring %s: %+v", name, p)
		}
		if want := hex.EncodeToString(w.Signer.PrimaryKey.Fingerprint); p.Fingerprint != want || p.Identity != "Release <release@acme.example>" || p.Signer().KeyID != "pgp:"+want {
			t.Errorf("keyring %s: signed by %+v, want %s", name, p.Signer(), want)
		}
		if s := p.Subjects(); len(s) != 1 || s[0].Name != "gateway-1.7.0.tgz" || "sha256:"+s[0].Digest["sha256"] != a.Digest {
			t.Errorf("keyring %s: subjects %v", name, s)
		}
	}
	if _, err := keyring(t, serialised(t, other)).Verify(prov); !errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), "not in the keyring") {
		t.Errorf("another's keyring: %v", err)
	}
	p, err := Parse(prov)
	if err != nil || p.Fingerprint != "" || p.Chart != "gateway" {
		t.Errorf("read without a keyring: %+v, %v", p, err)
	}

	// The same chart, packed again with something changed.
	w.Pack("gateway", "1.7.0", "two")
	if err := p.Check(archive(t, w.Read("gateway-1.7.0.tgz"))); !errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), "but the signed digest is that of gateway-1.7.0.tgz sha256:") {
		t.Errorf("another archive: %v", err)
	}
	w.Pack("gateway", "1.7.1", "one")
	if err := p.Check(archive(t, w.Read("gateway-1.7.1.tgz"))); !errors.Is(err, ErrNotVerified) {
		t.Errorf("another version: %v", err)
	}
	renamed := *a
	renamed.Version = "1.7.2"
	if err := p.Check(&renamed); !errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), "the signed metadata names gateway-1.7.0") {
		t.Errorf("an archive that calls itself otherwise: %v", err)
	}
}

func TestChangedProvenance(t *testing.T) {
	w := helmrig.New(t)
	w.Pack("gateway", "1.7.0", "one")
	prov := string(w.Read("gateway-1.7.0.tgz.prov"))
	k := keyring(t, serialised(t, w.Signer))
	for _, test := range []struct {
		name, prov string
		is         error
		want       string
	}{
		{"empty", "", ErrMalformed, "no PGP signed message"},
		{"cut short in the text", prov[:len(prov)/3], ErrMalformed, "no PGP signed message"},
		{"cut short in the signature", prov[:len(prov)-60], nil, ""},
		{"nothing in it", "-----BEGIN PGP SIGNED MESSAGE-----\n\n-----BEGIN PGP SIGNATURE-----", ErrMalformed, "no PGP signed message"},
		{"another description", strings.Replace(prov, "description: one", "description: two", 1), ErrNotVerified, "signature"},
		{"another digest", changeDigest(prov), ErrNotVerified, "signature"},
		{"text before it", "files:\n  a.tgz: sha256:00\n...\n" + prov, ErrMalformed, "outside"},
		{"text behind it", prov + "\n...\nfiles: {}\n", ErrMalformed, "outside"},
		{"no file", strings.Replace(prov, "files:", "sums:", 1), ErrMalformed, "files: missing"},
		{"a digest that is none", strings.Replace(prov, "sha256:", "sha1:", 1), ErrMalformed, `files: "gateway-1.7.0.tgz": must be sha256:`},
		{"no name", strings.Replace(prov, "name: gateway", "title: gateway", 1), ErrMalformed, "name: missing"},
		{"no checksums", strings.Replace(prov, "\n...\n", "\n", 1), ErrMalformed, "no digests of files"},
		{"large", prov + strings.Repeat("\n", MaxProvenance), ErrMalformed, "more than 1048576 bytes"},
	} {
		_, err := k.Verify([]byte(test.prov))
		if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotVerified) {
			t.Errorf("%s: %v is no verdict", test.name, err)
		}
	}
}

func changeDigest(prov string) string {
	i := strings.Index(prov, "sha256:") + len("sha256:")
	c := byte('0')
	if prov[i] == c {
		c = '1'
	}
	return prov[:i] + string(c) + prov[i+1:]
}

// clearSigned is a provenance file that is well-formed, signed under another
// configuration.
func clearSigned(t testing.TB, by *openpgp.Entity, config *packet.Config) []byte {
	t.Helper()
	var b bytes.Buffer
	s, err := clearsign.Encode(&b, by.PrivateKey, config)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(s, "name: gateway\nversion: 1.7.0\n\n...\nfiles:\n  gateway-1.7.0.tgz: sha256:"+strings.Repeat("0", 64)+"\n")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signedWith replaces the signature by one over another hash. Libraries don't
// make weak ones willingly, so it is made of packets.
func signedWith(t *testing.T, by *openpgp.Entity, hash crypto.Hash, prov []byte) []byte {
	t.Helper()
	block, _ := clearsign.Decode(prov)
	sig := &packet.Signature{Version: by.PrivateKey.Version, SigType: packet.SigTypeText, PubKeyAlgo: by.PrivateKey.PubKeyAlgo, Hash: hash, CreationTime: time.Now(), IssuerKeyId: &by.PrimaryKey.KeyId}
	h := hash.New()
	h.Write(block.Bytes)
	if err := sig.Sign(h, by.PrivateKey, &packet.Config{NonDeterministicSignaturesViaNotation: packet.BoolPointer(false)}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.Write(prov[:bytes.Index(prov, []byte("-----BEGIN PGP SIGNATURE-----"))])
	a, err := armor.Encode(&b, openpgp.SignatureType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sig.Serialize(a), a.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWeakSignatures(t *testing.T) {
	fresh, old := helmrig.NewEntity(t, "Fresh", "a@acme.example", nil), helmrig.NewEntity(t, "Old", "b@acme.example", longAgo)
	k := keyring(t, serialised(t, fresh, old))
	if _, err := k.Verify(clearSigned(t, fresh, nil)); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	if _, err := k.Verify(signedWith(t, fresh, crypto.SHA512, clearSigned(t, fresh, nil))); err != nil {
		t.Errorf("SHA-512: %v", err)
	}
	if _, err := k.Verify(signedWith(t, fresh, crypto.SHA1, clearSigned(t, fresh, nil))); !errors.Is(err, ErrNotVerified) {
		t.Errorf("SHA-1: %v", err)
	}
	if _, err := k.Verify(clearSigned(t, old, nil)); !errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired key: %v", err)
	}
}

func TestBadKeyrings(t *testing.T) {
	good := helmrig.NewEntity(t, "A", "a@acme.example", nil)
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("no keys"), "cut short": serialised(t, good)[:40], "an armored signature": []byte("-----BEGIN PGP SIGNATURE-----\n\nwsA=\n-----END PGP SIGNATURE-----\n")} {
		if k, err := ParseKeyring(data); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "keyring: ") || strings.Contains(err.Error(), "/tmp") {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBadArchives(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "gateway/zeros", Mode: 0o600, Size: maxUnpacked + 1<<20, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range (maxUnpacked + 1<<20) / len(zeros) {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	good := tarball(t, map[string]string{"gateway/Chart.yaml": "name: gateway\nversion: 1.7.0\n"})
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"no archive":         {[]byte("x"), "not a .tgz"},
		"no chart":           {tarball(t, map[string]string{"a/b": "c"}), "no Chart.yaml found"},
		"a chart in a chart": {tarball(t, map[string]string{"a/charts/b/Chart.yaml": "name: b\nversion: 1\n"}), "no Chart.yaml found"},
		"no version":         {tarball(t, map[string]string{"a/Chart.yaml": "name: b\n"}), "a/Chart.yaml: version: missing"},
		"no YAML":            {tarball(t, map[string]string{"a/Chart.yaml": "\t{"}), "a/Chart.yaml: "},
		"a large Chart.yaml": {tarball(t, map[string]string{"a/Chart.yaml": "name: " + strings.Repeat("x", MaxProvenance)}), "more than 1048576 bytes"},
		"a bomb":             {bomb.Bytes(), "no Chart.yaml in its first"},
		"cut short":          {good[:20], "not a .tgz"},
	} {
		if a, err := ReadArchive(bytes.NewReader(test.data)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v, want %q", name, a, err, test.want)
		}
	}
	failing := io.MultiReader(bytes.NewReader(good[:20]), failed{})
	if _, err := ReadArchive(failing); errors.Is(err, ErrMalformed) || !errors.Is(err, errDisk) {
		t.Errorf("a failing disk: %v", err)
	}
}

var errDisk = errors.New("the disk is broken")

type failed struct{}

func (failed) Read([]byte) (int, error) { return 0, errDisk }

// message returns a provenance file with any text.
func message(t testing.TB, by *openpgp.Entity, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	s, err := clearsign.Encode(&b, by.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(s, text)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Reasons contain no text of the signed YAML.
func TestReasonsOfProvenance(t *testing.T) {
	e := helmrig.NewEntity(t, "A", "a@acme.example", nil)
	k := keyring(t, serialised(t, e))
	zeros := strings.Repeat("0", 64)
	for text, want := range map[string]string{
		"name: [a]\nversion: 1\n\n...\nfiles: {a.tgz: sha256:" + zeros + "}\n":   "metadata: line 1: name: must be text, not a list",
		"- a\n\n...\nfiles: {a.tgz: sha256:" + zeros + "}\n":                     "metadata: line 1: must be a map, not a list",
		"name: \"\\q\"\n\n...\nfiles: {a.tgz: sha256:" + zeros + "}\n":           "metadata: not YAML",
		"name: a\nversion: 1\n\n...\nfiles: a.tgz\n":                             "files: line 1: must be a map, not text",
		"name: a\nversion: 1\n\n...\nfiles: {a.tgz: {sha256: x}}\n":              "files: line 1: a.tgz: must be text, not a map",
		"name: a\nversion: 1\n\n...\nfiles: {\"a\\u202e\": []}\n":                `files: line 1: "a\u202e": must be text, not a list`,
		"name: a\nversion: 1\n\n...\nfiles: {a.tgz: ~}\n":                        "files: a value is missing",
		"name: a\nversion: 1\n\n...\nfiles: {}\n":                                "files: empty",
		"name: a\nversion: 1\n\n...\nfiles: {a: \"sha256:" + zeros + "\", a: b}": `files: line 1: duplicate member "a"`,
		"name: a\nversion: 1\n\n...\n\tfiles\n":                                  "not YAML",
	} {
		if _, err := k.Verify(message(t, e, text)); !errors.Is(err, ErrMalformed) || err.Error() != "chart provenance: "+want {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	changed := bytes.Replace(clearSigned(t, e, nil), []byte("version: 1.7.0"), []byte("version: 1.7.1"), 1)
	if _, err := k.Verify(changed); err == nil || err.Error() != "chart provenance: not verified: signature: the key did not sign the text, or the text was changed" {
		t.Errorf("a changed text: %v", err)
	}
	if _, err := ParseKeyring([]byte("no keys")); err == nil || err.Error() != "keyring: it is damaged or not in OpenPGP format" {
		t.Errorf("a keyring that is text: %v", err)
	}
}

// A digest in upper case, as PowerShell prints it, is the same digest.
func TestUpperCaseDigest(t *testing.T) {
	e := helmrig.NewEntity(t, "A", "a@acme.example", nil)
	p, err := keyring(t, serialised(t, e)).Verify(message(t, e, "name: a\nversion: 1\n\n...\nfiles: {a.tgz: sha256:"+strings.Repeat("AB", 32)+"}\n"))
	if err != nil || p.Files["a.tgz"] != "sha256:"+strings.Repeat("ab", 32) {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := p.Check(&Archive{"a", "1", "sha256:" + strings.Repeat("ab", 32)}); err != nil {
		t.Error(err)
	}
}
