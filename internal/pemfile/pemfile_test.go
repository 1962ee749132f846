package pemfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// secret must not appear in errors.
var secret = []byte("contents of a file that is a secret")

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(typ string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

type files struct {
	key                        *ecdsa.PrivateKey
	sec1, pkcs8, public, cert  string
	parameters, rsa, rsaPublic string
}

func newFiles(t *testing.T) *files {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	r := must(rsa.GenerateKey(rand.Reader, 2048))
	der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(2e9, 0)},
		&x509.Certificate{Subject: pkix.Name{CommonName: "ca"}}, &key.PublicKey, key))
	return &files{
		key:        key,
		sec1:       encode("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key))),
		pkcs8:      encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))),
		public:     encode("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&key.PublicKey))),
		cert:       encode("CERTIFICATE", der),
		parameters: encode("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}),
		rsa:        encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)),
		rsaPublic:  encode("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&r.PublicKey)),
	}
}

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

func TestRead(t *testing.T) {
	f := newFiles(t)
	private := func(data []byte) error { _, err := PrivateKey(data); return err }
	public := func(data []byte) error { _, err := PublicKey(data); return err }
	either := func(data []byte) error { _, err := PublicKeyOrCertificate(data); return err }
	spki := func(data []byte) error { _, err := SubjectPublicKeyInfo(data); return err }
	certs := func(data []byte) error { _, err := Certificates(data); return err }
	pool := func(data []byte) error { _, err := Pool(data); return err }
	pair := func(data []byte) error { _, err := KeyPair(data, data); return err }
	headers := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: secret}))
	for _, test := range []struct {
		name string
		read func([]byte) error
		text string
		want string // part of the error; "" for none
	}{
		{"SEC 1", private, f.sec1, ""},
		{"PKCS 8", private, f.pkcs8, ""},
		{"PKCS 1", private, f.rsa, ""},
		{"SEC 1 under another name", private, strings.ReplaceAll(f.sec1, "EC PRIVATE", "PRIVATE"), ""},
		{"parameters in front", private, f.parameters + f.sec1, ""},
		{"parameters behind", private, f.sec1 + f.parameters, ""},
		{"parameters in front of a public key", public, f.parameters + f.public, ""},
		{"parameters among certificates", certs, f.parameters + f.cert + f.cert, ""},
		{"text in front", private, "Bag Attributes\n    localKeyID: 01\n" + f.pkcs8, ""},
		{"text in front of certificates", certs, "subject=CN=a\n" + f.cert + "\nsubject=CN=b\n" + f.cert, ""},
		{"CRLF", private, crlf(f.parameters + f.sec1), ""},
		{"CRLF in a public key", public, crlf("a key\n" + f.public), ""},
		{"a byte order mark", private, "\xef\xbb\xbf" + f.sec1, ""},
		{"a certificate beside the key", private, f.cert + f.pkcs8, ""},
		{"public key", either, f.public, ""},
		{"RSA public key", public, f.rsaPublic, ""},
		{"certificate as a public key", either, f.cert, ""},
		{"SubjectPublicKeyInfo", spki, f.public, ""},
		{"text behind a pool", pool, f.cert + "text\n", ""},
		{"text after a chain", certs, f.cert + "text\n", "text after the last certificate"},
		{"pool", pool, f.cert + f.cert, ""},
		{"key pair", pair, f.parameters + f.cert + f.sec1, ""},

		{"nothing", private, "", "not PEM"},
		{"DER", public, "0Y0", "not PEM"},
		{"UTF-16", private, "\xff\xfe-\x00", "UTF-16"},
		{"parameters alone", private, f.parameters, "parameters of a key, but no key"},
		{"two private keys", private, f.pkcs8 + f.rsa, "more than one key"},
		{"two public keys", public, f.public + f.rsaPublic, "more than one PEM block"},
		{"certificate for a private key", private, f.cert + f.cert, "it is a certificate: give the private key"},
		{"public key for a private key", private, f.public, "it is a public key: give a private key"},
		{"certificate for a public key", public, f.cert, "it is a certificate: give the public key"},
		{"certificate for a SubjectPublicKeyInfo", spki, f.cert, "it is a certificate"},
		{"PKCS 1 for a SubjectPublicKeyInfo", spki, f.rsaPublic, "not a SubjectPublicKeyInfo"},
		{"private key for a public key", either, f.pkcs8, "it is a private key: give the public one"},
		{"private key for certificates", certs, f.cert + f.pkcs8, "it contains a private key"},
		{"encrypted", private, encode("ENCRYPTED PRIVATE KEY", secret), "encrypted private key: decrypt it"},
		{"encrypted, with headers", private, headers, "encrypted private key: decrypt it"},
		{"encrypted by cosign", private, encode("ENCRYPTED SIGSTORE PRIVATE KEY", secret), "encrypted private key"},
		{"encrypted for a public key", public, headers, "it is an encrypted private key: give the public one"},
		{"OpenSSH", private, encode("OPENSSH PRIVATE KEY", secret), "ssh-keygen -p -m PKCS8"},
		{"damaged private key", private, encode("PRIVATE KEY", secret), "damaged"},
		{"damaged public key", public, encode("PUBLIC KEY", secret), "damaged"},
		{"damaged certificate", certs, f.cert + encode("CERTIFICATE", secret), "certificate 1 cannot be parsed"},
		{"a block without an end", certs, f.cert + f.cert[:100], "damaged or not complete"},
		{"a block of an unknown type", public, encode("X", secret), "a PEM block of an unknown type"},
		{"too many blocks", certs, strings.Repeat(f.parameters, MaxBlocks+1), "more than 4096"},
		{"certificate without its key", pair, f.cert, "private key: it is a certificate"},
		{"key of another certificate", func(data []byte) error { _, err := KeyPair(data, []byte(f.rsa)); return err }, f.cert, "does not belong to the certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.read([]byte(test.text))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			for line := range strings.Lines(test.text) {
				if line = strings.TrimSpace(line); len(line) > 40 && strings.Contains(err.Error(), line) {
					t.Error("the error contains a line of the file")
				}
			}
			if strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(secret)) || strings.Contains(err.Error(), string(secret)) {
				t.Error("the error contains text of the file")
			}
		})
	}
}

