package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/baseline"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/oci"
)

type baselineCmd struct {
	Check   baselineCheckCmd   `cmd:"" help:"Compare allowed base images with registries and the ledger, and propose their updates."`
	Explain baselineExplainCmd `cmd:"" help:"Show what images are built on, and whether that is allowed."`
	Control baselineControlCmd `cmd:"" help:"Print the control by which gates enforce a baseline."`
}

// readBaseline reads and parses a baseline.
func readBaseline(path string) (*baseline.File, error) {
	text, err := readFile(path, baseline.MaxSize, "a baseline", datadir.SecretKind)
	if err != nil {
		return nil, err
	}
	f, err := baseline.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: invalid:\n%w", path, err)
	}
	return f, nil
}

// maxConnections is the number of images that are looked up at a time.
const maxConnections = 8

// A lookup asks registries about the images of a baseline.
type lookup struct {
	*remote.RegistryFlags
	file *baseline.File

	mu    sync.Mutex
	parts map[string][]*oci.Artifact // manifests in an index, by its digest
}

// each calls f for each image, several at a time.
func (l *lookup) each(a *term.App, what string, f func(ctx context.Context, n int, i *baseline.Image) error) error {
	show, finish := a.ProgressFunc(what)
	defer finish()
	var done uint64
	g, ctx := errgroup.WithContext(a.Ctx)
	g.SetLimit(maxConnections)
	for n, i := range l.file.Images {
		g.Go(func() error {
			defer crash.Report()
			err := f(ctx, n, i)
			l.mu.Lock()
			defer l.mu.Unlock()
			done++
			show(done, uint64(len(l.file.Images)))
			return err
		})
	}
	return g.Wait()
}

// state finds what the registry has of an image.
func (l *lookup) state(ctx context.Context, i *baseline.Image) *baseline.State {
	s := &baseline.State{}
	tag, err := l.resolve(ctx, i.Reference)
	switch {
	case err == nil:
		s.Tag = tag
	case !errors.Is(err, oci.ErrNotFound):
		s.Failed = append(s.Failed, err.Error())
	}
	if s.Tag != i.Digest {
		_, err := l.resolve(ctx, pinned(i))
		switch {
		case errors.Is(err, oci.ErrNotFound):
			s.Gone = true
		case err != nil:
			s.Failed = append(s.Failed, err.Error())
		}
	}
	return s
}

// pinned returns the reference of the listed digest.
func pinned(i *baseline.Image) string {
	return i.Reference[:strings.LastIndex(i.Reference, ":")] + "@" + i.Digest
}

// resolve returns the digest of a reference, and keeps the manifests in it.
func (l *lookup) resolve(ctx context.Context, reference string) (string, error) {
	r, err := l.Open(reference)
	if err != nil {
		return "", err
	}
	all, err := r.Artifacts(ctx)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts[all[0].Digest] = platforms(all)
	return all[0].Digest, nil
}

// digestsOf returns the digests of the manifests in indexes.
func (l *lookup) digestsOf() map[string][]string {
	all := map[string][]string{}
	for index, parts := range l.parts {
		for _, p := range parts {
			all[index] = append(all[index], p.Digest)
		}
	}
	return all
}

// perCall is the number of images that one call to the ledger decides about.
const perCall = 32

// evidence asks the ledger for the evidence about the listed digests, and about
// those of tags that have moved.
func (l *lookup) evidence(ctx context.Context, client *muniment.Client, states []*baseline.State) error {
	for from := 0; from < len(states); from += perCall {
		to := min(from+perCall, len(states))
		if err := l.evidenceOf(ctx, client, l.file.Images[from:to], states[from:to]); err != nil {
			return err
		}
	}
	return nil
}

func (l *lookup) evidenceOf(ctx context.Context, client *muniment.Client, images []*baseline.Image, states []*baseline.State) error {
	entries, err := l.file.Set(images...).Entries()
	if err != nil {
		return err
	}
	head := entries[len(entries)-1]
	req := &munimentv1.DecideRequest{Tenant: client.Tenant, Stage: baseline.Stage, DryRun: true, ControlSet: head.Payload}
	for _, e := range entries[:len(entries)-1] {
		req.Controls = append(req.Controls, e.Payload)
	}
	var into []**baseline.Evidence
	for n, i := range images {
		req.Subjects, into = append(req.Subjects, l.subject(i.Reference, i.Digest)), append(into, &states[n].Listed)
		if tag := states[n].Tag; tag != "" && tag != i.Digest {
			req.Subjects, into = append(req.Subjects, l.subject(i.Reference, tag)), append(into, &states[n].Moved)
		}
	}
	res, err := client.Gate.Decide(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	if len(res.Msg.Decisions) != len(into) {
		return errors.New("the server decided about another number of images: upgrade it")
	}
	for n, d := range res.Msg.Decisions {
		if d.Decision.GetControlSet() != head.Digest {
			return errors.New("the server does not decide by the control set of the request: upgrade it")
		}
		*into[n] = evidenceFrom(d.Decision)
	}
	for _, s := range states {
		s.Decided = res.Msg.Decisions[0].Decision.GetDecided().AsTime()
	}
	return nil
}

func (l *lookup) subject(name, digest string) *munimentv1.GateSubject {
	s := &munimentv1.GateSubject{Type: artifact.Image, Artifact: &munimentv1.Artifact{Name: name, Digest: digestOf(digest)}}
	for _, p := range l.parts[digest] {
		s.Parts = append(s.Parts, &munimentv1.GatePart{Digest: digestOf(p.Digest), Platform: p.Platform})
	}
	return s
}

// evidenceFrom returns the evidence that a decision was made from.
func evidenceFrom(d *munimentv1.GateDecision) *baseline.Evidence {
	e := &baseline.Evidence{Outcome: evaluate.Outcome(d.Decision), Reason: d.Reason}
	i := slices.IndexFunc(d.Results, func(r *munimentv1.ControlResult) bool { return r.Result != evaluate.NotApplicable })
	if i >= 0 {
		r := d.Results[i]
		e.Reason, e.Missing, e.Entries = r.Reason, r.Missing, r.Entries
	}
	return e
}
