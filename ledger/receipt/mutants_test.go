package receipt

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
)

func readReceiptVectors(t testing.TB) *receiptVectors {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "vectors", "receipts.json"))
	if err != nil {
		t.Fatal(err)
	}
	v := &receiptVectors{}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// mutants are the receipts that differ from data in one byte, each in three
// ways, and those that lack a byte.
func mutants(data []byte, yield func([]byte)) {
	for i, b := range data {
		for _, c := range []byte{b ^ 0x01, b ^ 0x20, ' '} {
			if c == b {
				c = '"'
			}
			m := slices.Clone(data)
			m[i] = c
			yield(m)
		}
		yield(slices.Delete(slices.Clone(data), i, i+1))
	}
}

// statementOf is all that was proven; which policy accepted, and by which name,
// is the verifier's own affair.
func statementOf(s *Statement) Statement {
	c := *s
	c.Policy = ""
	return c
}

// A receipt that differs in any byte is refused, or states exactly the same.
func TestMutants(t *testing.T) {
	soak.WithoutRace(t)
	v := readReceiptVectors(t)
	for name, mayVerify := range map[string]bool{
		"full": false, "detached with its payload": false, "detached, header only": false, "shared": false, "payload-erased, header only": false, "header-erased, header only": false,
		"all expectations met": false, "witnessed, by a group": false, "post-quantum, witnessed": false, "white space between members": true, "signature of an unknown key beside it": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := slices.IndexFunc(v.Cases, func(c *receiptCase) bool { return c.Name == name })
			if at < 0 {
				t.Fatal("there is no such vector")
			}
			c := v.Cases[at]
			want, err := v.verify(t, c)
			if err != nil {
				t.Fatal(err)
			}
			policies, opts, data, err := v.inputs(t, c)
			if err != nil {
				t.Fatal(err)
			}
			refused, same := 0, 0
			every := 16
			if mayVerify { // by few of them
				every = 2
			}
			sample := soak.NewSample(t, "mutants of "+name, every)
			mutants(data, func(m []byte) {
				if !sample.Take() {
					return
				}
				got, err := Verify(m, policies, opts)
				switch {
				case err != nil:
					refused++
				case !reflect.DeepEqual(statementOf(got), statementOf(want)):
					t.Fatalf("a changed receipt states\n%+v\nand not\n%+v:\n%q", got, want, m)
				default:
					same++
				}
			})
			if refused < sample.Taken()*3/4 || mayVerify && same == 0 && !testing.Short() {
				t.Errorf("of the changed receipts %d are refused, %d state the same", refused, same)
			}
		})
	}
}

// A stock tool accepts the proof in every receipt that this package accepts.
func TestTorchwoodAcceptsTheProofs(t *testing.T) {
	v := readReceiptVectors(t)
	n := 0
	for _, c := range v.Cases {
		if c.Verdict != VerdictVerified {
			continue
		}
		n++
		s, err := v.verify(t, c)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		policies, _, data, _ := v.inputs(t, c)
		r, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(policies, func(p *TrustPolicy) bool { return p.Name == s.Policy })
		if err := torchwood.VerifyProof(policies[at].Torchwood(), tlog.Hash(s.LeafHash), r.Proof); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if n < 40 {
		t.Errorf("only %d vectors are to be accepted", n)
	}
}

func FuzzParse(f *testing.F) {
	seedReceipts(f, func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		// A parsed receipt, written and parsed again, is the same.
		again, err := r.AppendJSON(nil)
		if err != nil {
			t.Fatalf("a parsed receipt can't be written: %v", err)
		}
		r2, err := Parse(again)
		if err != nil || !reflect.DeepEqual(r, r2) {
			t.Fatalf("written and parsed again: %v\n%+v\n%+v", err, r, r2)
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	seedReceipts(f, func(data []byte) {
		if r, err := Parse(data); err == nil && r.Header != nil {
			f.Add(r.Header.Content)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := entry.ParseHeader(data)
		if err != nil {
			return
		}
		again, err := h.AppendJSON(nil)
		if err != nil {
			if len(data) > entry.MaxHeaderSize/2 {
				return // it grew beyond the limit
			}
			t.Fatalf("a parsed header can't be written: %v", err)
		}
		h2, err := entry.ParseHeader(again)
		if err != nil || !reflect.DeepEqual(h, h2) {
			t.Fatalf("written and parsed again: %v\n%+v\n%+v", err, h, h2)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	seedReceipts(f, func(data []byte) {
		if r, err := Parse(data); err == nil {
			f.Add(string(r.Proof))
		}
	})
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProof(text)
		if err == nil && string(p.AppendText(nil)) != text {
			t.Fatalf("%q is written as %q", text, p.AppendText(nil))
		}
	})
}

func FuzzParseTrustPolicy(f *testing.F) {
	for _, text := range readReceiptVectors(f).Policies {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseTrustPolicy("fuzz", text)
		if err != nil {
			return
		}
		if p.Origin() == "" {
			t.Fatalf("a policy without an origin: %q", text)
		}
		p.RequiresWitness()
		if _, _, err := p.VerifyCheckpoint(text); err == nil {
			t.Fatalf("a policy verifies as a checkpoint: %q", text)
		}
	})
}

// FuzzVerify looks for receipts that verify and state something that the log
// has not signed.
func FuzzVerify(f *testing.F) {
	v := readReceiptVectors(f)
	var policies []*TrustPolicy
	for _, name := range []string{"log", "witnessed", "optional"} {
		p, err := ParseTrustPolicy(name, []byte(v.Policies[name]))
		if err != nil {
			f.Fatal(err)
		}
		policies = append(policies, p)
	}
	genuine := map[entry.Hash]uint64{} // leaf hash → index
	for _, c := range v.Cases {
		data, err := base64.StdEncoding.DecodeString(c.Receipt)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if s, err := Verify(data, policies, Options{HeaderOnly: true}); err == nil {
			genuine[s.LeafHash] = s.Index
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Verify(data, policies, Options{HeaderOnly: true})
		if err != nil {
			return
		}
		if index, ok := genuine[s.LeafHash]; !ok || index != s.Index {
			t.Fatalf("a forged receipt verifies: %+v\n%q", s, data)
		}
	})
}

func seedReceipts(f *testing.F, add func([]byte)) {
	f.Helper()
	for _, c := range readReceiptVectors(f).Cases {
		data, err := base64.StdEncoding.DecodeString(c.Receipt)
		if err != nil {
			f.Fatal(err)
		}
		add(data)
	}
}