func TestValues(t *testing.T) {
	f := newFiles(t)
	for name, text := range map[string]string{"SEC 1": f.parameters + f.sec1, "PKCS 8": f.pkcs8} {
		if k := must(PrivateKey([]byte(text))); !f.key.Equal(k) {
			t.Errorf("%s: another key", name)
		}
	}
	for name, k := range map[string]crypto.PublicKey{"public key": must(PublicKey([]byte(f.public))), "certificate": must(PublicKeyOrCertificate([]byte(f.cert)))} {
		if !f.key.PublicKey.Equal(k) {
			t.Errorf("%s: another key", name)
		}
	}
	der := must(x509.MarshalPKIXPublicKey(&f.key.PublicKey))
	if got := must(SubjectPublicKeyInfo([]byte(f.public))); !bytes.Equal(got, der) {
		t.Error("another SubjectPublicKeyInfo")
	}
	if pair := must(KeyPair([]byte(f.cert+f.cert), []byte(f.sec1))); len(pair.Certificate) != 2 || !f.key.Equal(pair.PrivateKey) {
		t.Error("another key pair")
	}
	if _, err := PrivateKey([]byte(encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must2(ed25519.GenerateKey(rand.Reader))))))); err != nil {
		t.Error(err)
	}
	if !Is([]byte("a\r\n"+f.public)) || Is(der) {
		t.Error("PEM is not recognized")
	}
}

func must2[A, B any](_ A, v B, err error) B { return must(v, err) }

// openssl ecparam writes the parameters of the curve before the key.
func TestParameters(t *testing.T) {
	text, err := os.ReadFile("../../verifiers/testdata/ec-parameters/test-only.key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PrivateKey(text); err != nil {
		t.Error(err)
	}
}

// elsewhere lists functions that only this package may call.
var elsewhere = map[string][]string{"pem": {"Decode"}, "tls": {"X509KeyPair", "LoadX509KeyPair"}}

// No other package decodes PEM.
func TestOneReader(t *testing.T) {
	module := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(module, path)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && rel != "." || slices.Contains([]string{"node_modules", "internal/pemfile"}, filepath.ToSlash(rel)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := s.X.(*ast.Ident)
			if s.Sel.Name == "AppendCertsFromPEM" || x != nil && slices.Contains(elsewhere[x.Name], s.Sel.Name) {
				t.Errorf("%s:%d: %s decodes PEM: use internal/pemfile", rel, fset.Position(n.Pos()).Line, s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("found only %d files", files)
	}
}
