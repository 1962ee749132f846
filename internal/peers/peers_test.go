package peers

import "testing"

func TestUnknownPeer(t *testing.T) {
	if path, err := Find("no-such-peer"); err == nil {
		t.Errorf("Find of an unknown peer returned %s and no error", path)
	}
}
