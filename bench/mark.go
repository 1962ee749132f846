package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/store"
)

// markCost measures what the publish mark and the default anchor cost one
// appender. The three logs take turns, so that the machine is the same for all.
func (b *bench) markCost() {
	plain := b.openWith("no-mark", store.Options{Scratch: true})
	marked, anchored := b.open("mark"), b.open("anchor")
	w, err := anchor.NewWriter(anchored.dir+".anchor", func() anchor.State {
		p := anchored.ledger.Published()
		return anchor.State{Origin: anchored.ledger.Origin(), Size: p.Size, Checkpoint: p.Checkpoint, Superseded: p.Superseded, Root: p.RootOf}
	}, slog.New(slog.DiscardHandler))
	check(err)
	logs := []*log{plain, marked, anchored}
	samples := make([]sample, len(logs))
	rng := newRNG()
	start := time.Now()
	for turn := 0; time.Since(start) < time.Duration(*seconds)*time.Second; turn++ {
		for k := range logs {
			i := (turn + k) % len(logs) // each is first as often as the others
			t := time.Now()
			logs[i].append(rng, 1)
			samples[i] = append(samples[i], time.Since(t))
		}
	}
	w.Close()
	ratio := func(i int) string {
		return fmt.Sprintf("%.2f×, %.2f× without a mark", samples[i].quantile(0.5).Seconds()/samples[0].quantile(0.5).Seconds(),
			samples[i].quantile(0.99).Seconds()/samples[0].quantile(0.99).Seconds())
	}
	row("in process, one appender without a publish mark", samples[0].String(), "")
	row("in process, one appender with it", samples[1].String(), ratio(1))
	row("in process, one appender with it and the default anchor", samples[2].String(), ratio(2))
	for _, l := range logs {
		l.close()
	}
}

// detachedReceipts measures the making of receipts that do not hold the
// payload, for a small one and for the largest of a call.
func (b *bench) detachedReceipts() {
	l := b.open("detached")
	var small time.Duration
	for i, size := range []int{1 << 10, 16<<20 - 1} {
		payload := make([]byte, size)
		rand.Read(payload)
		payload[0] = 'e'
		res, err := l.ingest.Append(context.Background(), l.who, []ingest.Submission{{Kind: kindname.Attestation, MediaType: opaque, Payload: payload}})
		check(err)
		check(res[0].Err)
		s := times(2000, func(int) {
			_, err := l.ledger.Receipt(context.Background(), l.who.Stream, res[0].Index, ledger.ReceiptOptions{})
			check(err)
		})
		beside := ""
		if i == 0 {
			small = s.quantile(0.5)
		} else {
			beside = fmt.Sprintf("%.2f× that of 1 KiB", s.quantile(0.5).Seconds()/small.Seconds())
		}
		row(fmt.Sprintf("detached receipt of a payload of %d KiB", (size+1023)>>10), s.String(), beside)
	}
	l.close()
}
