package decide

import (
	"testing"

	"muniment.dev/muniment/internal/soak"
)

// TestCases compares decisions with answers that were written by hand.
func TestCases(t *testing.T) {
	soak.WithoutRace(t)
	if len(cases) < 100 {
		t.Errorf("%d cases, want at least 100", len(cases))
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are named %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			w := &world{}
			c.build(w)
			q, a := c.question()
			if got := summary(w.ask(t, w.decider(), q, a)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// question returns what the case asks.
func (c *testCase) question() (Question, Artifact) {
	q, a := Question{Stage: "deploy"}, app
	if c.ask != nil {
		c.ask(&q, &a)
	}
	return q, a
}
