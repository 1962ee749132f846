package facts

import "strings"

// backfillCheckpoint reads a document of kind backfill-checkpoint
// (docs/spec/kinds.md).
func (r *reader) backfillCheckpoint() error {
	c := &Checkpoint{}
	var score, ready bool
	err := r.object(func(name string) error {
		switch name {
		case "entity":
			return r.text(&c.Entity)
		case "checkpoint":
			return r.text(&c.Checkpoint)
		case "acaScore":
			return r.number(&c.ACAScore, &score, 0, 1)
		case "ts":
			return r.text(&c.Time)
		case "rollbackReady":
			return r.boolean(&c.RollbackReady, &ready)
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case c.Entity == "":
		return r.missing("entity")
	case c.Checkpoint == "":
		return r.missing("checkpoint")
	case !isPercentage(c.Checkpoint):
		r.out.problem(r.place("checkpoint"), WrongValue)
		return errBad
	case !score:
		return r.missing("acaScore")
	case c.Time == "":
		return r.missing("ts")
	case !ready:
		return r.missing("rollbackReady")
	}
	r.out.Checkpoint = c
	return nil
}

// isPercentage reports whether s is a percentage from 0% to 100% with at most
// two decimals.
func isPercentage(s string) bool {
	s, ok := strings.CutSuffix(s, "%")
	whole, fraction, dot := strings.Cut(s, ".")
	switch {
	case !ok || !isDigits(whole) || dot && (!isDigits(fraction) || len(fraction) > 2):
		return false
	case whole == "100":
		return strings.Trim(fraction, "0") == ""
	}
	return len(whole) <= 2
}

// vetting reads a document of kind vetting.
func (r *reader) vetting() error {
	v := &Vetting{}
	err := r.object(func(name string) error {
		switch name {
		case "image":
			return r.text(&v.Image)
		case "vetted":
			return r.time(&v.Vetted)
		case "expires":
			return r.time(&v.Expires)
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case v.Image == "":
		return r.missing("image")
	case v.Vetted == 0:
		return r.missing("vetted")
	case v.Expires == 0:
		return r.missing("expires")
	}
	r.out.Vetting = v
	return nil
}
