package main

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// What the entries of the searched log have, and so what is looked for: a
// company's services, each with builds that scanners and people speak of.
const (
	searchSubmitters = 200
	searchSigners    = 50
	searchControls   = 100
	searchArtifacts  = 100_000 // about ten entries each
	searchMaterials  = 20_000
	searchIncidents  = 10_000
	searchPage       = 100
)

var (
	searchKinds      = []string{kindname.Attestation, kindname.Attestation, kindname.Attestation, kindname.Finding, kindname.ExceptionRequest, kindname.GateDecision, kindname.MetricSnapshot, kindname.TriageAction}
	searchPredicates = []string{"https://slsa.dev/provenance/v1", "https://spdx.dev/Document", "https://cosign.sigstore.dev/attestation/vuln/v1", "https://openvex.dev/ns/v0.2.0"}
	searchSeverities = []string{"critical", "high", "medium", "low", "info"}
)

func digestNumber(kind byte, n int) string { return fmt.Sprintf("%02x%062x", kind, n) }

// searchable makes an entry with facts of every sort.
func (l *log) searchable(rng *mrand.Rand) ledger.Draft {
	pick := func(name string, n int) string { return fmt.Sprintf("%s-%d@acme.example", name, rng.IntN(n)) }
	d := ledger.Draft{Stream: l.who.Stream, Payload: receipt.PayloadOpening{Content: fmt.Appendf(nil, "%d", made.Add(1))}}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	d.Header = &entry.Header{
		Origin: l.ledger.Origin(), Tenant: l.who.Tenant, Kind: searchKinds[rng.IntN(len(searchKinds))], MediaType: "application/json", Submitter: pick("submitter", searchSubmitters),
		Subjects:     []entry.Subject{{Name: "app", Digest: map[string]string{"sha256": digestNumber('s', rng.IntN(searchArtifacts))}}},
		Materials:    []entry.Subject{{Digest: map[string]string{"sha256": digestNumber('m', rng.IntN(searchMaterials))}}},
		Controls:     []string{pick("control", searchControls)},
		Attributes:   map[string]string{"severity": searchSeverities[rng.IntN(len(searchSeverities))], "incident": pick("incident", searchIncidents)},
		Payload:      entry.PayloadRef{Commitment: entry.Commitment(d.Payload.Salt, d.Payload.Content), Size: uint64(len(d.Payload.Content))},
		Verification: entry.Verification{Result: entry.Unverified},
	}
	if d.Header.Kind == kindname.Attestation {
		d.Header.PredicateType = searchPredicates[rng.IntN(len(searchPredicates))]
		d.Header.Signers = []entry.Signer{{Identity: pick("signer", searchSigners), Issuer: "https://accounts.acme.example"}}
	}
	var err error
	d.Opening.Content, err = d.Header.AppendJSON(nil)
	check(err)
	return d
}

// fillWith appends entries until the log is large.
func (l *log) fillWith(next func(*mrand.Rand) ledger.Draft) {
	for l.ledger.Published().Size < *million {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				rng := mrand.New(newRNG())
				drafts := make([]ledger.Draft, 1000)
				for i := range drafts {
					drafts[i] = next(rng)
				}
				_, err := l.ledger.Append(context.Background(), drafts)
				check(err)
			})
		}
		wg.Wait()
	}
	settle(l.dir)
}

// search looks for pages of entries of many facts by several at once.
func (b *bench) search() {
	l := b.open("search")
	l.fillWith(l.searchable)
	size := l.ledger.Published().Size
	rng := mrand.New(newRNG())
	pick := func(name string, n int) string { return fmt.Sprintf("%s-%d@acme.example", name, rng.IntN(n)) }
	one := func(of []string) string { return of[rng.IntN(len(of))] }
	runtime.LockOSThread() // so that its processor time is this goroutine's
	defer runtime.UnlockOSThread()
	var worst, worstWork time.Duration
	for _, q := range []struct {
		what string
		make func() ledger.Filter
	}{
		{"kind", func() ledger.Filter { return ledger.Filter{Kind: kindname.Attestation} }},
		{"subject", func() ledger.Filter {
			return ledger.Filter{Subject: "sha256:" + digestNumber('s', rng.IntN(searchArtifacts))}
		}},
		{"material", func() ledger.Filter {
			return ledger.Filter{Material: "sha256:" + digestNumber('m', rng.IntN(searchMaterials))}
		}},
		{"incident", func() ledger.Filter { return ledger.Filter{Attribute: "incident=" + pick("incident", searchIncidents)} }},
		{"kind, signer, predicate type", func() ledger.Filter {
			return ledger.Filter{Kind: kindname.Attestation, Signer: pick("signer", searchSigners), PredicateType: one(searchPredicates)}
		}},
		{"kind, control, severity", func() ledger.Filter {
			return ledger.Filter{Kind: kindname.Finding, Control: pick("control", searchControls), Attribute: "severity=" + one(searchSeverities)}
		}},
		{"submitter, control, severity", func() ledger.Filter {
			return ledger.Filter{Submitter: pick("submitter", searchSubmitters), Control: pick("control", searchControls), Attribute: "severity=" + one(searchSeverities)}
		}},
		{"subject, kind, signer, predicate type", func() ledger.Filter {
			return ledger.Filter{Subject: "sha256:" + digestNumber('s', rng.IntN(searchArtifacts)), Kind: kindname.Attestation, Signer: pick("signer", searchSigners), PredicateType: one(searchPredicates)}
		}},
		{"submitter, signer, control (of thousands, a few)", func() ledger.Filter {
			return ledger.Filter{Submitter: pick("submitter", searchSubmitters), Signer: pick("signer", searchSigners), Control: pick("control", searchControls)}
		}},
	} {
		found, work := 0, make(sample, 500)
		s := times(len(work), func(i int) {
			before := threadTime()
			defer func() { work[i] = threadTime() - before }()
			page, err := l.ledger.List(context.Background(), l.who.Stream, ledger.Query{Filter: q.make(), Limit: searchPage})
			check(err)
			found += len(page.Entries)
		})
		worst, worstWork = max(worst, s.quantile(0.99)), max(worstWork, work.quantile(0.99))
		row("a page by "+q.what, s.String(), fmt.Sprintf("%d entries a page; processor time %s", found/len(work), work))
	}
	row(fmt.Sprintf("a page of %d, the slowest of these, at %d entries", searchPage, size), "p99 "+round(worst).String(), fmt.Sprintf("goal 20ms: %.1f×; of its processor time %.1f×", 20e-3/worst.Seconds(), 20e-3/worstWork.Seconds()))
	l.close()
}

// threadTime returns what the calling thread has used of the processor.
func threadTime() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	check(syscall.Getrusage(thread, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
