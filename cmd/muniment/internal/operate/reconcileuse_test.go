package operate

import (
	"crypto/ed25519"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"muniment.dev/muniment/api/admission"
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

// TestUses checks that each Pod is a use: its user can name any owner.
func TestUses(t *testing.T) {
	controller := true
	use := func(pod types.UID, image string) *glassUse {
		return &glassUse{images: []string{image}, pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod, Namespace: "shop", Annotations: map[string]string{annotationBy: "oncall"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "owner", Controller: &controller}}}}}
	}
	one, later, other := use("1", "app:1"), use("1", "app:2"), use("2", "app:1")
	if one.id(0, "SIGNED") != later.id(0, "SCANNED") {
		t.Error("a changed image, or another first control, is another use")
	}
	if one.id(0, "SIGNED") == other.id(0, "SIGNED") {
		t.Error("two Pods of one owner are one use")
	}
	if ids := []string{one.id(0, "SIGNED"), one.id(1, "SIGNED"), one.id(1, "SCANNED")}; ids[0] == ids[1] || ids[1] == ids[2] || !strings.HasPrefix(ids[1], ids[0]+"-") {
		t.Errorf("requests of one use: %q", ids)
	}
}

// TestCreator checks that only texts of the form of a person, without hidden
// characters, are persons.
func TestCreator(t *testing.T) {
	config := &admission.Config{Persons: []admission.PersonRow{{Prefix: "sso:", Issuer: "https://login.example"}}}
	for user, want := range map[string]string{
		"sso:kim":                             "oidc:https://login.example#kim",
		"oncall":                              "kubernetes:oncall",
		"":                                    "kubernetes:(unknown)",
		"sso:" + strings.Repeat("x", maxUser): "kubernetes:sso:" + strings.Repeat("x", maxUser-4),
	} {
		if got := creator(config, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationBy: user}}}); got != want {
			t.Errorf("%q: %q, want %q", user, got, want)
		}
	}
	if got := creator(config, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationBy: "sso:ki\u200bm"}}}); !strings.HasPrefix(got, accountPrefix) {
		t.Errorf("with an invisible character: %q", got)
	}
}
