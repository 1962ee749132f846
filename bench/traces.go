package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/internal/peers"
)

// traces lists traces of the simulator's artifact. They carry no times, values
// or writes.
var traces = []struct{ format, file string }{
	{"cache2k", "orm-busy.trace.xz"},
	{"cache2k", "orm-night.trace.xz"},
	{"cache2k", "web07.trace.xz"},
	{"cache2k", "web12.trace.xz"},
	{"gradle", "build-cache.xz"},
	{"scarab", "scarab-recs.trace.xz"},
	{"corda", "trace_vaultservice.gz"},
	{"lirs", "2_pools.trace.gz"},
	{"lirs", "cpp.trace.gz"},
	{"lirs", "cs.trace.gz"},
	{"lirs", "gli.trace.gz"},
	{"lirs", "multi3.trace.gz"},
	{"lirs", "ps.trace.gz"},
	{"lirs", "sprite.trace.gz"},
}

const simulator = "com.github.benmanes.caffeine.cache.simulator."

// cacheTraces measures hit ratios with room for a quarter of the keys of each
// trace, beside the best possible ones and those of W-TinyLFU, both computed by
// the simulator of Caffeine.
func (b *bench) cacheTraces() {
	java, err := peers.Find("caffeine-simulator")
	check(err)
	for _, t := range traces {
		keys, distinct := b.readTrace(java, t.format, t.file)
		room := max(16, distinct/4)
		best, peer := simulate(java, t.format+":"+t.file, room)
		have := replay(keys, uint64(room))
		reach := "≥ 85 % is impossible"
		if best >= 85 {
			reach = fmt.Sprintf("%+.1f to the goal of 85", have-85)
		}
		row(fmt.Sprintf("cache: hits of %s, %d reads, room for %d", strings.SplitN(t.file, ".", 2)[0], len(keys), room),
			fmt.Sprintf("%.2f %%", have), fmt.Sprintf("best possible %.2f %%, W-TinyLFU %.2f %% (%+.2f; goal -1), %s", best, peer, have-peer, reach))
	}
}

// readTrace has the simulator write a trace as text, and returns its keys in
// order.
func (b *bench) readTrace(java, format, file string) (keys []int64, distinct int) {
	name := filepath.Join(b.dir, "trace")
	out, err := exec.Command(java, simulator+"parser.Rewriter", "--inputFormat="+strings.ToUpper(format), "--inputFiles="+file,
		"--outputFormat=ADAPT_SIZE", "--outputFile="+name).CombinedOutput()
	if err != nil {
		check(fmt.Errorf("rewrite the trace %s: %w\n%s", file, err, out))
	}
	f, err := os.Open(name)
	check(err)
	defer f.Close()
	seen := map[int64]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // a number, the key, its size
		key, err := strconv.ParseInt(fields[1], 10, 64)
		check(err)
		keys, seen[key] = append(keys, key), true
	}
	return keys, len(seen)
}

// simulate returns the hit ratios of the clairvoyant policy and of W-TinyLFU,
// in percent.
func simulate(java, trace string, room int) (best, peer float64) {
	cmd := exec.Command(java, "-Dcaffeine.simulator.files.paths.0="+trace, "-Dcaffeine.simulator.maximum-size="+strconv.Itoa(room),
		"-Dcaffeine.simulator.policies.0=opt.Clairvoyant", "-Dcaffeine.simulator.policies.1=sketch.WindowTinyLfu",
		"-Dcaffeine.simulator.report.format=csv", simulator+"Simulator")
	out, err := cmd.Output()
	check(err)
	lines := csv.NewReader(bytes.NewReader(out))
	lines.FieldsPerRecord = -1
	rows, err := lines.ReadAll()
	check(err)
	for _, r := range rows {
		if len(r) < 2 {
			continue
		}
		ratio, _ := strconv.ParseFloat(r[1], 64)
		switch {
		case strings.HasPrefix(r[0], "opt.Clairvoyant"):
			best = ratio
		case strings.HasPrefix(r[0], "sketch.WindowTinyLfu"):
			peer = ratio
		}
	}
	if best == 0 || peer == 0 {
		check(fmt.Errorf("the simulator printed no hit ratios for %s:\n%s", trace, out))
	}
	return best, peer
}

// replay returns the hit ratio of the adaptive cache, in percent.
func replay(keys []int64, room uint64) float64 {
	loads := 0
	cache := numberCache(room, func(_ context.Context, key int64) (adaptivecache.Result[int64, int], error) {
		loads++ // reads wait for their loads, and nothing loads in the background
		return adaptivecache.Result[int64, int]{Value: 1}, nil
	})
	for i, key := range keys {
		_, err := cache.Get(context.Background(), key)
		check(err)
		if i%4 == 0 {
			runtime.Gosched() // the store's maintenance keeps up, as it does at lower rates
		}
	}
	return 100 * (1 - float64(loads)/float64(len(keys)))
}
