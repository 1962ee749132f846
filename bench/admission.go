package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/pemfile"
)

const (
	admissionRate   = 200 // requests per second
	admissionImages = 1000
	admissionGoal   = 20 * time.Millisecond
	admissionMemory = 150 << 20
)

const admissionControls = `version: "1"
stages: [deploy]
controls:
  - id: PROVENANCE
    title: There is provenance
    severity: high
    check: {require: [{name: provenance, unsigned: true}]}
    modes: [{stage: deploy, mode: enforce}]
`

// admission measures the webhook for Pods with a replica that follows a log
// behind it. Requests come at their times, whatever the answers take, and the
// time of an answer counts from then. Each image is new to it first, so that
// the replica decides and spools the decision, and then in its cache.
func (b *bench) admission() {
	log := b.start("admission-log")
	defer log.stop()
	c := log.client(8)
	var all []muniment.Submission
	for i := range admissionImages {
		all = append(all, muniment.Submission{Kind: kindname.Attestation, Payload: fmt.Appendf(nil,
			`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"registry.example/app","digest":{"sha256":%q}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`, digestNumber('s', i))})
	}
	for i := range all {
		_, err := c.Append(context.Background(), all[i])
		check(err)
	}
	at := func(name string) string { return filepath.Join(b.dir, name) }
	token := at("admission-log/tokens/bench.token")
	write(at("controls.yaml"), admissionControls)
	b.program(b.build(), "control", "apply", at("controls.yaml"), "--server", log.url, "--token-file", token)
	b.program(b.build(), "replica", "init", at("admission-replica"), "--policy", at("admission-log/policy"), "--tenant", "bench="+at("admission-log/streams/bench.key"), "--token", "admission="+token)
	replica := &server{cmd: exec.Command(b.build(), "serve", "--data", at("admission-replica"), "--listen", "127.0.0.1:0", "--follow", log.url, "--follow-token-file", token)}
	replica.url = listen(replica.cmd, "listening on ")
	defer replica.stop()

	write(at("admission.yaml"), "version: 1\nstage: deploy\nnamespaces: [{names: [\"*\"], environment: production}]\n")
	roots := selfSigned(at("admission.crt"), at("admission.key"))
	webhook := &server{cmd: exec.Command(b.build(), "admission", "--admission-config", at("admission.yaml"), "--server", replica.url, "--token-file", token,
		"--tls-cert", at("admission.crt"), "--tls-key", at("admission.key"), "--listen", "127.0.0.1:0")}
	webhook.url = listen(webhook.cmd, "listening on ")
	defer webhook.stop()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64}}
	for { // until the replica has the log
		if admit(client, webhook.url, admissionImages-1) == nil {
			break
		}
	}
	idle := openLoop(admissionRate, admissionImages, func(int) {
		res, err := client.Get(webhook.url + "/healthz")
		check(err)
		_, err = io.Copy(io.Discard, res.Body)
		check(err)
		check(res.Body.Close())
	})
	for _, phase := range []struct {
		what string
		n    int
	}{{"new", admissionImages}, {"known", admissionRate * *seconds}} {
		s := openLoop(admissionRate, phase.n, func(i int) { check(admit(client, webhook.url, i%admissionImages)) })
		p99 := s.quantile(0.99)
		row(fmt.Sprintf("admission, %d/s open loop, %d %s pinned images", admissionRate, admissionImages, phase.what), s.String(),
			fmt.Sprintf("goal p99 20ms: %.1f×; %.1f× an empty call", admissionGoal.Seconds()/p99.Seconds(), p99.Seconds()/idle.quantile(0.99).Seconds()))
	}
	memory := peakMemory(webhook.cmd.Process.Pid)
	row("admission: memory of the process at its peak", fmt.Sprintf("%.0f MiB", float64(memory)/(1<<20)),
		fmt.Sprintf("goal 150 MiB: %.1f×", admissionMemory/float64(memory)))
}

// admit asks the webhook about a Pod with an image. A denial is an error.
func admit(client *http.Client, url string, image int) error {
	body := fmt.Appendf(nil, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"%d","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"name":"app","namespace":"shop","operation":"CREATE","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app"},"spec":{"containers":[{"name":"app","image":"registry.example/app@sha256:%s"}]}}}}`,
		image, digestNumber('s', image))
	res, err := client.Post(url+"/validate?timeout=10s", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var review struct {
		Response struct {
			Allowed bool
			Status  struct{ Message string }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&review); err != nil {
		return fmt.Errorf("%s: %w", res.Status, err)
	}
	if !review.Response.Allowed {
		return fmt.Errorf("image %d: %s", image, review.Response.Status.Message)
	}
	return nil
}

// openLoop begins n calls at a constant rate, and returns the times from when
// each should have begun to its end.
func openLoop(rate, n int, call func(int)) sample {
	s := make(sample, n)
	var running sync.WaitGroup
	begin := time.Now()
	for i := range n {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		running.Go(func() {
			call(i)
			s[i] = time.Since(due)
		})
	}
	running.Wait()
	return s
}

func write(path, text string) { check(os.WriteFile(path, []byte(text), 0o600)) }

// selfSigned writes a certificate for 127.0.0.1 and its key, and returns what
// verifies it.
func selfSigned(certificate, key string) *x509.CertPool {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(mrand.Int64()), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	check(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(certificate, string(text))
	der, err = x509.MarshalPKCS8PrivateKey(private)
	check(err)
	write(key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	pool, err := pemfile.Pool(text)
	check(err)
	return pool
}
