package export

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/github/go-spdx/v2/spdxexp"
)

type licenseVector struct {
	Expression string   `json:"expression"`
	Allow      []string `json:"allow"`
	Verdict    string   `json:"verdict"`
}

func verdictOf(t *testing.T, expression string, allow []string) string {
	t.Helper()
	list, err := NewAllowList(allow)
	if err != nil {
		t.Fatal(err)
	}
	err = list.Decide(expression)
	var e *Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	return "allowed"
}

func TestLicenseVectors(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("(", n) + "MIT" + strings.Repeat(")", n) }
	cases := []struct {
		expression, allow, verdict string
	}{
		{"MIT", "MIT", "allowed"},
		{"MIT", "", "license-not-allowed"},
		{"MIT AND Apache-2.0", "MIT", "license-not-allowed"},
		{"MIT OR Apache-2.0", "MIT", "allowed"},
		{"MIT OR Apache-2.0 AND BSD-3-Clause", "MIT", "allowed"},
		{"(MIT OR Apache-2.0) AND BSD-3-Clause", "MIT", "license-not-allowed"},
		{"(MIT OR Apache-2.0) AND BSD-3-Clause", "MIT,BSD-3-Clause", "allowed"},
		{"MIT AND Apache-2.0 OR BSD-3-Clause", "BSD-3-Clause", "allowed"},
		{"GPL-2.0-only", "GPL-2.0-or-later", "license-not-allowed"},
		{"GPL-2.0-or-later", "GPL-2.0-only", "license-not-allowed"},
		{"GPL-2.0-or-later", "GPL-2.0-or-later", "allowed"},
		{"GPL-2.0", "GPL-2.0-only", "license-not-allowed"},
		{"GPL-2.0", "GPL-2.0", "allowed"},
		{"GPL-2.0+", "GPL-2.0-or-later", "license-not-allowed"},
		{"GPL-2.0+", "GPL-2.0", "license-not-allowed"},
		{"GPL-2.0+", "GPL-2.0+", "allowed"},
		{"GPL-3.0-only", "GPL-2.0+", "license-not-allowed"},
		{"Apache-2.0+", "Apache-2.0", "license-not-allowed"},
		{"Apache-2.0 WITH LLVM-exception", "Apache-2.0", "license-not-allowed"},
		{"Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception", "allowed"},
		{"Apache-2.0  WITH   LLVM-exception", "Apache-2.0 WITH LLVM-exception", "allowed"},
		{"Apache-2.0", "Apache-2.0 WITH LLVM-exception", "license-not-allowed"},
		{"LicenseRef-acme", "LicenseRef-acme", "allowed"},
		{"LicenseRef-acme", "LicenseRef-Acme", "license-not-allowed"},
		{"DocumentRef-x:LicenseRef-acme", "LicenseRef-acme", "license-not-allowed"},
		{"DocumentRef-x:LicenseRef-acme", "DocumentRef-x:LicenseRef-acme", "allowed"},
		{"LicenseRef-acme WITH Classpath-exception-2.0", "LicenseRef-acme WITH Classpath-exception-2.0", "allowed"},
		{"( MIT )", "MIT", "allowed"},
		{nested(16), "MIT", "allowed"},
		{nested(17), "MIT", "license-malformed"},
		{"mit", "MIT", "license-unknown"},
		{"MIT OR mit", "MIT", "license-unknown"},
		{"apache-2.0", "", "license-unknown"},
		{"Apache-2.0 WITH llvm-exception", "", "license-unknown"},
		{"LLVM-exception", "", "license-unknown"},
		{"MIT WITH MIT", "", "license-unknown"},
		{"NONE", "", "license-unknown"},
		{"MIT WITH AdditionRef-x", "", "license-unknown"},
		{"", "", "license-malformed"},
		{" MIT", "MIT", "license-malformed"},
		{"MIT ", "MIT", "license-malformed"},
		{"MIT\tOR MIT", "MIT", "license-malformed"},
		{"MIT OR\nMIT", "MIT", "license-malformed"},
		{"MIT or Apache-2.0", "", "license-malformed"},
		{"MIT Or Apache-2.0", "", "license-malformed"},
		{"Apache-2.0 with LLVM-exception", "", "license-malformed"},
		{"MIT,Apache-2.0", "", "license-malformed"},
		{"MIT/Apache-2.0", "", "license-malformed"},
		{"MIT Apache-2.0", "", "license-malformed"},
		{"MIT AND", "", "license-malformed"},
		{"AND MIT", "", "license-malformed"},
		{"OR", "", "license-malformed"},
		{"WITH", "", "license-malformed"},
		{"MIT WITH", "", "license-malformed"},
		{"MIT WITH AND", "", "license-malformed"},
		{"(MIT) WITH LLVM-exception", "", "license-malformed"},
		{"(MIT", "", "license-malformed"},
		{"MIT)", "", "license-malformed"},
		{"()", "", "license-malformed"},
		{"(MIT)OR MIT", "MIT", "license-malformed"},
		{"MIT OR(MIT)", "MIT", "license-malformed"},
		{"GPL-2.0++", "", "license-malformed"},
		{"GPL-2.0 +", "", "license-malformed"},
		{"+", "", "license-malformed"},
		{"LicenseRef-", "", "license-malformed"},
		{"LicenseRef-acme+", "", "license-malformed"},
		{"LicenseRef-a_b", "", "license-malformed"},
		{"DocumentRef-x", "", "license-malformed"},
		{"DocumentRef-:LicenseRef-x", "", "license-malformed"},
		{"DocumentRef-x:MIT", "", "license-malformed"},
		{"MIT OR LicenseRef-ä", "", "license-malformed"},
		{"MIT AND mit AND", "", "license-malformed"},
	}
	all := []licenseVector{}
	for _, c := range cases {
		v := licenseVector{c.expression, []string{}, c.verdict}
		if c.allow != "" {
			v.Allow = strings.Split(c.allow, ",")
		}
		if got := verdictOf(t, v.Expression, v.Allow); got != v.Verdict {
			t.Errorf("%q by %q: %s, want %s", v.Expression, v.Allow, got, v.Verdict)
		}
		all = append(all, v)
	}
	compare(t, "export-licenses.json", all)
}

// TestParseOracle compares the grammar with go-spdx. SPDX allows an exception
// to a LicenseRef, but go-spdx does not.
func TestParseOracle(t *testing.T) {
	words := []string{"MIT", "Apache-2.0", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-2.0+", "LicenseRef-x", "DocumentRef-d:LicenseRef-x", "AND", "OR", "WITH", "Classpath-exception-2.0", "(", ")"}
	random := rand.New(rand.NewPCG(5, 1))
	both := 0
	for range 20_000 {
		var b strings.Builder
		for i := range 1 + random.IntN(8) {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(words[random.IntN(len(words))])
		}
		s := b.String()
		e, err := parseExpression(s)
		if err == nil {
			err = e.known()
		}
		theirs, _ := spdxexp.ValidateLicenses([]string{s})
		switch {
		case err == nil && theirs:
			both++
		case err == nil && !strings.Contains(s, "LicenseRef-x WITH"):
			t.Errorf("%q: only this package parses it", s)
		case theirs:
			t.Errorf("%q: only go-spdx parses it: %v", s, err)
		}
	}
	if both < 500 {
		t.Errorf("only %d expressions were parsed", both)
	}
}
