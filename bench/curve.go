package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

var (
	curveMax  = flag.Uint64("curve-max", 10_000_000, "size of the largest log of the curve")
	curveDir  = flag.String("curve-dir", "", "folder that keeps the logs of the curve for the next run (4 GB for ten million entries)")
	curveStep = flag.String("curve-step", "", "run one `step` of the curve on the log in -curve-dir, and print its figures as JSON (a part of the curve measurement)")
)

// The steps of the curve. Each is a process of its own, because caches and
// memory are measured.
const (
	stepBuild = "build" // fill the log up to -entries, and close it
	stepWrite = "write" // append one by one, and be killed
	stepOpen  = "open"  // open and close
	stepRead  = "read"  // open, and prove random entries
	stepCold  = "cold"  // the same, with nothing in the system's cache
)

// curveFigures are the figures of one step.
type curveFigures struct {
	Size                 uint64
	Open                 time.Duration
	AppendP50, AppendP99 time.Duration
	First, Warm          time.Duration // inclusion proof, p50
	Resident, Heap       int64         // bytes; Resident is the peak
}

const (
	curveBuffer = 28_000 // about the single appends that fill one of Pebble's buffers
	curveProofs = 3_000
)

// A curvePoint holds the figures at one size.
type curvePoint struct {
	size                       uint64
	clean, cold, write, killed curveFigures // by step
}

// curveLines are the lines that are drawn.
var curveLines = []struct {
	what, goal string
	figure     func(*curvePoint) any // time.Duration, or int64 in bytes
}{
	{"open after a clean stop", "goal 1s", func(p *curvePoint) any { return p.clean.Open }},
	{"open after kill -9", "goal 1s", func(p *curvePoint) any { return p.killed.Open }},
	{"open, nothing in the system's cache", "", func(p *curvePoint) any { return p.cold.Open }},
	{"inclusion proof, first 3,000, p50", "goal 50µs", func(p *curvePoint) any { return p.clean.First }},
	{"the same, nothing in the system's cache", "", func(p *curvePoint) any { return p.cold.First }},
	{"inclusion proof, next 30,000, p50", "goal 50µs", func(p *curvePoint) any { return p.clean.Warm }},
	{"one appender, p50", "", func(p *curvePoint) any { return p.write.AppendP50 }},
	{"one appender, p99", "goal 1.5× the first", func(p *curvePoint) any { return p.write.AppendP99 }},
	{"resident memory at most, appending", "goal 512 MiB", func(p *curvePoint) any { return p.write.Resident }},
	{"resident memory at most, proving", "goal 512 MiB", func(p *curvePoint) any { return p.clean.Resident }},
}

// curve measures at several sizes what should not depend on the size.
func (b *bench) curve() {
	dir := *curveDir
	if dir == "" {
		dir = filepath.Join(b.dir, "curve")
	}
	var points []curvePoint
	for size := uint64(10_000); size <= *curveMax; size *= 10 {
		points = append(points, measureCurvePoint(filepath.Join(dir, strconv.FormatUint(size, 10)), size))
	}
	last := len(points) - 1
	for _, l := range curveLines {
		values, cells := make([]float64, len(points)), make([]string, len(points))
		for i := range points {
			switch v := l.figure(&points[i]).(type) {
			case time.Duration:
				values[i], cells[i] = v.Seconds(), round(v).String()
			case int64:
				values[i], cells[i] = float64(v), fmt.Sprintf("%d MiB", v>>20)
			}
		}
		row(fmt.Sprintf("%s, at %d entries", l.what, points[last].size), cells[last],
			strings.Join(append(cells, sparkline(values)), " ")+"  "+l.goal)
	}
}

// measureCurvePoint measures the log of a size, which it builds if necessary.
func measureCurvePoint(log string, size uint64) curvePoint {
	if built := runCurveStep(log, stepBuild, size); built.Size > 2*size { // by earlier runs
		check(errors.Join(os.RemoveAll(log), os.RemoveAll(mark.Path(log))))
		runCurveStep(log, stepBuild, size)
	}
	return curvePoint{
		size:   size,
		clean:  runCurveStep(log, stepRead, size),
		cold:   runCurveStep(log, stepCold, size),
		write:  runCurveStep(log, stepWrite, size),
		killed: runCurveStep(log, stepOpen, size),
	}
}

