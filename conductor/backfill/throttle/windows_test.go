package throttle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// window returns a window by its texts.
func window(t testing.TB, zone, from, to string, days ...time.Weekday) Window {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	clock := func(text string) time.Duration {
		var hours, minutes int
		if _, err := fmt.Sscanf(text, "%d:%d", &hours, &minutes); err != nil {
			t.Fatal(err)
		}
		return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	}
	w := Window{Days: days, From: clock(from), To: clock(to), Zone: location}
	if err := (Windows{w}).Check(); err != nil {
		t.Fatal(err)
	}
	return w
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestWindows(t *testing.T) {
	night := func(zone string) Window { return window(t, zone, "22:00", "04:00", time.Monday, time.Friday) }
	berlin := func(from, to string, days ...time.Weekday) Window {
		return window(t, "Europe/Berlin", from, to, days...)
	}
	for _, test := range []struct {
		name   string
		window Window
		now    string
		open   bool
		change string // when Open changes next; empty for never
	}{
		{"before", night("UTC"), "2026-11-30T21:59:59Z", false, "2026-11-30T22:00:00Z"},
		{"at the opening", night("UTC"), "2026-11-30T22:00:00Z", true, "2026-12-01T04:00:00Z"},
		{"after midnight", night("UTC"), "2026-12-01T03:59:59Z", true, "2026-12-01T04:00:00Z"},
		{"at the closing", night("UTC"), "2026-12-01T04:00:00Z", false, "2026-12-04T22:00:00Z"},
		{"another day", night("UTC"), "2026-12-01T23:00:00Z", false, "2026-12-04T22:00:00Z"},
		{"in a zone", night("Asia/Tokyo"), "2026-11-30T12:59:59Z", false, "2026-11-30T13:00:00Z"},
		{"a whole day", window(t, "UTC", "00:00", "24:00", time.Sunday), "2026-11-29T23:59:59Z", true, "2026-11-30T00:00:00Z"},
		{"every day", window(t, "UTC", "00:00", "24:00"), "2026-11-29T23:59:59Z", true, ""},
		// On 2027-03-28 the clock goes from 02:00 to 03:00 in Berlin, and on
		// 2026-10-25 from 03:00 to 02:00.
		{"opens in the gap", berlin("02:30", "05:00"), "2027-03-28T00:59:59Z", false, "2027-03-28T01:00:00Z"},
		{"skipped", berlin("02:10", "02:50", time.Sunday), "2027-03-28T00:00:00Z", false, "2027-04-04T00:10:00Z"},
		{"shorter", berlin("22:00", "06:00"), "2027-03-27T21:00:00Z", true, "2027-03-28T04:00:00Z"},
		{"longer", berlin("22:00", "06:00"), "2026-10-24T20:00:00Z", true, "2026-10-25T05:00:00Z"},
		{"closes twice", berlin("01:00", "02:30"), "2026-10-25T00:00:00Z", true, "2026-10-25T00:30:00Z"},
		{"opens again", berlin("01:00", "02:30"), "2026-10-25T00:30:00Z", false, "2026-10-25T01:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, now := Windows{test.window}, at(t, test.now)
			if open := w.Open(now); open != test.open {
				t.Fatalf("open at %s: %v", test.now, open)
			}
			next := w.Next
			if test.open {
				next = w.Closes
			}
			change, ok := next(now)
			if ok != (test.change != "") {
				t.Fatalf("a change was found: %v, %s", ok, change)
			}
			if ok && !change.Equal(at(t, test.change)) {
				t.Errorf("it changes at %s, and not at %s", change.UTC(), test.change)
			}
			if same, ok := w.first(now, test.open); !ok || !same.Equal(now) {
				t.Errorf("the present state begins at %v, %v", same, ok)
			}
		})
	}
}

// TestWindowsByMinutes compares Next and Closes with a search minute by minute,
// around the changes of clocks.
func TestWindowsByMinutes(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"}
	starts := []string{"2026-10-23T00:00:00Z", "2027-03-26T00:00:00Z", "2027-03-12T00:00:00Z", "2026-10-02T00:00:00Z", "2027-04-02T00:00:00Z"}
	rapid.Check(t, func(t *rapid.T) {
		var w Windows
		for range rapid.IntRange(1, 3).Draw(t, "windows") {
			zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
			if err != nil {
				t.Fatal(err)
			}
			minute := func(name string, most int) time.Duration {
				return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Minute
			}
			one := Window{From: minute("from", 24*60-1), To: minute("to", 24*60), Zone: zone}
			if one.From == one.To {
				one.From, one.To = 0, day
			}
			for d := range time.Weekday(7) {
				if rapid.IntRange(0, 3).Draw(t, "day") == 0 {
					one.Days = append(one.Days, d)
				}
			}
			w = append(w, one)
		}
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		start, err := time.Parse(time.RFC3339, rapid.SampledFrom(starts).Draw(t, "start"))
		if err != nil {
			t.Fatal(err)
		}
		start = start.Add(time.Duration(rapid.IntRange(0, 3*24*60).Draw(t, "offset")) * time.Minute)
		for _, open := range []bool{true, false} {
			var want time.Time
			for m := range 20 * 24 * 60 {
				if c := start.Add(time.Duration(m) * time.Minute); w.Open(c) == open {
					want = c
					break
				}
			}
			have, ok := w.first(start, open)
			if ok != !want.IsZero() || ok && !have.Equal(want) {
				t.Errorf("%v from %s on: %s, %v; by minutes: %s", open, start, have.UTC(), ok, want)
			}
		}
	})
}

func TestNoWindows(t *testing.T) {
	var w Windows
	now := at(t, "2026-11-29T12:00:00Z")
	if next, ok := w.Next(now); !w.Open(now) || !ok || !next.Equal(now) {
		t.Error("without windows it must always be open")
	}
	if _, ok := w.Closes(now); ok {
		t.Error("without windows it must never close")
	}
}

func TestWindowsRefused(t *testing.T) {
	hour := time.Hour
	for _, test := range []struct {
		window Window
		reason string
	}{
		{Window{From: hour, To: 2 * hour}, "window 1: no time zone"},
		{Window{From: hour, To: 25 * hour, Zone: time.UTC}, "at most 24:00"},
		{Window{From: 24 * hour, To: hour, Zone: time.UTC}, "before 24:00"},
		{Window{From: hour, To: hour, Zone: time.UTC}, "use 00:00 and 24:00"},
	} {
		if err := (Windows{test.window}).Check(); err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%v: %v", test.window, err)
		}
	}
}
