package aca_test

import (
	"fmt"
	"log"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
)

// Judge compares windows with and without the copy, and includes the results of
// the data checks.
func Example() {
	// The seed is from aca.NewSeed, and recorded before the first window.
	config := aca.NewConfig("00112233445566778899aabbccddeeff", 8)
	config.Checks = []aca.Check{aca.NewCounter("wal", "B per statement"), aca.NewErrors("errors")}
	config.DataChecks = []string{"checksum-up", "nulls"}

	windows := aca.Order(config.Seed, config.Pairs)
	clock := time.Date(2026, 4, 19, 12, 0, 0, 0, time.UTC)
	for i := range windows { // measure each of them, with the copy on or off
		w := &windows[i]
		w.Start, w.End = clock, clock.Add(time.Minute)
		clock = w.End
		w.Samples = map[string]aca.Sample{
			"wal":    {Value: 212_000, Per: 1000},
			"errors": {Value: 0, Per: 1000},
		}
		if w.Copy {
			w.Samples["wal"] = aca.Sample{Value: 371_000, Per: 1000}
		}
	}
	report, err := aca.Judge(config, windows, []aca.DataResult{
		{Name: "checksum-up", Result: aca.Pass},
		{Name: "nulls", Result: aca.Pass},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Verdict, report.Score)
	for _, r := range report.Results {
		fmt.Println(r.Name, r.Result)
	}
	// Output:
	// below-threshold 0.75
	// checksum-up pass
	// nulls pass
	// wal fail
	// errors pass
}
