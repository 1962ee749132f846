package oci

import (
	"muniment.dev/muniment/verifiers/format"
)

// A Document is an attachment in the form in which it can be recorded.
type Document struct {
	MediaType string // that the document declares
	Data      []byte
}

// Document returns the document to record, or nil if the attachment is neither
// an attestation nor a signature. Documents keep their bytes, except those
// whose signature or certificate is in the annotations of cosign's older
// scheme: they become bundles.
func (a *Attachment) Document() (*Document, error) {
	data, of := a.Data, format.Of(a.MediaType)
	if a.Data == nil || !readable(a.MediaType) {
		return nil, nil
	}
	if a.MediaType == mediaTypeSimpleSigning || of == format.Envelope && a.hasMaterial() {
		var err error
		if data, err = toBundle(a); err != nil {
			return nil, err
		}
		of = format.Bundle
	}
	d, err := of.Read(data)
	if err != nil {
		return nil, err
	}
	return &Document{d.MediaType, data}, nil
}

// hasMaterial reports whether the annotations contain what a verifier needs
// besides an envelope.
func (a *Attachment) hasMaterial() bool {
	for _, name := range []string{annotationCertificate, annotationLogEntry, annotationTimestamp} {
		if a.annotations[name] != "" {
			return true
		}
	}
	return false
}
