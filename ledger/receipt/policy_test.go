package receipt

import (
	"strings"
	"testing"

	"filippo.io/torchwood"
)

func TestParsePolicy(t *testing.T) {
	w := newWorld(t)
	key, other := w.witness.Verifier().String(), "log.example+"+strings.SplitN(w.vkey, "+", 2)[1]
	pqLog, pqWitness := newPQKey(t, w.origin, "post-quantum log key"), newPQKey(t, "witness.example", "post-quantum witness key")
	logLine, witness := "log "+w.vkey+"\n", "witness w1 "+key
	for name, c := range map[string]struct{ text, err string }{
		"log alone":               {logLine + "quorum none\n", ""},
		"spaces and tabs":         {" \tlog\t " + w.vkey + "  https://log.example/#x \n\t# comment\n\n quorum\tnone", ""},
		"witness with URL":        {logLine + witness + " https://w.example/\nquorum w1\n", ""},
		"groups":                  {logLine + witness + "\ngroup g 1 w1\ngroup h all g\nquorum h\n", ""},
		"log after its witnesses": {witness + "\nquorum w1\n" + logLine, ""},
		"post-quantum":            {"log " + pqLog.vkey + "\nwitness w1 " + pqWitness.vkey + "\nquorum w1\n", ""},

		"empty":                           {"", "no log line"},
		"no quorum":                       {logLine, "no quorum line"},
		"two logs":                        {logLine + logLine + "quorum none\n", "line 2: a second log"},
		"two quorums":                     {logLine + "quorum none\nquorum none\n", "line 3: a second quorum"},
		"carriage return":                 {"log " + w.vkey + "\r\nquorum none\r\n", "line 1: a carriage return"},
		"control character":               {logLine + "quorum\vnone\n", "line 2: a control character"},
		"unknown keyword":                 {logLine + "quorums none\n", `line 2: "quorums"`},
		"comment after a line":            {logLine + "quorum none # really\n", `line 2: "quorum"`},
		"hash of another name":            {"log " + other + "\nquorum none\n", "line 1: log key"},
		"hash in upper case":              {"log " + strings.Replace(w.vkey, "+", "+0", 1) + "\nquorum none\n", "line 1: log key"},
		"log key of a witness":            {"log " + key + "\nquorum none\n", "line 1: log key: a witness's key"},
		"witness key of a log":            {logLine + "witness w1 " + w.vkey + "\nquorum w1\n", "line 2: witness w1: key: a log's key"},
		"witness doubled":                 {logLine + witness + "\n" + strings.Replace(witness, "w1", "w2", 1) + "\nquorum w1\n", "line 3: witness w2: the key is that of witness w1"},
		"name doubled":                    {logLine + witness + "\ngroup w1 any w1\nquorum w1\n", `line 3: the name "w1" is taken`},
		"name none":                       {logLine + "witness none " + key + "\nquorum none\n", `line 2: the name "none" is taken`},
		"member unknown":                  {logLine + "group g any w1\nquorum g\n", `line 2: group g: "w1" is not defined`},
		"member doubled":                  {logLine + witness + "\ngroup g any w1 w1\nquorum g\n", `line 3: group g: "w1" is in a group already`},
		"threshold above the members":     {logLine + witness + "\ngroup g 2 w1\nquorum g\n", `line 3: group g: "2"`},
		"threshold zero":                  {logLine + witness + "\ngroup g 0 w1\nquorum g\n", `line 3: group g: "0"`},
		"threshold with a sign":           {logLine + witness + "\ngroup g +1 w1\nquorum g\n", `line 3: group g: "+1"`},
		"quorum unknown":                  {logLine + "quorum w1\n", `line 2: quorum: "w1"`},
		"post-quantum witness, other log": {logLine + "witness w1 " + pqWitness.vkey + "\nquorum w1\n", "witness w1: its key and the log's"},
		"post-quantum log, other witness": {"log " + pqLog.vkey + "\n" + witness + "\nquorum w1\n", "witness w1: its key and the log's"},
		"post-quantum key cut short":      {"log " + pqLog.vkey[:len(pqLog.vkey)-4] + "\nquorum none\n", "line 1: log key"},
		"post-quantum key, other hash":    {"log " + strings.Replace(pqLog.vkey, "+", "+0", 1) + "\nquorum none\n", "line 1: log key"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ParsePolicy("test", []byte(c.text))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !p.PostQuantum() { // what we accept, torchwood does
				if _, err := torchwood.ParsePolicy([]byte(c.text)); err != nil && !strings.Contains(c.text, "#x") {
					t.Errorf("torchwood refuses it: %v", err)
				}
			}
			if p.Origin() != w.origin || p.LogKey().Name() != w.origin {
				t.Errorf("origin %q", p.Origin())
			}
			if want := strings.Contains(c.text, "quorum none") || strings.Contains(c.text, "quorum\tnone"); p.RequiresWitness() == want {
				t.Errorf("RequiresWitness is %v", !want)
			}
			if n := strings.Count(c.text, "witness w1"); len(p.Witnesses()) != n || n > 0 && p.Witnesses()[0].Key.Name() != "witness.example" {
				t.Errorf("witnesses %v", p.Witnesses())
			}
		})
	}
}
