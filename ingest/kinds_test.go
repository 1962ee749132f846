package ingest

import (
	"strings"
	"testing"
)

// TestImpossibleTimes checks well-formed times that do not exist.
func TestImpossibleTimes(t *testing.T) {
	read := table["backfill-checkpoint"].read
	for ts, ok := range map[string]bool{
		"2026-04-19T12:00Z": true, "2026-04-19T12:00:59.5+02:00": true, "2024-02-29T00:00Z": true,
		"2026-02-31T12:00Z": false, "2026-02-29T12:00:00Z": false, "2026-04-31T12:00+01:00": false,
	} {
		_, err := read("", []byte(`{"entity":"Asset","checkpoint":"50%","acaScore":1,"rollbackReady":true,"ts":"`+ts+`"}`), exampleTime)
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "payload: ts: ") {
			t.Errorf("%s: %v", ts, err)
		}
	}
}

// TestMediaTypeSpelling checks that a media type is recognized in any case and
// with any white space and parameters.
func TestMediaTypeSpelling(t *testing.T) {
	statement := []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}],"predicateType":"x","predicate":{}}`)
	for _, mt := range []string{"application/vnd.in-toto+json", "Application/VND.in-toto+JSON", "application/vnd.in-toto+json; charset=utf-8"} {
		c, err := readAttestation(mt, statement, exampleTime)
		if err != nil || c.mediaType != "application/vnd.in-toto+json" || len(c.subjects) != 1 {
			t.Errorf("%s: %+v, %v", mt, c, err)
		}
		if _, err := readAttestation(mt, []byte(`{}`), exampleTime); err == nil {
			t.Errorf("%s: {} is accepted as a statement", mt)
		}
	}
	if c, err := readAttestation("Text/Plain; Charset=x", []byte("x"), exampleTime); err != nil || c.mediaType != "text/plain; charset=x" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := readAttestation("Application/JSON", []byte("{"), exampleTime); err == nil {
		t.Error("malformed JSON is accepted")
	}
}
