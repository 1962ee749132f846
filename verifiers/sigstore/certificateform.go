package sigstore

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// parseCertificate parses a certificate of version 3 (RFC 5280, section 4.1).
// Unlike crypto/x509, it refuses an element after the last one of a structure
// and a default that is stated, which is not DER of a certificate, and a
// certificate that has no extensions or has unique identifiers.
func parseCertificate(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if in := (cryptobyte.String)(cert.Raw); !isCertificate(&in) {
		return nil, errors.New("the certificate is not one of version 3, has an element after the last one of a structure, or states a default")
	}
	return cert, nil
}

// A form reads one element, and reports whether it has the form.
type form func(*cryptobyte.String) bool

func isCertificate(in *cryptobyte.String) bool {
	return sequence(isTBSCertificate, isAlgorithm, element(casn1.BIT_STRING))(in)
}

func isTBSCertificate(in *cryptobyte.String) bool {
	context := func(n uint8) casn1.Tag { return casn1.Tag(n).ContextSpecific() }
	return sequence(
		isVersion3(context(0).Constructed()),
		element(casn1.INTEGER), isAlgorithm, isName, sequence(anything, anything), isName,
		sequence(isAlgorithm, element(casn1.BIT_STRING)),
		sequenceOf(context(3).Constructed(), sequenceOf(casn1.SEQUENCE, isExtension)),
	)(in)
}

func isVersion3(tag casn1.Tag) form {
	return func(in *cryptobyte.String) bool {
		var content cryptobyte.String
		var version int
		return in.ReadASN1(&content, tag) && content.ReadASN1Integer(&version) && content.Empty() && version == 2
	}
}

func isName(in *cryptobyte.String) bool {
	attribute := sequence(element(casn1.OBJECT_IDENTIFIER), anything)
	return sequenceOf(casn1.SEQUENCE, sequenceOf(casn1.SET, attribute))(in)
}

func isAlgorithm(in *cryptobyte.String) bool {
	return sequence(element(casn1.OBJECT_IDENTIFIER), func(in *cryptobyte.String) bool { return in.Empty() || anything(in) })(in)
}

func isExtension(in *cryptobyte.String) bool {
	var id asn1.ObjectIdentifier
	name := func(in *cryptobyte.String) bool { return in.ReadASN1ObjectIdentifier(&id) }
	value := func(in *cryptobyte.String) bool {
		var content cryptobyte.String
		return in.ReadASN1(&content, casn1.OCTET_STRING) && (!id.Equal(basicConstraints) || isBasicConstraints(&content))
	}
	return sequence(name, optional(casn1.BOOLEAN, isTrue), value)(in)
}

// basicConstraints is the only extension that is verified and has a default.
var basicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}

func isBasicConstraints(in *cryptobyte.String) bool {
	return sequence(optional(casn1.BOOLEAN, isTrue), optional(casn1.INTEGER, element(casn1.INTEGER)))(in)
}

// isTrue reads a BOOLEAN whose default is FALSE.
func isTrue(in *cryptobyte.String) bool {
	var is bool
	return in.ReadASN1Boolean(&is) && is
}

func element(tag casn1.Tag) form {
	return func(in *cryptobyte.String) bool { return in.SkipASN1(tag) }
}

func anything(in *cryptobyte.String) bool {
	var out cryptobyte.String
	var tag casn1.Tag
	return in.ReadAnyASN1Element(&out, &tag)
}

func optional(tag casn1.Tag, of form) form {
	return func(in *cryptobyte.String) bool { return !in.PeekASN1Tag(tag) || of(in) }
}

// sequence is a SEQUENCE of these elements and no others.
func sequence(of ...form) form {
	return func(in *cryptobyte.String) bool {
		var content cryptobyte.String
		if !in.ReadASN1(&content, casn1.SEQUENCE) {
			return false
		}
		for _, one := range of {
			if !one(&content) {
				return false
			}
		}
		return content.Empty()
	}
}

// sequenceOf is an element with any number of elements.
func sequenceOf(tag casn1.Tag, one form) form {
	return func(in *cryptobyte.String) bool {
		var content cryptobyte.String
		if !in.ReadASN1(&content, tag) {
			return false
		}
		for !content.Empty() {
			if !one(&content) {
				return false
			}
		}
		return true
	}
}
