package oci

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestNextPage(t *testing.T) {
	page, err := url.Parse("https://registry.example/v2/app/referrers/sha256:1?n=10")
	if err != nil {
		t.Fatal(err)
	}
	const want = "https://registry.example/v2/app/referrers/sha256:1?last=x"
	for _, header := range []string{
		`</v2/app/referrers/sha256:1?last=x>; rel="next"`,
		`</v2/app/referrers/sha256:1?last=x>;rel=next`,
		`</v2/app/referrers/sha256:1?last=x> ; rel = "next"`,
		`<?last=x>; rel="next"`,
		`<./sha256:1?last=x>; rel="prefetch NEXT"`,
		`<https://registry.example/v2/app/referrers/sha256:1?last=x>; title="a, b; rel=prev"; rel="next"`,
		`</first>; rel="first", </v2/app/referrers/sha256:1?last=x>; type="a/b"; REL=next; rel=prev`,
		`</prev>; rel=prev,</v2/app/referrers/sha256:1?last=x>;rel=next`,
		`</a,b>; title="\"<x>\""; rel="last" , </v2/app/referrers/sha256:1?last=x>; foo; rel=next`,
		"</prev>; rel=prev\n</v2/app/referrers/sha256:1?last=x>; rel=next",
		`<https://REGISTRY.example:443/v2/app/referrers/sha256:1?last=x>; rel="next"`,
		`<?last=x>; rel="next"; anchor=""`,
		`<?last=x>; rel="next"; anchor="#list"`,
		`<?last=x>; anchor="https://registry.example/v2/app/referrers/sha256:1?n=10"; rel="next"`,
		`</other>; rel=next; anchor="/elsewhere", </v2/app/referrers/sha256:1?last=x>; rel=next`,
	} {
		h := http.Header{"Link": strings.Split(header, "\n")}
		next, err := nextPage(page, h)
		if err != nil || next == nil {
			t.Errorf("%s: %v, %v", header, next, err)
		} else if s := next.String(); s != want {
			t.Errorf("%s: %s", header, s)
		}
	}
	for _, header := range []string{"", "x", "<", "</x", "</x>", `</x>; rel="prev"`, `</x>; title="rel=next"`, `</x>; rel="nextish"`, `</x>; rel=prev; rel=next`, `/x; rel=next`} {
		if next, err := nextPage(page, http.Header{"Link": {header}}); next != nil || err != nil {
			t.Errorf("%q: %v, %v", header, next, err)
		}
	}
	for _, header := range []string{`<https://other.example/x>; rel=next`, `<http://registry.example/x>; rel=next`, `<//other.example/x>; rel=next`, `<https://registry.example:444/x>; rel=next`, `<:>; rel=next`} {
		if next, err := nextPage(page, http.Header{"Link": {header}}); err == nil {
			t.Errorf("%q: %v", header, next)
		}
	}
}
