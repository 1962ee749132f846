package soak

import "testing"

func TestLength(t *testing.T) {
	t.Setenv(Variable, "")
	if Full() || Seed(t) != 0 || Length(t, "runs", 2, 9) != 2 {
		t.Error("without a seed the campaign must be the sample")
	}
	t.Setenv(Variable, "7")
	if !Full() || Seed(t) != 7 || Length(t, "runs", 2, 9) != 9 {
		t.Error("with a seed the campaign must be full and use the seed")
	}
}
