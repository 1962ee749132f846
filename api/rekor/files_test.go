package rekor_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/api/tsa"
)

func describe(t *testing.T, l *testLog) *rekor.Description {
	t.Helper()
	a := send(t, "GET", l.url+rekor.DescriptionPath, "")
	d, err := rekor.ParseDescription(a.body)
	if err != nil {
		t.Fatalf("%v in %s", err, a)
	}
	return d
}

func newChain(t *testing.T) []byte {
	t.Helper()
	_, chain, err := tsa.NewChain("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return []byte(tsa.EncodeChain(chain))
}

// sigstore-go reads the files and finds the expected keys and URLs in them.
func TestFilesAreSigstores(t *testing.T) {
	l := newLog(t)
	d := describe(t, l)
	d.TimestampChain = string(newChain(t))
	ct := must(x509.MarshalPKIXPublicKey(ecdsaKey(elliptic.P256()).Public()))
	others := rekor.Services{
		Fulcio: []rekor.Service{{URL: "https://fulcio.example", Chain: newChain(t)}},
		TSA:    []rekor.Service{{URL: "https://tsa.example/stamp", Chain: newChain(t)}},
		CTLog:  []rekor.Service{{URL: "https://ct.example", Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: ct})}},
		OIDC:   []rekor.Service{{URL: "https://login.example"}},
	}
	data, err := d.TrustedRoot(l.url+"/", others)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	for id, log := range tr.RekorLogs() {
		if log.BaseURL != l.url || !l.key.Equal(log.PublicKey) || !bytes.Equal(log.ID, d.Keys[0].LogID) || !log.ValidityPeriodStart.Equal(d.Keys[0].ValidFrom) {
			t.Errorf("log %s: %+v", id, log)
		}
	}
	if n := len(tr.RekorLogs()); n != 1 || len(tr.CTLogs()) != 1 || len(tr.FulcioCertificateAuthorities()) != 1 || len(tr.TimestampingAuthorities()) != 2 {
		t.Errorf("the trusted root has %d logs, %d CT logs, %d authorities, %d timestamp authorities", n, len(tr.CTLogs()), len(tr.FulcioCertificateAuthorities()), len(tr.TimestampingAuthorities()))
	}
	again, err := d.TrustedRoot(l.url, others)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same trusted root is written in another way: %v", err)
	}
	if data, err = d.SigningConfig(l.url, others); err != nil {
		t.Fatal(err)
	}
	sc, err := root.NewSigningConfigFromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	log, err := root.SelectService(sc.RekorLogURLs(), []uint32{1, 2}, time.Now())
	if err != nil || log.URL != l.url || log.MajorAPIVersion != 2 || log.Operator != origin {
		t.Errorf("log to sign with: %+v, %v", log, err)
	}
	stampers := sc.TimestampAuthorityURLs()
	if len(stampers) != 2 || stampers[0].URL != l.url+"/api/v1/timestamp" || len(sc.FulcioCertificateAuthorityURLs()) != 1 || len(sc.OIDCProviderURLs()) != 1 {
		t.Errorf("got %s", data)
	}
}

// The files contain every key of the log with its validity period.
func TestFilesCarryAllKeys(t *testing.T) {
	a, b := newLog(t), newLog(t)
	d, other := describe(t, a), describe(t, b)
	until := time.Unix(1_800_000_000, 0)
	d.Keys[0].ValidUntil = &until
	d.Keys = append(d.Keys, other.Keys[0])
	data, err := d.TrustedRoot(a.url, rekor.Services{})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(data)
	if err != nil || len(tr.RekorLogs()) != 2 {
		t.Fatalf("%d logs, %v", len(tr.RekorLogs()), err)
	}
	ended := 0
	for _, log := range tr.RekorLogs() {
		if log.ValidityPeriodEnd.Equal(until) {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("%d keys have ended, want 1", ended)
	}
}

func TestFilesRefuseWhatCantWork(t *testing.T) {
	l := newLog(t)
	d := describe(t, l)
	for name, test := range map[string]struct {
		base   string
		others rekor.Services
		says   string
	}{
		"another host":            {"https://rekor.example", rekor.Services{}, "origin"},
		"no URL":                  {"127.0.0.1", rekor.Services{}, "not an http or https URL"},
		"a chain of nonsense":     {l.url, rekor.Services{Fulcio: []rekor.Service{{URL: "https://f.example", Chain: []byte("hello")}}}, "https://f.example"},
		"a key of nonsense":       {l.url, rekor.Services{CTLog: []rekor.Service{{URL: "https://ct.example", Key: []byte("hello")}}}, "https://ct.example"},
		"nonsense behind a chain": {l.url, rekor.Services{TSA: []rekor.Service{{URL: "https://t.example", Chain: append(newChain(t), "hello"...)}}}, "https://t.example"},
	} {
		if _, err := d.TrustedRoot(test.base, test.others); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	if _, err := d.SigningConfig(l.url, rekor.Services{OIDC: []rekor.Service{{URL: "login"}}}); err == nil {
		t.Error("a signing config with no URL was written")
	}
}

// A contradictory description is refused, because clients find the log's key by
// its key IDs.
func TestDescriptionIsChecked(t *testing.T) {
	good := describe(t, newLog(t))
	for name, edit := range map[string]func(*rekor.Description){
		"no origin":      func(d *rekor.Description) { d.Origin = "" },
		"another origin": func(d *rekor.Description) { d.Origin = "127.0.0.2" },
		"no keys":        func(d *rekor.Description) { d.Keys = nil },
		"another log ID": func(d *rekor.Description) { d.Keys[0].LogID[9] ^= 1 },
		"another key":    func(d *rekor.Description) { d.Keys[0].PublicKey[30] ^= 1 },
		"a key of another kind": func(d *rekor.Description) {
			d.Keys[0].PublicKey = must(x509.MarshalPKIXPublicKey(ecdsaKey(elliptic.P256()).Public()))
		},
	} {
		var d rekor.Description
		if err := json.Unmarshal(must(json.Marshal(good)), &d); err != nil {
			t.Fatal(err)
		}
		edit(&d)
		if _, err := rekor.ParseDescription(must(json.Marshal(d))); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if _, err := rekor.ParseDescription([]byte("<html>")); err == nil {
		t.Error("a page was taken for a description")
	}
}
