package sim

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"testing"
	"time"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// invented returns runs with random times: five patterns of incidents, of which
// one needs a person and one is misclassified now and then, and a decoy.
func invented(random *rand.Rand, n int) []Run {
	var runs []Run
	for i := range 6 * n {
		alerted := seconds(2 + 6*random.Float64())
		r := Run{Pattern: string(rune('a' + i%6)), Seed: uint64(i / 6), Truth: Truth{Type: "P1"}, Length: time.Minute}
		r.Without.Alerted = alerted
		r.With = Arm{Alerted: alerted, Classified: "P1", Acted: alerted + seconds(10*random.Float64()-1), Actions: 1}
		switch i % 6 {
		case 0:
			r.Truth = Truth{}
			r.With = Arm{Alerted: alerted}
		case 1:
			r.Truth = Truth{Person: true}
			r.With = Arm{Alerted: alerted}
		case 2:
			if random.IntN(4) == 0 {
				r.With.Classified, r.With.Wrong = "P2", 1
			}
		case 3:
			if random.IntN(4) == 0 {
				r.With = Arm{}
			}
		}
		runs = append(runs, r)
	}
	return runs
}

// TestAgainstScipy compares the computation with one that was written
// independently of it, by integration instead of closed forms.
func TestAgainstScipy(t *testing.T) {
	soak.WithoutRace(t)
	runs := invented(rand.New(rand.NewPCG(18, 1)), 2)
	o := Grid(1)
	o.Resamples = 50
	got := Compute(runs, o)
	question := struct {
		Runs   [][]any      `json:"runs"`
		Humans [][2]float64 `json:"humans"`
		Goal   float64      `json:"goal"`
		Shares [][2]int     `json:"shares"`
	}{Goal: o.Goal, Shares: [][2]int{{0, 10}, {1, 10}, {3, 300}, {0, 300}, {10, 10}}}
	for _, r := range runs {
		var acted any
		if r.Truth.Type != "" && r.Verdict() == Right {
			acted = r.With.Acted.Seconds()
		}
		question.Runs = append(question.Runs, []any{r.Truth.Incident(), r.person(r.Without).Seconds(), r.person(r.With).Seconds(), acted})
	}
	for _, c := range got.Cells {
		question.Humans = append(question.Humans, [2]float64{c.Human.Median.Seconds(), c.Human.Sigma})
	}
	in, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), peers.Path(t, "scipy"), "testdata/oracle.py")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Reductions []float64    `json:"reductions"`
		BreakEven  []*float64   `json:"breakEven"`
		Shares     [][2]float64 `json:"shares"`
	}
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	for i, c := range got.Cells {
		if math.Abs(c.Reduction.Value-want.Reductions[i]) > 1e-6 {
			t.Errorf("%+v: scipy computes %g", c, want.Reductions[i])
		}
	}
	for i, b := range got.BreakEvens {
		// The search has steps of 2 %, and returns the end of one.
		if w := want.BreakEven[i]; w == nil || b.Median.Value < *w*0.999 || b.Median.Value > *w*1.021 {
			t.Errorf("break-even %+v: scipy computes %v", b, *w)
		}
	}
	for i, s := range question.Shares {
		e := share(s[0], s[1])
		if math.Abs(e.Low-want.Shares[i][0]) > 1e-9 || math.Abs(e.High-want.Shares[i][1]) > 1e-9 {
			t.Errorf("%d of %d: %+v, scipy computes %v", s[0], s[1], e, want.Shares[i])
		}
	}
}

func TestCompute(t *testing.T) {
	run := func(alerted, acted float64) Run {
		return Run{Pattern: "a", Truth: Truth{Type: "P1"}, Without: Arm{Alerted: seconds(alerted)}, With: Arm{Alerted: seconds(alerted), Classified: "P1", Acted: seconds(acted)}}
	}
	person := run(10, 0)
	person.Pattern, person.Truth = "b", Truth{Person: true}
	decoy := person
	decoy.Pattern, decoy.Truth = "c", Truth{}
	hit := decoy
	hit.With.Wrong = 1
	o := Grid(7)
	o.Resamples = 200
	for _, c := range []struct {
		name              string
		runs              []Run
		low, high         float64 // reduction at a median of two minutes, sigma 0.5
		wrong, wrongAmong float64
	}{
		{"at once", []Run{run(10, 10)}, 0.92, 0.94, 0, 1},
		{"never faster than detection", []Run{run(10, 0), person}, 0, 0, 0, 2},
		{"half by a person", []Run{run(10, 10), person}, 0.46, 0.47, 0, 2},
		{"decoys do not count in the mean", []Run{run(10, 10), decoy}, 0.92, 0.94, 0, 2},
		{"false action", []Run{run(10, 10), decoy, hit}, 0.92, 0.94, 1, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Compute(c.runs, o)
			if r := got.Cells[1].Reduction.Value; r < c.low || r > c.high {
				t.Errorf("reduction %g", r)
			}
			if got.False.Value != c.wrong/c.wrongAmong {
				t.Errorf("false actions %+v", got.False)
			}
		})
	}
	runs := invented(rand.New(rand.NewPCG(3, 4)), 4)
	got := Compute(runs, o)
	if !reflect.DeepEqual(got, Compute(runs, o)) {
		t.Error("the same seed yields other intervals")
	}
	for _, c := range got.Cells {
		if r := c.Reduction; r.Low > r.Value || r.High < r.Value {
			t.Errorf("the interval %+v does not contain its value", r)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		truth Truth
		with  Arm
		want  Verdict
	}{
		{Truth{Type: "P1"}, Arm{Classified: "P1", Acted: 1, Actions: 2}, Right},
		{Truth{Type: "P1"}, Arm{Classified: "P1"}, Abstained},
		{Truth{Type: "P1"}, Arm{}, Abstained},
		{Truth{Type: "P1"}, Arm{Classified: "P2", Acted: 1, Wrong: 1}, Wrong},
		{Truth{Type: "P1"}, Arm{Classified: "P1", Acted: 1, Wrong: 1}, Wrong},
		{Truth{}, Arm{}, Right},
		{Truth{Person: true}, Arm{}, Right},
		{Truth{Person: true}, Arm{Classified: "P1", Acted: 1, Wrong: 1}, Wrong},
	} {
		if got := (Run{Truth: c.truth, With: c.with}).Verdict(); got != c.want {
			t.Errorf("%+v, %+v: %s, want %s", c.truth, c.with, got, c.want)
		}
	}
}
