package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// Recompute computes the reports of a verified bundle again, from a replica
// with its content. It implements step 11 of docs/spec/bundle.md, section 5.
// The error wraps bundlefile.ErrReports if the evidence in the bundle does not
// have such reports.
func Recompute(ctx context.Context, b *bundlefile.Bundle, log *Log) (*bundlefile.Reports, error) {
	stated, problem, err := readAccount(b)
	if err != nil || problem != "" {
		return &bundlefile.Reports{Problem: problem}, err
	}
	p, err := newRecomputation(b, log, stated)
	if err == nil {
		err = p.checkSelection(ctx, b.Manifest)
	}
	if err != nil {
		return nil, refuse(err)
	}
	documents, page, err := p.make(ctx)
	if err != nil {
		return nil, refuse(err)
	}
	out := &bundlefile.Reports{Members: map[string][]byte{bundlefile.IndexName: page}, Stated: p.account.sentences()}
	for _, d := range documents {
		out.Members[d.name] = d.content
	}
	return out, nil
}

// readAccount returns the account of a bundle, or the reason for which this
// program does not compute its reports.
func readAccount(b *bundlefile.Bundle) (a *account, problem string, err error) {
	content := b.Open(accountName)
	if content == nil {
		return nil, fmt.Sprintf("the bundle has no %s, without which its reports cannot be computed", accountName), nil
	}
	text, err := bounded.ReadAll(content, maxAccount)
	if err == nil {
		a, err = parseAccount(text)
	}
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("%w: %s: %w", bundlefile.ErrReports, accountName, err)
	case a.version != ReportsVersion:
		return nil, fmt.Sprintf("the reports have version %d, and this program computes version %d: use the program that has created the bundle", a.version, ReportsVersion), nil
	}
	return a, "", nil
}

// newRecomputation returns what makes the reports from the content of a bundle.
func newRecomputation(b *bundlefile.Bundle, log *Log, stated *account) (*reporting, error) {
	text, err := bounded.ReadAll(b.Open(bundlefile.PolicyName), bounded.Config)
	if err != nil {
		return nil, err
	}
	policy, err := receipt.ParseTrustPolicy(bundlefile.PolicyName, text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", bundlefile.ErrReports, bundlefile.PolicyName, err)
	}
	now := func() time.Time { return millis(b.Manifest.Time) }
	p := &reporting{
		manifest: b.Manifest, log: log, stream: &ledger.Stream{ID: b.Manifest.Stream.ID}, policy: policy, exceptions: &exception.Projection{Log: log, Now: now}, inventories: &inventory.Projection{Log: log},
		files: func(entries []uint64) map[uint64]report.File { return filesOf(b, entries) },
	}
	next := 0
	state := func(_ context.Context, q *decide.Question, a *inventory.Artifact, err error) (*inventory.Gap, error) {
		if !errors.Is(err, ErrOmitted) {
			return nil, err
		}
		if next == len(stated.stated) || !stated.stated[next].about(q.Environment, a) {
			return nil, fmt.Errorf("%w: %s does not state the coverage of %s in %s: %w", bundlefile.ErrReports, accountName, a.Name(), q.Environment, err)
		}
		next++
		return p.state(stated.stated[next-1]), nil
	}
	p.coverage = func(context.Context, *report.Release) (*inventory.Reader, error) {
		return &inventory.Reader{Decider: p.decider(log), Projection: p.inventories, Stated: state}, nil
	}
	return p, nil
}

// checkSelection compares the artifacts and the time of a manifest with what
// its selection stands for.
func (p *reporting) checkSelection(ctx context.Context, m *bundlefile.Manifest) error {
	artifacts, since, err := p.choose(ctx)
	switch {
	case err != nil:
		return err
	case !reflect.DeepEqual(artifacts, m.Artifacts):
		return fmt.Errorf("%w: the manifest lists other artifacts than the inventories of release %q", bundlefile.ErrReports, m.Selection.Release)
	case !reflect.DeepEqual(since, m.Since):
		return fmt.Errorf("%w: the manifest has another time since than its selection", bundlefile.ErrReports)
	}
	return nil
}

// filesOf returns the members of entries.
func filesOf(b *bundlefile.Bundle, entries []uint64) map[uint64]report.File {
	all := map[uint64]report.File{}
	for _, index := range entries {
		for _, mediaType := range []string{"", "application/json"} {
			if name := bundlefile.PayloadName(index, mediaType); b.Open(name) != nil {
				all[index] = report.File{Receipt: bundlefile.ReceiptName(index), Payload: name}
			}
		}
	}
	return all
}

// refuse returns an error of a computation. Those that follow from the content
// of the bundle wrap ErrReports.
func refuse(err error) error {
	for _, target := range []error{ErrOmitted, ErrSelection, ledger.ErrErased, inventory.ErrNoRelease, inventory.ErrAmbiguous, inventory.ErrTooMuch, decide.ErrTooEarly, io.ErrUnexpectedEOF} {
		if errors.Is(err, target) && !errors.Is(err, bundlefile.ErrReports) {
			return fmt.Errorf("%w: %w", bundlefile.ErrReports, err)
		}
	}
	return err
}
