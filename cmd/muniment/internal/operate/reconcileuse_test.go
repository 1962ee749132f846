package operate

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"muniment.dev/muniment/proto/kinds"
	"muniment.dev/muniment/verifiers/dsse"
)

// TestSignedRequests checks that the annotation of a Pod makes no request in
// the name of the reconciler.
func TestSignedRequests(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	sign := func(payloadType string) string {
		t.Helper()
		e, err := dsse.Sign(payloadType, []byte(`{"id":"BG-1"}`), key)
		if err != nil {
			t.Fatal(err)
		}
		return string(e)
	}
	signed := sign(kinds.BreakGlassType)
	for name, c := range map[string]struct {
		request string
		ok      bool
	}{
		"signed":            {signed, true},
		"plain":             {`{"id":"BG-1","control":"SIGNED","breakGlass":true,"scope":{"globs":["*"]}}`, false},
		"another type":      {sign("application/json"), false},
		"without signature": {signed[:strings.Index(signed, `"signatures"`)] + `"signatures":[]}`, false},
		"text":              {"please", false},
	} {
		if err := checkSigned(c.request); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	u := &glassUse{pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationRequests: "\n" + signed + "\r\n \n" + strings.Repeat("x\n", 2*maxSigned)}}}}
	if all := u.signedRequests(); len(all) != maxSigned || all[0] != signed {
		t.Errorf("%d requests, want %d", len(all), maxSigned)
	}
}

// TestUses checks that uses by one owner are one on one day only: the user of
// the label can name any owner.
func TestUses(t *testing.T) {
	at, controller := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC), true
	use := func(pod types.UID, at time.Time) string {
		u := &glassUse{pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod, Namespace: "shop", CreationTimestamp: metav1.NewTime(at), Annotations: map[string]string{annotationBy: "oncall"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "owner", Controller: &controller}}}}}
		u.find()
		return u.key
	}
	keys := []string{use("1", at), use("2", at.Add(time.Hour)), use("3", at.AddDate(0, 0, 1))}
	if keys[0] != keys[1] || slices.Contains(keys[:2], keys[2]) {
		t.Errorf("keys %q", keys)
	}
}
