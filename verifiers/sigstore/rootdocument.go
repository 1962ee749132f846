package sigstore

import (
	"errors"
	"fmt"
	"regexp"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// checkRoot checks a trusted root by section 3 of
// docs/spec/sigstore-verification.md, which is stricter than ParseTrustedRoot.
func checkRoot(data []byte) error {
	tree, err := strictjson.Members(data)
	if err != nil {
		return err
	}
	m := &members{}
	o := m.object(tree, "trusted root", "mediaType", "tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities")
	for _, name := range []string{"tlogs", "ctlogs"} {
		seen := map[string]bool{}
		for i, v := range m.list(o[name], name, maxValues) {
			id := m.log(v, fmt.Sprintf("%s[%d]", name, i))
			if seen[id] {
				m.fail(name, "two logs have the same ID")
			}
			seen[id] = true
		}
	}
	for _, name := range []string{"certificateAuthorities", "timestampAuthorities"} {
		for i, v := range m.list(o[name], name, maxValues) {
			m.authority(v, fmt.Sprintf("%s[%d]", name, i))
		}
	}
	return m.err
}

// log checks a log and returns its ID.
func (m *members) log(v any, path string) string {
	o := m.object(v, path, "baseUrl", "hashAlgorithm", "publicKey", "logId", "checkpointKeyId", "operator")
	for _, name := range []string{"baseUrl", "operator"} {
		m.optionalText(o[name], path+"."+name)
	}
	if m.text(o["hashAlgorithm"], path+".hashAlgorithm") != "SHA2_256" {
		m.fail(path+".hashAlgorithm", "must be SHA2_256")
	}
	if o["checkpointKeyId"] != nil {
		m.bytes(m.object(o["checkpointKeyId"], path, "keyId")["keyId"], path+".checkpointKeyId")
	}
	k := m.object(o["publicKey"], path+".publicKey", "rawBytes", "keyDetails", "validFor")
	raw, details := m.bytes(k["rawBytes"], path+".publicKey.rawBytes"), m.text(k["keyDetails"], path+".publicKey.keyDetails")
	if err := checkLogKey(raw, details); err != nil {
		m.fail(path+".publicKey.rawBytes", "%w", err)
	}
	if !m.period(k["validFor"], path+".publicKey.validFor") {
		m.fail(path+".publicKey.validFor", "has no start")
	}
	return string(m.bytes(m.object(o["logId"], path+".logId", "keyId")["keyId"], path+".logId.keyId"))
}

func (m *members) authority(v any, path string) {
	o := m.object(v, path, "subject", "uri", "certChain", "validFor", "operator")
	for _, name := range []string{"uri", "operator"} {
		m.optionalText(o[name], path+"."+name)
	}
	if o["subject"] != nil {
		s := m.object(o["subject"], path+".subject", "organization", "commonName")
		m.optionalText(s["organization"], path+".subject")
		m.optionalText(s["commonName"], path+".subject")
	}
	chain := m.chain(o["certChain"], path+".certChain")
	for i, der := range chain {
		cert, err := parseCertificate(der)
		switch {
		case err != nil:
			m.fail(path+".certChain", "%w", err)
		case !isAuthorityKey(cert.PublicKey):
			m.fail(path+".certChain", "a certificate's key is of an unsupported type")
		case i == len(chain)-1 && !cert.IsCA:
			m.fail(path+".certChain", "the last certificate is not a CA")
		}
	}
	if o["validFor"] != nil {
		m.period(o["validFor"], path+".validFor")
	}
}

var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$`)

// period checks a period and reports whether it has a start.
func (m *members) period(v any, path string) bool {
	o := m.object(v, path, "start", "end")
	for _, name := range []string{"start", "end"} {
		if o[name] != nil && !timeForm.MatchString(m.text(o[name], path)) {
			m.fail(path, "%w", errors.New("must be a time such as 2026-01-02T03:04:05Z"))
		}
	}
	return o["start"] != nil
}
