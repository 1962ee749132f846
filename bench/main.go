// Command bench measures a Muniment log on this machine, and prints ratios
// against limits and a peer measured in the same run.
//
//	go run ./bench                 all measurements (about five minutes)
//	go run ./bench -only http      those whose name contains "http"
//	go run ./bench -profile DIR    with processor profiles of the in-process ones
//	go run ./bench -entries N      size of the log for "a million entries"
//	go run ./bench -only curve     logs of up to ten million entries (about ten
//	                               minutes and 4 GB); -curve-dir keeps them
//
// It asserts nothing. The goals it prints are those the project set itself; see
// docs/performance.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

var (
	only       = flag.String("only", "", "measure only what has this in its name")
	profile    = flag.String("profile", "", "folder for processor profiles")
	million    = flag.Uint64("entries", 1_000_000, "size of the large log")
	deltaBytes = flag.Uint64("delta-bytes", 1200<<20, "bytes of payload in the large delta")
	seconds    = flag.Int("seconds", 8, "how long each throughput measurement runs")
	peer       = flag.Bool("peer", true, "measure Tessera's POSIX server, too (installs it)")
)

// A bench runs the measurements and keeps what they share.
type bench struct {
	dir    string
	limits map[string]float64
}

func main() {
	flag.Parse()
	if *flood != "" {
		floodServer()
		return
	}
	if *attack != "" {
		attackServer()
		return
	}
	debug.SetGCPercent(300) // as the server does
	debug.SetMemoryLimit(256 << 20)
	if *curveStep != "" {
		measureCurveStep()
		return
	}
	dir, err := os.MkdirTemp("", "muniment-bench-")
	check(err)
	b := &bench{dir: dir, limits: map[string]float64{}}
	fmt.Printf("%s, %d cores, %s\n\n", runtime.Version(), runtime.NumCPU(), time.Now().UTC().Format("2006-01-02"))
	fmt.Printf("%-58s %16s   %s\n", "WHAT", "MEASURED", "BESIDE")
	measurements := []measurement{
		{"limits", b.measureLimits},
		{"in-process 1", b.oneAppender},
		{"in-process 64", func() { b.appenders(64) }},
		{"in-process 512", func() { b.appenders(512) }},
		{"in-process 2048", func() { b.appenders(2048) }},
		{"mark", b.markCost},
		{"detached receipts", b.detachedReceipts},
		{"verify", b.verify},
		{"sdks", b.sdks},
		{"http one writer", b.oneWriter},
		{"http connections", b.connections},
		{"http fairness", b.fairness},
		{"witnessed", b.witnessed},
		{"peer tessera", b.tessera},
		{"audit", b.audits},
		{"delta", b.deltas},
		{"rekor", b.rekorLog},
		{"large log", b.largeLog},
		{"search", b.search},
		{"portal", b.portal},
		{"decide", b.decides},
		{"evidence", b.bundles},
		{"admission", b.admission},
		{"facts", b.factsCost},
		{"cache hits", b.cacheHits},
		{"cache traces", b.cacheTraces},
		{"cache reads", b.cacheReads},
		{"cache run", b.cacheRun},
		{"backfill", b.backfill},
		{"triage", b.triageStorm},
		{"scale-out in-process", b.scaleOutInProcess},
		{"scale-out servers", b.scaleOutServers},
		{"curve", b.curve},
	}
	for i := range attacks {
		measurements = append(measurements, measurement{"http attacks: " + attacks[i].name, func() { b.measureAttack(i) }})
	}
	for _, m := range measurements {
		asked := strings.Contains(m.name, *only)
		if m.name == "curve" {
			asked = *only == m.name // it takes ten minutes and 4 GB of disk
		}
		if asked || m.name == "limits" {
			b.profiled(m.name, m.run)
		}
	}
	check(os.RemoveAll(dir))
}

// A measurement is one that -only selects by its name.
type measurement struct {
	name string
	run  func()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) profiled(name string, run func()) {
	if *profile == "" {
		run()
		return
	}
	check(os.MkdirAll(*profile, 0o755))
	f, err := os.Create(filepath.Join(*profile, strings.ReplaceAll(name, " ", "-")+".prof"))
	check(err)
	check(pprof.StartCPUProfile(f))
	run()
	pprof.StopCPUProfile()
	check(f.Close())
}

// row prints a measurement.
func row(what, measured, beside string) { fmt.Printf("%-58s %16s   %s\n", what, measured, beside) }

// rate prints a throughput.
func rate(n float64) string { return fmt.Sprintf("%.0f /s", n) }

// A sample holds durations.
type sample []time.Duration

// quantile returns the q-quantile, 0 ≤ q ≤ 1.
func (s sample) quantile(q float64) time.Duration {
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func (s sample) String() string {
	return fmt.Sprintf("p50 %s p99 %s", round(s.quantile(0.5)), round(s.quantile(0.99)))
}

func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	case d > 100*time.Microsecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}

// times runs f n times and returns how long each took.
func times(n int, f func(i int)) sample {
	s := make(sample, n)
	for i := range s {
		start := time.Now()
		f(i)
		s[i] = time.Since(start)
	}
	return s
}