// sparkline draws the values as bars, from 0 to the largest.
func sparkline(values []float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	var b strings.Builder
	for _, v := range values {
		b.WriteRune(bars[int(v/top*float64(len(bars)-1)+0.5)])
	}
	return b.String()
}

// runCurveStep runs a step in a process of its own.
func runCurveStep(dir, step string, size uint64) (f curveFigures) {
	self, err := os.Executable()
	check(err)
	args := []string{"-curve-step", step, "-curve-dir", dir, "-entries", strconv.FormatUint(size, 10), "-seconds", strconv.Itoa(*seconds)}
	if *profile != "" {
		args = append(args, "-profile", *profile)
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if step != stepWrite { // which is killed
		check(err)
	}
	check(json.Unmarshal(bytes.TrimSpace(out), &f))
	return f
}

// measureCurveStep is the process of a step.
func measureCurveStep() {
	b := &bench{dir: filepath.Dir(*curveDir)}
	if *curveStep == stepCold {
		forget(*curveDir)
	}
	start := time.Now()
	l := b.openWith(filepath.Base(*curveDir), store.Options{})
	f := curveFigures{Open: time.Since(start), Size: l.ledger.Published().Size}
	b.profiled(fmt.Sprintf("curve-%s-%d", *curveStep, *million), func() {
		switch *curveStep {
		case stepBuild:
			l.fill(*million)
			f.Size = l.ledger.Published().Size
		case stepWrite:
			l.curveAppends(&f)
		case stepRead, stepCold:
			l.curveProofs(&f)
		}
	})
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.Heap, f.Resident = int64(m.HeapAlloc), peakMemory(os.Getpid())
	check(json.NewEncoder(os.Stdout).Encode(f))
	if *curveStep == stepWrite {
		check(syscall.Kill(os.Getpid(), syscall.SIGKILL))
		select {}
	}
	l.close()
}

// fill appends in batches until the log has n entries. Their payloads of 1 KiB
// compress, so that ten million of them fit on most disks.
func (l *log) fill(n uint64) {
	for l.ledger.Published().Size < n {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { l.appendSmall(newRNG(), int(min(1000, n/4))) })
		}
		wg.Wait()
	}
	settle(l.dir)
}

// appendSmall is append with payloads that compress.
func (l *log) appendSmall(rng *mrand.ChaCha8, n int) {
	subs := make([]ingest.Submission, n)
	for i := range subs {
		p := bytes.Repeat([]byte("evidence"), 128)
		binary.BigEndian.PutUint64(p[8:], rng.Uint64())
		binary.BigEndian.PutUint64(p[16:], rng.Uint64())
		subs[i] = ingest.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: p}
	}
	res, err := l.ingest.Append(context.Background(), l.who, subs)
	check(err)
	for i := range res {
		check(res[i].Err)
	}
}

// curveAppends appends one by one, during which Pebble empties a buffer and
// compacts, as it does now and then on a log of any size.
func (l *log) curveAppends(f *curveFigures) {
	rng := newRNG()
	for range curveBuffer / 2 / 1000 {
		l.appendSmall(rng, 1000)
	}
	s := times(curveBuffer, func(int) { l.appendSmall(rng, 1) })
	f.AppendP50, f.AppendP99 = s.quantile(0.5), s.quantile(0.99)
}

// curveProofs makes inclusion proofs of random entries.
func (l *log) curveProofs(f *curveFigures) {
	p := l.ledger.Published()
	r := mrand.New(newRNG())
	proof := func(int) {
		_, err := p.InclusionProof(context.Background(), r.Uint64N(p.Size), p.Size)
		check(err)
	}
	first, warm := times(curveProofs, proof), times(10*curveProofs, proof)
	f.First, f.Warm = first.quantile(0.5), warm.quantile(0.5)
}

// forget drops the files of the log from the system's cache.
func forget(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	check(err)
	for _, name := range files {
		file, err := os.Open(name)
		check(err)
		check(unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
		check(file.Close())
	}
}
