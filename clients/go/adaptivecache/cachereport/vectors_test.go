package cachereport

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// An event is a read with the result and the duration of its load, if it needs
// one, or an invalidation. Times are in microseconds.
type event struct {
	Wait       int64
	Invalidate string
	Get        string
	Times      int // 1 by default
	Duration   int64
	Value      int
	Absent     bool
	Fails      bool
}

// play reads and invalidates as events describe. load becomes each of them.
func play(t *testing.T, cache *adaptivecache.Cache[string, int], load *event, events []event) {
	t.Helper()
	for _, *load = range events {
		time.Sleep(time.Duration(load.Wait) * time.Microsecond)
		if load.Invalidate != "" {
			if err := cache.Invalidate(t.Context(), load.Invalidate); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for range max(1, load.Times) {
			_, err := cache.Get(t.Context(), load.Get)
			if (err != nil) != (load.Absent || load.Fails) {
				t.Fatalf("%+v: %v", *load, err)
			}
		}
	}
}

// TestVectors checks that the payloads about caches are those that other
// implementations make for the same reads.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/spec/vectors/adaptive-cache/reports.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Service, Resolver string
		From, To                time.Time
		Draw                    uint32
		Lost                    uint64
		Earlier, Events         []event
		Payload                 string
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var load event
				cache, err := adaptivecache.New(member, adaptivecache.Options[string, int]{
					Resolver: v.Resolver, Key: func(key string) string { return key }, MaxWeight: 1000,
					Change: adaptivecache.Changed[int], Random: func() uint32 { return v.Draw },
					Load: func(context.Context, string) (r adaptivecache.Result[string, int], err error) {
						time.Sleep(time.Duration(load.Duration) * time.Microsecond)
						switch {
						case load.Absent:
							err = adaptivecache.ErrNotFound
						case load.Fails:
							err = errors.New("failed")
						}
						return adaptivecache.Result[string, int]{Value: load.Value}, err
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				play(t, cache, &load, v.Earlier)
				before := cache.Stats()
				play(t, cache, &load, v.Events)
				w := window{service: v.Service, from: v.From, to: v.To, lost: v.Lost}
				payload, err := w.payload(v.Resolver, before, cache.Stats())
				if err != nil || string(payload) != v.Payload {
					t.Errorf("%v\n%s\nwant\n%s", err, payload, v.Payload)
				}
			})
		})
	}
}
