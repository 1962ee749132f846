package monitor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// maxIdle limits the time between two messages of a server.
const maxIdle = time.Minute

// TenantEntries reads a tenant's entries of a Muniment log over its API.
func TenantEntries(c *muniment.Client) Entries {
	return func(ctx context.Context, from uint64, f func(Entry) error) (uint64, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil) // ends the stream
		idle := time.AfterFunc(maxIdle, func() { cancel(fmt.Errorf("the server sent nothing for %s", maxIdle)) })
		defer idle.Stop()
		stream, err := c.WatchEntries(ctx, connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: c.Tenant, FromIndex: from}))
		if err != nil {
			return from, err
		}
		defer stream.Close()
		for stream.Receive() {
			idle.Reset(maxIdle)
			m := stream.Msg()
			if m.Entry != nil {
				if err := f(tenantEntry(m.Entry)); err != nil {
					return from, err
				}
			}
			from = m.NextIndex
			if m.Entry == nil { // no more entries for now
				return from, nil
			}
		}
		if err := stream.Err(); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
			}
			return from, err
		}
		return from, fmt.Errorf("the stream ended before entry %d", from)
	}
}

func tenantEntry(m *munimentv1.Entry) Entry {
	e := Entry{Index: m.Index, Seq: &m.Seq}
	if m.Submitter != "" {
		e.Identities = append(e.Identities, m.Submitter)
	}
	for _, s := range m.Signers {
		for _, id := range []string{s.Identity, s.KeyId} {
			if id != "" {
				e.Identities = append(e.Identities, id)
			}
		}
	}
	for _, s := range m.Subjects {
		for _, alg := range slices.Sorted(maps.Keys(s.Digest)) {
			e.Subjects = append(e.Subjects, alg+":"+s.Digest[alg])
		}
	}
	e.What = fmt.Sprintf("%s by %q, about %q", m.Kind, e.Identities, e.Subjects[:min(5, len(e.Subjects))])
	return e
}
