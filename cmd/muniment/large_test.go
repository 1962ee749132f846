package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	muniment "muniment.dev/muniment/clients/go"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"

	"muniment.dev/muniment/internal/soak"
)

// bigfile FILE BYTES: writes noise.
func bigFileScript(ts *testscript.TestScript, neg bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o777))
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{byte(size)}), size)
	ts.Check(err)
	ts.Check(f.Close())
}

// statementlines FILE BYTES...: writes a file of JSON Lines with a statement of
// about each size.
func statementLinesScript(ts *testscript.TestScript, neg bool, args []string) {
	var file bytes.Buffer
	for i, arg := range args[1:] {
		size, err := strconv.Atoi(arg)
		ts.Check(err)
		fmt.Fprintf(&file, `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/p","subject":[{"name":"%d","digest":{"sha256":"%064d"}}],"predicate":{"pad":"%s"}}`+"\n\n",
			i+1, i+1, strings.Repeat("x", size))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), file.Bytes(), 0o666))
}

// lines FILE PART...: writes the parts as a file, a line each.
func linesScript(ts *testscript.TestScript, neg bool, args []string) {
	var file strings.Builder
	for _, part := range args[1:] {
		file.WriteString(strings.TrimSpace(ts.ReadFile(part)) + "\n")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(file.String()), 0o666))
}

// plainprogram: what serve starts from here on is built as for users, since the
// race detector takes memory of its own.
func plainProgramScript(ts *testscript.TestScript, neg bool, args []string) {
	bin, err := buildPlain()
	ts.Check(err)
	ts.Setenv("PLAIN_PROGRAM", bin)
}

// peakmemory MIB: the server's resident memory has never been more than that.
func peakMemoryScript(ts *testscript.TestScript, neg bool, args []string) {
	v, _ := servers.Load(ts)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.(*process).cmd.Process.Pid))
	if os.IsNotExist(err) {
		return // this system doesn't say
	}
	ts.Check(err)
	m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	peak, err := strconv.Atoi(string(m[1]))
	ts.Check(err)
	most, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Logf("the server's memory peaked at %d MiB", peak>>10)
	if peak>>10 > most {
		ts.Fatalf("the server's memory peaked at %d MiB, more than %d", peak>>10, most)
	}
}

// files DIR N: waits until the folder contains N files.
func filesScript(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	for deadline := time.Now().Add(soak.Patience); ; {
		files, err := os.ReadDir(ts.MkAbs(args[0]))
		ts.Check(err)
		if len(files) == want {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has %d files, want %d", args[0], len(files), want)
		}
	}
}

// abortedupload TOKENFILE BYTES: sends a part of a stream and leaves it at
// that.
func abortedUploadScript(ts *testscript.TestScript, neg bool, args []string) {
	token := strings.TrimSpace(ts.ReadFile(args[0]))
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	c, err := muniment.New(muniment.Options{Server: ts.Getenv("MUNIMENT_SERVER"), Token: token})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ts.Defer(cancel)
	u := c.LedgerServiceClient.AppendStream(ctx)
	ts.Check(u.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Header{
		Header: &munimentv1.AppendStreamHeader{Tenant: c.Tenant, Kind: "attestation", MediaType: "text/plain"}}}))
	for rest := bytes.Repeat([]byte{'x'}, size); len(rest) > 0; rest = rest[min(len(rest), 1<<20):] {
		ts.Check(u.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Chunk{Chunk: rest[:min(len(rest), 1<<20)]}}))
	}
}

// killserver ends it as a loss of power would.
func killServerScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no server is running")
	}
	_ = v.(*process).stop(os.Kill) // "signal: killed"
}

// metric LINE [URL]: waits until the metrics of the server, or of the process
// at the URL, have the line.
func metricScript(ts *testscript.TestScript, neg bool, args []string) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(soak.Patience); ; <-again.C {
		body, err := readMetrics(ts, args[1:])
		if strings.Contains(string(body), "\n"+args[0]+"\n") {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the metrics lack the line %s: %v\n%s", args[0], err, body)
		}
	}
}

// readMetrics reads the metrics of a URL, or those of the server.
func readMetrics(ts *testscript.TestScript, of []string) ([]byte, error) {
	server := append(of, ts.Getenv("MUNIMENT_SERVER"))[0]
	req, err := http.NewRequest(http.MethodGet, server+"/metrics", nil)
	ts.Check(err)
	if len(of) == 0 {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile("data/operators/operator.token")))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err // it may have not started yet
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}
