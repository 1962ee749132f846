package sigstore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
)

// The forms of a SubjectPublicKeyInfo by section 4 of
// docs/spec/sigstore-verification.md: what precedes the key itself, which has a
// fixed size.
var keyForms = []struct {
	prefix []byte
	size   int // of the rest, in bytes
}{
	{unhex("302a300506032b6570032100"), 32},
	{unhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"), 64},
	{unhex("3076301006072a8648ce3d020106052b8104002203620004"), 96},
	{unhex("30819b301006072a8648ce3d020106052b8104002303818600" + "04"), 132},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // a constant
	}
	return b
}

var errKeyForm = errors.New("the key has an unusual encoding")

// checkKeyForm returns an error unless a SubjectPublicKeyInfo has the bytes
// that section 4 of docs/spec/sigstore-verification.md specifies. Parsers
// differ in what else they read. They check that points are on their curve.
func checkKeyForm(der []byte) error {
	for i, form := range keyForms {
		if len(der) != len(form.prefix)+form.size || !bytes.HasPrefix(der, form.prefix) {
			continue
		}
		if i == 0 {
			return checkPoint(der[len(form.prefix):])
		}
		return nil
	}
	return checkRSAForm(der)
}

// smallOrder has the y coordinates of the points of small order on Ed25519, in
// the order of their bytes in a key. Such a key has signatures of any message.
var smallOrder = [][]byte{
	unhex("0000000000000000000000000000000000000000000000000000000000000000"),
	unhex("0100000000000000000000000000000000000000000000000000000000000000"),
	unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
	unhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
	unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
}

// checkPoint checks an Ed25519 key.
func checkPoint(key []byte) error {
	y := slices.Clone(key)
	y[31] &= 0x7f
	canonical := y[0] < 0xed || y[31] != 0x7f || slices.ContainsFunc(y[1:31], func(b byte) bool { return b != 0xff })
	if !canonical || slices.ContainsFunc(smallOrder, func(s []byte) bool { return bytes.Equal(s, y) }) {
		return errors.New("an Ed25519 key of small order, or that is not reduced")
	}
	return nil
}

// rsaAlgorithm is the AlgorithmIdentifier of RSA.
var rsaAlgorithm = unhex("300d06092a864886f70d0101010500")

// checkRSAForm checks an RSA key. It encodes the modulus and the exponent
// again, which are at fixed places.
func checkRSAForm(der []byte) error {
	const start = 33 // of the modulus
	for _, size := range []int{256, 384, 512} {
		if len(der) < start+size+3 || len(der) > start+size+2+4 {
			continue
		}
		modulus, exponent := der[start:start+size], der[start+size+2:]
		if !bytes.Equal(der, rsaInfo(modulus, exponent)) || modulus[0] < 0x80 || modulus[size-1]&1 == 0 || !usualExponent(exponent) {
			return errKeyForm
		}
		return nil
	}
	return errKeyForm
}

// rsaInfo returns the SubjectPublicKeyInfo of an RSA key whose modulus has its
// highest bit set.
func rsaInfo(modulus, exponent []byte) []byte {
	tlv := func(tag byte, long bool, parts ...[]byte) []byte {
		content := slices.Concat(parts...)
		if n := len(content); long {
			return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, content...)
		}
		return append([]byte{tag, byte(len(content))}, content...)
	}
	key := tlv(0x30, true, tlv(0x02, true, []byte{0}, modulus), tlv(0x02, false, exponent))
	return tlv(0x30, true, rsaAlgorithm, tlv(0x03, true, []byte{0}, key))
}

// usualExponent reports whether the content of an INTEGER is an odd number from
// 3 to 2³¹ − 1 in its shortest form.
func usualExponent(e []byte) bool {
	value := 0
	for _, b := range e {
		value = value<<8 | int(b)
	}
	shortest := len(e) == 1 || e[0] != 0 || e[1] >= 0x80
	return e[0] < 0x80 && shortest && value >= 3 && value%2 == 1
}

// checkLogKey checks the key of a log in a trusted root, which can be one of
// PKCS #1.
func checkLogKey(raw []byte, details string) error {
	if details != "PKCS1_RSA_PKCS1V5" {
		return checkKeyForm(raw)
	}
	n := len(raw) + 1
	info := slices.Concat(rsaAlgorithm, []byte{0x03, 0x82, byte(n >> 8), byte(n), 0}, raw)
	n = len(info)
	return checkKeyForm(append([]byte{0x30, 0x82, byte(n >> 8), byte(n)}, info...))
}
