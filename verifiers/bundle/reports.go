package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
)

// ErrReports is wrapped by errors about evidence that cannot have the reports
// of its bundle.
var ErrReports = errors.New("the reports are not those of the evidence")

// reports performs step 11.
func (v *verification) reports(ctx context.Context) error {
	if v.o.Reports == nil {
		return nil
	}
	r, err := v.o.Reports(ctx, v.Bundle, v.accepted)
	switch {
	case errors.Is(err, ErrReports):
		return fail(ReportMismatch, "%w", err)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fail(Unreadable, "compute the reports again: %w", err)
	}
	v.report.Reports = &Reports{Stated: r.Stated, Problem: r.Problem}
	if r.Problem != "" {
		return nil
	}
	left := maps.Clone(r.Members)
	for i := range v.Manifest.Members {
		m := &v.Manifest.Members[i]
		if m.Role != RoleReport {
			continue
		}
		want, ok := left[m.Name]
		if !ok {
			return fail(ReportMismatch, "%s: the evidence has no such report", m.Name)
		}
		delete(left, m.Name)
		same, err := equal(v.section(i), want)
		switch {
		case err != nil:
			return err
		case !same:
			return fail(ReportMismatch, "%s: the evidence has another report", m.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		return fail(ReportMismatch, "%s: the evidence has this report, but the bundle does not", name)
	}
	return nil
}

// equal reports whether a member has the content.
func equal(r *io.SectionReader, want []byte) (bool, error) {
	if r.Size() != int64(len(want)) {
		return false, nil
	}
	got := make([]byte, len(want))
	if err := readAt(r, got, 0); err != nil {
		return false, err
	}
	return bytes.Equal(got, want), nil
}
