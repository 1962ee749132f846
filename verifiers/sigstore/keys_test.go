package sigstore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
)

// A keyVector is a case of docs/spec/vectors/keys.json.
type keyVector struct {
	Name    string `json:"name"`
	Key     []byte `json:"keyBase64"`
	Verdict string `json:"verdict"`
	KeyID   string `json:"keyId,omitempty"`
}

// pseudorandom returns n bytes that depend only on the label.
func pseudorandom(label string, n int) (out []byte) {
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Append(nil, "muniment keys ", label, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// derOf returns DER with the shortest length.
func derOf(tag byte, parts ...[]byte) []byte {
	content := slices.Concat(parts...)
	head := []byte{tag, byte(len(content))}
	switch n := len(content); {
	case n > 0xff:
		head = []byte{tag, 0x82, byte(n >> 8), byte(n)}
	case n > 0x7f:
		head = []byte{tag, 0x81, byte(n)}
	}
	return append(head, content...)
}

func integerOf(v *big.Int) []byte {
	b := v.Bytes()
	if len(b) == 0 || b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return derOf(0x02, b)
}

// infoOf returns a SubjectPublicKeyInfo of an algorithm.
func infoOf(algorithm, key []byte) []byte {
	return derOf(0x30, algorithm, derOf(0x03, []byte{0}, key))
}

var (
	oidEC      = unhex("06072a8648ce3d0201")
	oidP256    = unhex("06082a8648ce3d030107")
	oidRSA     = unhex("06092a864886f70d010101")
	ed25519OID = unhex("06032b6570")
)

// modulusOf returns an odd number of the size, which need not be the modulus of
// a key that anybody has.
func modulusOf(bits int) *big.Int {
	n := new(big.Int).SetBytes(pseudorandom("modulus", (bits+7)/8))
	n.And(n, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(bits)), big.NewInt(1)))
	return n.SetBit(n.SetBit(n, bits-1, 1), 0, 1)
}

func rsaKeyOf(n, e *big.Int) []byte {
	return infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, integerOf(n), integerOf(e)))
}

// pointOf returns the coordinates of a point.
func pointOf(t *testing.T, curve elliptic.Curve) (x, y []byte) {
	size := (curve.Params().BitSize + 7) / 8
	scalar := pseudorandom(curve.Params().Name, size)
	scalar[0] = 0
	k, err := ecdsa.ParseRawPrivateKey(curve, scalar)
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b[1 : 1+size], b[1+size:]
}

func pemOf(der []byte) string {
	text := base64.StdEncoding.EncodeToString(der)
	out := "-----BEGIN PUBLIC KEY-----\n"
	for len(text) > 64 {
		out, text = out+text[:64]+"\n", text[64:]
	}
	return out + text + "\n-----END PUBLIC KEY-----\n"
}

