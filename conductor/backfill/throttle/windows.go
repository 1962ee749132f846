package throttle

import (
	"fmt"
	"slices"
	"time"
)

// A Window is a part of the week. It is open while the wall clock of its zone
// shows a time in it. So it opens at the same time of the day in summer and in
// winter, and is shorter or longer on the days on which the clock changes. A
// window that the clock skips does not open.
type Window struct {
	Days     []time.Weekday // on which it opens; empty for every day
	From, To time.Duration  // since midnight, up to 24h. To ≤ From is on the next day
	Zone     *time.Location
}

// Windows are the capacity windows of a job, at which it may copy. Without any,
// it may always copy.
type Windows []Window

// Check returns an error if a window can never open, or has no zone.
func (w Windows) Check() error {
	for i, one := range w {
		switch {
		case one.Zone == nil:
			return fmt.Errorf("window %d: no time zone: use a name of the IANA database, such as Europe/Berlin or UTC", i+1)
		case one.From < 0 || one.From >= day || one.To < 0 || one.To > day:
			return fmt.Errorf("window %d: from must be at least 00:00 and before 24:00, and to at most 24:00", i+1)
		case one.From == one.To:
			return fmt.Errorf("window %d: from and to are equal: use 00:00 and 24:00 for a whole day", i+1)
		}
	}
	return nil
}

const day = 24 * time.Hour

// on reports whether the window opens on a day of the week.
func (w Window) on(day time.Weekday) bool {
	return len(w.Days) == 0 || slices.Contains(w.Days, day)
}

func (w Window) open(at time.Time) bool {
	local := at.In(w.Zone)
	clock := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute + time.Duration(local.Second())*time.Second
	today := local.Weekday()
	if w.From < w.To {
		return w.on(today) && w.From <= clock && clock < w.To
	}
	return w.on(today) && w.From <= clock || w.on((today+6)%7) && clock < w.To
}

// Open reports whether a window is open.
func (w Windows) Open(at time.Time) bool {
	return len(w) == 0 || slices.ContainsFunc(w, func(one Window) bool { return one.open(at) })
}

// Next returns the first time from at on at which a window is open. It reports
// false if no window opens within three weeks.
func (w Windows) Next(at time.Time) (time.Time, bool) {
	return w.first(at, true)
}

// Closes returns the first time from at on at which no window is open. It
// reports false if there is none within three weeks.
func (w Windows) Closes(at time.Time) (time.Time, bool) {
	return w.first(at, false)
}

// first returns the first time from at on at which Open returns open. Open
// changes only at the bounds of windows, at the bounds of days, and where the
// clock changes.
func (w Windows) first(at time.Time, open bool) (time.Time, bool) {
	if w.Open(at) == open {
		return at, true
	}
	const horizon = 21 // days
	var candidates []time.Time
	for _, one := range w {
		local := at.In(one.Zone)
		for d := range horizon {
			year, month, date := local.AddDate(0, 0, d).Date()
			for _, clock := range []time.Duration{0, one.From, one.To} {
				wall := time.Date(year, month, date, 0, 0, 0, 0, time.UTC).Add(clock)
				candidates = append(candidates, instants(wall, one.Zone)...)
			}
		}
	}
	slices.SortFunc(candidates, time.Time.Compare)
	for _, c := range candidates {
		if c.After(at) && w.Open(c) == open {
			return c.In(at.Location()), true
		}
	}
	return time.Time{}, false
}

// instants returns the instants at which the clock of a zone shows a wall time,
// which is given as a time in UTC: two where the clock is set back, and none in
// a gap. It adds the changes of the clock before and after them.
func instants(wall time.Time, zone *time.Location) (list []time.Time) {
	near := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	begin, end := near.ZoneBounds()
	around := []time.Time{near}
	if !begin.IsZero() {
		list = append(list, begin)
		around = append(around, begin.Add(-time.Second))
	}
	if !end.IsZero() {
		list = append(list, end)
		around = append(around, end)
	}
	for _, t := range around {
		_, offset := t.Zone()
		instant := wall.Add(-time.Duration(offset) * time.Second)
		if _, actual := instant.In(zone).Zone(); actual == offset {
			list = append(list, instant)
		}
	}
	return list
}
