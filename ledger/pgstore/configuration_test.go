package pgstore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestConfiguration makes servers compete for each version of the
// configuration. One of them wins each.
func TestConfiguration(t *testing.T) {
	location := newLocation(t)
	servers := []*Store{openAt(t, location), openAt(t, location), openAt(t, location)}
	if version, content, err := servers[0].Configuration(t.Context(), 0); version != 0 || content != nil || err != nil {
		t.Fatalf("a new log has version %d, %q (error %v)", version, content, err)
	}
	for version := uint64(1); version <= keptConfigurations+3; version++ {
		var won atomic.Int64
		var winner atomic.Value
		var wg sync.WaitGroup
		for i, s := range servers {
			wg.Go(func() {
				text := fmt.Sprintf("%d by %d", version, i)
				published, err := s.PublishConfiguration(context.Background(), version, []byte(text))
				if err != nil {
					t.Error(err)
				}
				if published {
					won.Add(1)
					winner.Store(text)
				}
			})
		}
		wg.Wait()
		got, content, err := servers[version%3].Configuration(t.Context(), version-1)
		if err != nil || won.Load() != 1 || got != version || string(content) != winner.Load() {
			t.Fatalf("version %d: %d have won, the winner %v, and version %d is %q (error %v)", version, won.Load(), winner.Load(), got, content, err)
		}
		if got, content, err := servers[0].Configuration(t.Context(), version); got != version || content != nil || err != nil {
			t.Fatalf("nothing is after version %d: got %d, %q (error %v)", version, got, content, err)
		}
		for _, other := range []uint64{0, version, version + 2} {
			if published, err := servers[0].PublishConfiguration(t.Context(), other, []byte("x")); published || err != nil {
				t.Fatalf("version %d was published after %d (error %v)", other, version, err)
			}
		}
	}
	var kept int
	if err := servers[0].pool.QueryRow(t.Context(), servers[0].sql(`SELECT count(*) FROM $configurations`)).Scan(&kept); err != nil || kept != keptConfigurations {
		t.Errorf("%d versions are kept, want %d (error %v)", kept, keptConfigurations, err)
	}
	if _, err := servers[0].PublishConfiguration(t.Context(), keptConfigurations+4, make([]byte, maxConfiguration+1)); err == nil || !strings.Contains(err.Error(), "above the limit") {
		t.Errorf("a version that is too large: error %v", err)
	}
}
