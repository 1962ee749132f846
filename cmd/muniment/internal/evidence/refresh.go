package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type receiptGroup struct {
	Get     receiptCmd        `cmd:"" default:"withargs" help:"Fetch the receipt of an entry. 'muniment receipt N' is short for it."`
	Refresh receiptRefreshCmd `cmd:"" help:"Renew receipts under the log's current checkpoint and key."`
}

type receiptRefreshCmd struct {
	Files []string `arg:"" help:"Receipts to replace." predictor:"file"`
	remote.Flags
	Policy []string `help:"Trust policy that accepts the new receipts. May be repeated; one must accept." required:"" env:"MUNIMENT_POLICY" predictor:"file" sep:"none"`
	JSON   bool     `help:"Print one JSON object per file."`
}

func (receiptRefreshCmd) Help() string {
	return `A receipt verifies under the policy it was issued under. After the log's key or witnesses have changed,
refresh keeps the receipt's opening and fetches a proof under a current checkpoint. A file is replaced
only if the new receipt verifies and the log proves that its tree extends the old one.

Exit code: 0 all refreshed; 1 some could not be, and are unchanged; 2 no answer.

Example:
  muniment receipt refresh receipts/*.receipt.json --policy policy --token-file acme.token`
}

func (c *receiptRefreshCmd) Run(a *term.App) error {
	policies, err := datadir.LoadPolicies(c.Policy)
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	bar := a.Progress(int64(len(c.Files)), "refresh")
	failed := 0
	for _, path := range c.Files {
		from, to, err := c.refresh(a.Ctx, client, policies, path)
		_ = bar.Add(1)
		if a.Ctx.Err() != nil {
			return a.Ctx.Err()
		}
		var ce *connect.Error
		if errors.As(err, &ce) && (ce.Code() == connect.CodeUnauthenticated || ce.Code() == connect.CodeUnavailable) {
			return err // the other files would fail too
		}
		if err != nil {
			failed++
		}
		if err := c.print(a, path, from, to, err); err != nil {
			return err
		}
	}
	_ = bar.Finish()
	if failed > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// refresh replaces one file. It returns the sizes of the old and the new tree.
func (c *receiptRefreshCmd) refresh(ctx context.Context, client *muniment.Client, policies []*receipt.TrustPolicy, path string) (from, to uint64, err error) {
	data, err := bounded.ReadFile(path, bounded.Receipt)
	if err != nil {
		return 0, 0, err
	}
	r, err := receipt.Parse(data)
	if err != nil {
		return 0, 0, err
	}
	was, err := receipt.ParseProof(string(r.Proof))
	if err != nil {
		return 0, 0, err
	}
	old, err := receipt.ParseCheckpointUnverified(was.Checkpoint)
	if err != nil {
		return 0, 0, err
	}
	// The latest checkpoint may not be cosigned yet.
	witnessed := !slices.ContainsFunc(policies, func(p *receipt.TrustPolicy) bool { return !p.RequiresWitness() })
	res, err := client.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: client.Tenant, Index: was.Index, Witnessed: witnessed}))
	if err != nil {
		return old.Size, 0, err
	}
	got, err := receipt.Parse(res.Msg.Receipt)
	if err != nil {
		return old.Size, 0, fmt.Errorf("the log's answer: %w", err)
	}
	r.Proof = got.Proof // keep the holder's opening: the log may have erased its own
	fresh, err := r.AppendJSON(nil)
	if err != nil {
		return old.Size, 0, err
	}
	s, err := receipt.Verify(fresh, policies, receipt.Options{HeaderOnly: true})
	if err != nil {
		return old.Size, 0, fmt.Errorf("the new receipt: %w", err)
	}
	if s.Index != was.Index || s.Origin != old.Origin {
		return old.Size, s.Size, fmt.Errorf("the new receipt is for entry %d of %s, not for entry %d of %s", s.Index, s.Origin, was.Index, old.Origin)
	}
	if err := checkExtends(ctx, client, old, s); err != nil {
		return old.Size, s.Size, err
	}
	// Others may write to the receipt's folder, so replace a link instead of
	// following it.
	return old.Size, s.Size, wholefile.ReplacePath(path, append(fresh, '\n'), 0o666)
}

// checkExtends requires a proof that the new tree extends the old one.
func checkExtends(ctx context.Context, client *muniment.Client, old receipt.Checkpoint, s *receipt.Statement) error {
	if s.Size < old.Size {
		return fmt.Errorf("the log has %s, but had %d when the receipt was issued: it was rolled back, or this is an old copy", term.Count(s.Size, "entry"), old.Size)
	}
	res, err := client.GetConsistencyProof(ctx, connect.NewRequest(&munimentv1.GetConsistencyProofRequest{FromSize: old.Size, ToSize: s.Size}))
	if err != nil {
		return err
	}
	path := make([]entry.Hash, len(res.Msg.Hashes))
	for i, h := range res.Msg.Hashes {
		if len(h) != entry.HashSize {
			return fmt.Errorf("the log's consistency proof: hash %d has %d bytes", i, len(h))
		}
		path[i] = entry.Hash(h)
	}
	if err := receipt.VerifyConsistency(old.Size, s.Size, old.Root, s.Root, path); err != nil {
		return fmt.Errorf("the log's tree does not extend that of the receipt (keep the receipt, it may be evidence of a fork): %w", err)
	}
	return nil
}

func (c *receiptRefreshCmd) print(a *term.App, path string, from, to uint64, failure error) error {
	if c.JSON {
		o := struct {
			File  string `json:"file"`
			From  uint64 `json:"fromSize,omitempty"`
			To    uint64 `json:"toSize,omitempty"`
			Error string `json:"error,omitempty"`
			Code  string `json:"code,omitempty"`
		}{File: path, From: from, To: to}
		if failure != nil {
			o.Error, o.Code = remote.Reason(failure), remote.Code(failure)
		}
		return term.WriteJSON(a.Stdout, o)
	}
	if failure != nil {
		fmt.Fprintf(a.Stderr, "%s: %s\n", term.Quoted(path), term.Indented(remote.Reason(failure)))
		return nil
	}
	fmt.Fprintf(a.Stdout, "%s\trefreshed from tree size %d to %d\n", term.Quoted(path), from, to)
	return nil
}
