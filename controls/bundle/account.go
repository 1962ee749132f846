package bundle

import (
	"errors"
	"fmt"
	"slices"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/ledger/entry/strictjson"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// ReportsVersion is the version of the reports that this program makes. Another
// version can have other bytes of the same evidence. It is increased whenever
// the reports of a bundle change.
const ReportsVersion = 2

// accountName is the member with the account.
var accountName = bundlefile.AssessmentName("account.json")

// maxAccount is the size of the largest account that is read.
const maxAccount = 64 << 20

// An account is what reports rest on besides the evidence in the bundle. See
// docs/spec/bundle.md, section 6.
type account struct {
	version uint64
	stated  []statedArtifact // in the order of the inventories
}

// A statedArtifact is an inventoried artifact whose evidence is not in the
// bundle, with the result of the creator.
type statedArtifact struct {
	environment, typ string
	digest           map[string]string
	reason           string // of inventory.Reasons; "": attested
	detail           string
	controls         []string
}

// newStated returns the statement about an artifact.
func newStated(environment string, a *inventory.Artifact, g *inventory.Gap) statedArtifact {
	s := statedArtifact{environment: environment, typ: a.Type, digest: a.Digest}
	if g != nil {
		s.reason, s.detail = g.Reason, g.Detail
		for _, r := range g.Results {
			s.controls = append(s.controls, r.Control)
		}
	}
	return s
}

// about reports whether the statement is about an artifact.
func (s *statedArtifact) about(environment string, a *inventory.Artifact) bool {
	return s.environment == environment && s.typ == a.Type && slices.Equal(digestsOf(s.digest), digestsOf(a.Digest))
}

// gap returns the result.
func (s *statedArtifact) gap() *inventory.Gap {
	if s.reason == "" {
		return nil
	}
	g := &inventory.Gap{Reason: s.reason, Detail: s.detail}
	for _, id := range s.controls {
		g.Results = append(g.Results, &evaluate.Result{Control: id})
	}
	return g
}

// state adds a statement to the account, and returns its result.
func (p *reporting) state(s statedArtifact) *inventory.Gap {
	p.account.stated = append(p.account.stated, s)
	return s.gap()
}

// sentences describes what is stated, by environment.
func (a *account) sentences() (all []string) {
	counts := map[string]int{}
	for i := range a.stated {
		counts[a.stated[i].environment]++
	}
	for _, environment := range sortedKeys(counts) {
		noun := "artifacts"
		if counts[environment] == 1 {
			noun = "artifact"
		}
		all = append(all, fmt.Sprintf("The coverage of %d %s in %s is the account of the bundle's creator: the evidence about other artifacts than the selected ones is not in the bundle.", counts[environment], noun, environment))
	}
	return all
}

// appendJSON appends the account's JSON to b.
func (a *account) appendJSON(b []byte) ([]byte, error) {
	w := &strictjson.Writer{Text: append(b, '{')}
	w.Member("mediaType", bundlefile.AccountMediaType)
	w.Integer("reports", a.version)
	if len(a.stated) > 0 {
		w.Name("stated")
		w.Open('[')
		for i := range a.stated {
			a.stated[i].write(w)
		}
		w.Close(']')
	}
	w.Close('}')
	return append(w.Text, '\n'), w.Err
}

func (s *statedArtifact) write(w *strictjson.Writer) {
	w.Open('{')
	w.Member("environment", s.environment)
	w.Member("type", s.typ)
	w.Strings("digest", s.digest)
	w.Optional("gap", s.reason)
	w.Optional("detail", s.detail)
	if len(s.controls) > 0 {
		w.Name("controls")
		w.Open('[')
		for _, id := range s.controls {
			w.Comma()
			w.Quote(id)
		}
		w.Close(']')
	}
	w.Close('}')
}

// parseAccount reads an account strictly.
func parseAccount(text []byte) (*account, error) {
	a := &account{}
	return a, strictjson.ParseLarge(text, bundlefile.MaxManifestValues, func(o *strictjson.Object) error {
		if mt := o.String("mediaType"); o.Err() == nil && mt != bundlefile.AccountMediaType {
			return fmt.Errorf("mediaType: %q instead of %q", mt, bundlefile.AccountMediaType)
		}
		a.version = o.Integer("reports")
		o.Objects("stated", func(o *strictjson.Object) error {
			if len(a.stated) == inventory.MaxArtifacts {
				return fmt.Errorf("stated: more than %d artifacts", inventory.MaxArtifacts)
			}
			s := statedArtifact{environment: o.String("environment"), typ: o.String("type"), reason: o.OptionalString("gap"), detail: o.OptionalString("detail"), controls: o.StringArray("controls")}
			o.RequiredObject("digest", func(o *strictjson.Object) error {
				if s.digest = o.Strings(); len(s.digest) == 0 {
					return errors.New("digest: empty")
				}
				return nil
			})
			switch {
			case o.Err() != nil:
			case !slices.Contains(artifact.Types, s.typ):
				return fmt.Errorf("type: %q is not a type of artifacts", s.typ)
			case s.reason != "" && !slices.Contains(inventory.Reasons, s.reason):
				return fmt.Errorf("gap: %q is not a reason", s.reason)
			}
			a.stated = append(a.stated, s)
			return nil
		})
		return nil
	})
}