// keyVectors makes docs/spec/vectors/keys.json.
func keyVectors(t *testing.T) (all []keyVector) {
	add := func(name string, good bool, text string) {
		v := keyVector{Name: name, Key: append([]byte{}, text...), Verdict: "refuse"}
		if good {
			v.Verdict = "accept"
		}
		all = append(all, v)
	}
	der := func(name string, good bool, der []byte) { add(name, good, pemOf(der)) }

	// Ed25519.
	edOID := derOf(0x30, ed25519OID)
	x, _ := pointOf(t, elliptic.P256())
	x = slices.Clone(x)
	x[31] &= 0x7f
	ed := infoOf(edOID, x)
	der("Ed25519", true, ed)
	for i, y := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			key := slices.Clone(y)
			key[31] |= sign
			der(fmt.Sprintf("Ed25519, of small order %d with sign bit %d", i, sign>>7), false, infoOf(edOID, key))
		}
	}
	for i := range 19 {
		key := unhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
		key[0] += byte(i)
		if i%2 == 1 {
			key[31] |= 0x80
		}
		der(fmt.Sprintf("Ed25519, y = p + %d", i), false, infoOf(edOID, key))
	}
	below := unhex("ebffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
	der("Ed25519, y = p - 2", true, infoOf(edOID, below))
	der("Ed25519, y = 2, not on the curve", true, infoOf(edOID, append([]byte{2}, make([]byte, 31)...)))
	der("Ed25519 with parameters NULL", false, infoOf(derOf(0x30, ed25519OID, []byte{5, 0}), x))
	der("Ed25519 of 31 bytes", false, infoOf(edOID, x[:31]))
	der("Ed25519 of 33 bytes", false, infoOf(edOID, append(slices.Clone(x), 0)))
	der("Ed25519 with unused bits", false, derOf(0x30, edOID, derOf(0x03, []byte{1}, x[:31], []byte{x[31] &^ 1})))
	der("Ed25519 in an OCTET STRING", false, derOf(0x30, edOID, derOf(0x04, []byte{0}, x)))
	der("Ed448", false, infoOf(derOf(0x30, unhex("06032b6571")), pseudorandom("ed448", 57)))
	der("X25519", false, infoOf(derOf(0x30, unhex("06032b656e")), x))
	long := slices.Concat([]byte{0x30, 0x81, 0x2a}, ed[2:])
	der("Ed25519 with a long length", false, long)
	der("Ed25519 with an indefinite length", false, slices.Concat([]byte{0x30, 0x80}, ed[2:], []byte{0, 0}))
	der("Ed25519 with data after the DER", false, append(slices.Clone(ed), 0))
	der("Ed25519 with a third element", false, derOf(0x30, edOID, derOf(0x03, []byte{0}, x), []byte{5, 0}))

	// ECDSA.
	for _, c := range []struct {
		curve elliptic.Curve
		oid   []byte
		good  bool
	}{{elliptic.P224(), unhex("06052b81040021"), false}, {elliptic.P256(), oidP256, true}, {elliptic.P384(), unhex("06052b81040022"), true}, {elliptic.P521(), unhex("06052b81040023"), true}} {
		name := c.curve.Params().Name
		x, y := pointOf(t, c.curve)
		algorithm := derOf(0x30, oidEC, c.oid)
		der(name, c.good, infoOf(algorithm, slices.Concat([]byte{4}, x, y)))
		parity := y[len(y)-1] & 1
		der(name+", compressed", false, infoOf(algorithm, slices.Concat([]byte{2 + parity}, x)))
		der(name+", hybrid", false, infoOf(algorithm, slices.Concat([]byte{6 + parity}, x, y)))
		der(name+", the point at infinity", false, infoOf(algorithm, []byte{0}))
		der(name+", (0, 0)", false, infoOf(algorithm, slices.Concat([]byte{4}, make([]byte, 2*len(x)))))
		other := slices.Clone(y)
		other[len(y)-1] ^= 1
		der(name+", not on the curve", false, infoOf(algorithm, slices.Concat([]byte{4}, x, other)))
		prime := c.curve.Params().P.FillBytes(make([]byte, len(x)))
		der(name+", x not reduced", false, infoOf(algorithm, slices.Concat([]byte{4}, prime, y)))
		der(name+", y not reduced", false, infoOf(algorithm, slices.Concat([]byte{4}, x, prime)))
		der(name+" with unused bits", false, derOf(0x30, algorithm, derOf(0x03, []byte{1}, []byte{4}, x, y[:len(y)-1], []byte{y[len(y)-1] &^ 1})))
		der(name+" without parameters", false, infoOf(derOf(0x30, oidEC), slices.Concat([]byte{4}, x, y)))
		der(name+" with implicit parameters", false, infoOf(derOf(0x30, oidEC, []byte{5, 0}), slices.Concat([]byte{4}, x, y)))
		der(name+" with explicit parameters", false, infoOf(derOf(0x30, oidEC, explicit(t, c.curve)), slices.Concat([]byte{4}, x, y)))
		der(name+" as id-ecDH", false, infoOf(derOf(0x30, unhex("06052b8104010c"), c.oid), slices.Concat([]byte{4}, x, y)))
		der(name+" with the parameters twice", false, infoOf(derOf(0x30, oidEC, c.oid, c.oid), slices.Concat([]byte{4}, x, y)))
	}
	der("secp256k1", false, infoOf(derOf(0x30, oidEC, unhex("06052b8104000a")), unhex("0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8")))

	// RSA.
	usual := big.NewInt(65537)
	for _, bits := range []int{512, 1024, 2040, 2047, 2048, 2049, 2056, 3071, 3072, 3073, 4095, 4096, 4097, 8192, 16384} {
		der(fmt.Sprintf("RSA of %d bits", bits), bits == 2048 || bits == 3072 || bits == 4096, rsaKeyOf(modulusOf(bits), usual))
	}
	n := modulusOf(2048)
	for _, e := range []int64{-3, -1, 0, 1, 2, 3, 4, 17, 127, 128, 129, 255, 257, 32767, 32769, 65536, 65539, 1<<23 + 1, 1<<24 + 1, 1<<31 - 1, 1 << 31, 1<<31 + 1, 1<<32 + 1, 1<<33 + 1} {
		key := infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, integerOf(n), integerOf(big.NewInt(e))))
		if e < 0 {
			key = infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, integerOf(n), derOf(0x02, []byte{byte(e)})))
		}
		der(fmt.Sprintf("RSA with the exponent %d", e), e >= 3 && e%2 == 1 && e < 1<<31, key)
	}
	der("RSA with an exponent of 2048 bits", false, rsaKeyOf(n, new(big.Int).Sub(n, big.NewInt(2))))
	der("RSA with an even modulus", false, rsaKeyOf(new(big.Int).Sub(n, big.NewInt(1)), usual))
	der("RSA with a negative modulus", false, infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, derOf(0x02, n.Bytes()), integerOf(usual))))
	der("RSA with a zero before the modulus", false, infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, derOf(0x02, []byte{0, 0}, n.Bytes()), integerOf(usual))))
	der("RSA with a zero before the exponent", false, infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, integerOf(n), derOf(0x02, []byte{0}, usual.Bytes()))))
	der("RSA without parameters", false, infoOf(derOf(0x30, oidRSA), derOf(0x30, integerOf(n), integerOf(usual))))
	der("RSA with other parameters", false, infoOf(derOf(0x30, oidRSA, []byte{5, 1, 0}), derOf(0x30, integerOf(n), integerOf(usual))))
	der("RSA with an empty sequence as parameters", false, infoOf(derOf(0x30, oidRSA, []byte{0x30, 0}), derOf(0x30, integerOf(n), integerOf(usual))))
	der("RSASSA-PSS", false, infoOf(derOf(0x30, unhex("06092a864886f70d01010a")), derOf(0x30, integerOf(n), integerOf(usual))))
	der("RSA with a third number", false, infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, integerOf(n), integerOf(usual), integerOf(usual))))
	der("RSA without an exponent", false, infoOf(derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x30, integerOf(n))))
	der("RSA with unused bits", false, derOf(0x30, derOf(0x30, oidRSA, []byte{5, 0}), derOf(0x03, []byte{1}, derOf(0x30, integerOf(n), integerOf(big.NewInt(1<<16+2))))))
	der("RSA of PKCS #1", false, derOf(0x30, integerOf(n), integerOf(usual)))
	der("DSA", false, infoOf(derOf(0x30, unhex("06072a8648ce380401")), integerOf(n)))

	// DER and PEM.
	der("no bytes", false, nil)
	der("NULL", false, []byte{5, 0})
	good := pemOf(ed)
	body := strings.Split(good, "\n")[1]
	edit := func(name string, ok bool, old, replacement string) {
		if !strings.Contains(good, old) {
			t.Fatal(name)
		}
		add("PEM "+name, ok, strings.Replace(good, old, replacement, 1))
	}
	add("PEM without a line feed at the end", true, strings.TrimSuffix(good, "\n"))
	add("PEM with CR LF", true, strings.ReplaceAll(good, "\n", "\r\n"))
	add("PEM with CR", false, strings.ReplaceAll(good, "\n", "\r"))
	add("PEM with white space around it", true, "\n \t\r\n"+good+" \t\r\n\n")
	add("PEM with a form feed before it", false, "\f"+good)
	add("PEM with a vertical tab after it", false, good+"\v")
	add("PEM with a no-break space after it", false, good+"\u00a0")
	add("PEM with U+2028 after it", false, good+"\u2028")
	add("PEM with NUL after it", false, good+"\x00")
	add("PEM with a byte order mark", false, "\ufeff"+good)
	add("PEM with text before it", false, "key of the exporter\n"+good)
	add("PEM with text after it", false, good+"x")
	add("PEM with a comment after it", false, good+"# exporter\n")
	add("PEM twice", false, good+good)
	add("PEM with an empty block after it", false, good+"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")
	add("PEM after parameters", false, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"+good)
	add("PEM before a certificate", false, good+strings.ReplaceAll(good, "PUBLIC KEY", "CERTIFICATE"))
	edit("with a header", false, "-----\n", "-----\nComment: x\n\n")
	edit("with a space after the first line", false, "-----\n", "----- \n")
	edit("with a space in the first line", false, "BEGIN ", "BEGIN  ")
	edit("with one hyphen less", false, "-----BEGIN", "----BEGIN")
	edit("with one hyphen more", false, "-----BEGIN", "------BEGIN")
	edit("with a space before the last line", false, "-----END", " -----END")
	edit("with an empty line", true, "-----\n", "-----\n\n\r\n")
	edit("with white space in the base64", false, body, body[:20]+" "+body[20:])
	edit("with a tab in the base64", false, body, body[:20]+"\t"+body[20:])
	edit("with lines of 20", true, body, body[:20]+"\n"+body[20:40]+"\r\n"+body[40:])
	edit("with a CR in the base64", true, body, body[:20]+"\r"+body[20:])
	edit("in one line", true, body+"\n", body)
	edit("whose base64 is in the first line", false, "-----\n", "-----")
	edit("without padding", false, "=\n", "\n")
	edit("with more padding", false, "=\n", "==\n")
	edit("with padding inside", false, body, "A==="+body)
	edit("in base64url", false, body, strings.NewReplacer("+", "-", "/", "_").Replace(body[:12])+"-_"+body[14:])
	edit("with unused bits in the base64", false, body, body[:len(body)-2]+string(body[len(body)-2]+1)+"=")
	edit("with another label at the end", false, "END PUBLIC", "END PRIVATE")
	edit("with a small letter", false, "BEGIN", "Begin")
	edit("without the last line", false, "-----END PUBLIC KEY-----\n", "")
	edit("without base64", false, body+"\n", "")
	add("PEM of a certificate", false, strings.ReplaceAll(good, "PUBLIC KEY", "CERTIFICATE"))
	add("PEM of an RSA public key", false, strings.ReplaceAll(pemOf(derOf(0x30, integerOf(n), integerOf(usual))), "PUBLIC", "RSA PUBLIC"))
	add("PEM of a private key", false, strings.ReplaceAll(good, "PUBLIC", "PRIVATE"))
	add("PEM in UTF-16", false, "\xff\xfe"+strings.Join(strings.Split(good, ""), "\x00")+"\x00")
	add("DER", false, string(ed))
	add("an OpenSSH key", false, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"+strings.Repeat("A", 43)+" x\n")
	add("an empty file", false, "")
	return all
}

// explicit returns the ECParameters of a curve, with all of their numbers.
func explicit(t *testing.T, curve elliptic.Curve) []byte {
	p := curve.Params()
	size := (p.BitSize + 7) / 8
	fill := func(v *big.Int) []byte { return v.FillBytes(make([]byte, size)) }
	field := derOf(0x30, unhex("06072a8648ce3d0101"), integerOf(p.P))
	a := new(big.Int).Sub(p.P, big.NewInt(3))
	return derOf(0x30, integerOf(big.NewInt(1)), field, derOf(0x30, derOf(0x04, fill(a)), derOf(0x04, fill(p.B))),
		derOf(0x04, []byte{4}, fill(p.Gx), fill(p.Gy)), integerOf(p.N), integerOf(big.NewInt(1)))
}

// TestKeyVectors makes docs/spec/vectors/keys.json, and compares it with the
// file. Each case states its verdict.
func TestKeyVectors(t *testing.T) {
	all := keyVectors(t)
	names := map[string]bool{}
	for i := range all {
		v := &all[i]
		if names[v.Name] {
			t.Errorf("two cases %q", v.Name)
		}
		names[v.Name] = true
		k, err := ParsePublicKey("key", v.Key)
		if (err == nil) != (v.Verdict == "accept") {
			t.Errorf("%s: %v, want %s", v.Name, err, v.Verdict)
			continue
		}
		if err != nil {
			continue
		}
		v.KeyID = k.ID
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if p := fmt.Sprintf("sha256:%x", sha256.Sum256(der)); err != nil || p != k.ID {
			t.Errorf("%s: %s, %v, want %s", v.Name, p, err, k.ID)
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/spec/vectors/keys.json"
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Error("keys.json is not current: run go test ./verifiers/sigstore -run TestKeyVectors -update")
	}
}
