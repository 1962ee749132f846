package decide

import (
	"bytes"
	"context"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// controlsInForce is the control set in force of a tenant.
type controlsInForce struct {
	index   uint64 // of the entry of the set
	digest  string
	listed  map[string]string // digests of the controls, by ID
	set     *catalog.Set      // nil: it cannot be read
	why     error             // why it cannot be read
	entries map[string]uint64 // of the controls, by ID
}

// readControls returns the control set in force, or nil if there is none, as
// docs/spec/controls.md, section 2, defines it.
func readControls(ctx context.Context, client *muniment.Client) (*controlsInForce, error) {
	var in *controlsInForce
	err := eachEntry(ctx, client, &munimentv1.Filter{Kind: kindname.ControlSet}, munimentv1.Order_ORDER_NEWEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
		if e.Admission.GetResult() == entry.Recorded {
			return true, nil
		}
		in = &controlsInForce{index: e.Index, entries: map[string]uint64{}, listed: map[string]string{}}
		return false, nil
	})
	if err != nil || in == nil {
		return nil, err
	}
	set, err := readDocument(ctx, client, in.index)
	if err != nil {
		return in.unreadable(err)
	}
	in.digest = entry.SHA256(set)
	head := &munimentv1.ControlSet{}
	if err := protojson.Unmarshal(set, head); err != nil {
		in.why = plain.DecodeError(err)
		return in, nil
	}
	missing := map[string]string{} // IDs by digest
	for _, r := range head.Controls {
		missing[r.Digest], in.listed[r.Id] = r.Id, r.Digest
	}
	var documents [][]byte
	err = eachEntry(ctx, client, &munimentv1.Filter{Kind: kindname.Control}, munimentv1.Order_ORDER_NEWEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
		if e.Index > in.index || e.PayloadErased || e.PayloadSize > catalog.MaxSize {
			return true, nil
		}
		payload, err := readDocument(ctx, client, e.Index)
		if err != nil {
			return false, err
		}
		digest := entry.SHA256(payload)
		if id, ok := missing[digest]; ok {
			documents, in.entries[id] = append(documents, payload), e.Index
			delete(missing, digest)
		}
		return len(missing) > 0, nil
	})
	if err != nil {
		return in.unreadable(err)
	}
	in.set, in.why = catalog.FromEntries(set, documents)
	return in, nil
}

// unreadable returns the set without its contents, if they are erased.
func (in *controlsInForce) unreadable(err error) (*controlsInForce, error) {
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		return nil, err
	}
	in.why = err
	return in, nil
}

func readDocument(ctx context.Context, client *muniment.Client, index uint64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := client.ReadPayload(ctx, index, &b); err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	return b.Bytes(), nil
}
