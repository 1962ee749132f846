package chartindex

import (
	"errors"
	"strings"
	"testing"

	"muniment.dev/muniment/verifiers/helm"
)

func FuzzParse(f *testing.F) {
	f.Add("chart: gateway-1.7.0\nprovenance: slsa-v1\nsignature: cosign:" + strings.Repeat("0a", 32) + "\n")
	f.Add("chart: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		x, err := Parse([]byte(text))
		if err != nil && !errors.Is(err, helm.ErrMalformed) {
			t.Errorf("%v is no ErrMalformed", err)
		}
		if err == nil && (x.Chart == "" || x.PredicateType == "" || len(x.Bundle) != len("sha256:")+64) {
			t.Errorf("got %+v", x)
		}
	})
}
