package export

import (
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// AppendStatement appends the JSON of the manifest's statement to b.
func (m *Manifest) AppendStatement(b []byte) ([]byte, error) {
	w := &writer{strictjson.Writer{Text: append(b, '{')}}
	w.Member("_type", statementType)
	w.list("subject", len(m.Files), func(i int) {
		w.Member("name", m.Files[i].Name)
		w.digest(m.Files[i].SHA256)
	})
	w.Member("predicateType", PredicateType)
	w.object("predicate", func() { w.predicate(m) })
	w.Close('}')
	return w.Text, w.Err
}

type writer struct{ strictjson.Writer }

func (w *writer) object(name string, write func()) {
	w.Name(name)
	w.Open('{')
	write()
	w.Close('}')
}

// list writes an array of n objects, unless n is 0.
func (w *writer) list(name string, n int, write func(i int)) {
	if n == 0 {
		return
	}
	w.Name(name)
	w.Open('[')
	for i := range n {
		w.Open('{')
		write(i)
		w.Close('}')
	}
	w.Close(']')
}

func (w *writer) texts(name string, all []string) {
	w.Name(name)
	w.Open('[')
	for _, s := range all {
		w.Comma()
		w.Quote(s)
	}
	w.Close(']')
}

func (w *writer) digest(h entry.Hash) {
	w.object("digest", func() { w.Member("sha256", h.String()) })
}

func (w *writer) signer(name string, s entry.Signer) {
	w.object(name, func() {
		w.Optional("keyId", s.KeyID)
		w.Optional("identity", s.Identity)
		w.Optional("issuer", s.Issuer)
	})
}

func (w *writer) decimal(name string, d *Decimal) {
	if d != nil {
		w.Member(name, d.String())
	}
}

func (w *writer) predicate(m *Manifest) {
	w.Member("tenant", m.Tenant)
	w.Member("exportId", m.ExportID)
	w.Member("created", m.Created)
	w.list("files", len(m.Files), func(i int) { w.file(&m.Files[i]) })
	if u := m.Use; u != nil {
		w.object("use", func() {
			w.geographies("storage-allowed", u.StorageAllowed)
			w.geographies("storage-forbidden", u.StorageForbidden)
			w.geographies("processing-included", u.ProcessingIncluded)
			w.geographies("processing-excluded", u.ProcessingExcluded)
		})
	}
	w.object("residency", func() {
		w.list("claims", len(m.Claims), func(i int) { w.claim(&m.Claims[i]) })
	})
	w.object("licenses", func() { w.Member("spdxListVersion", m.SPDXListVersion) })
	if m.Privacy != nil {
		w.object("privacy", func() { w.privacy(m.Privacy) })
	}
}

func (w *writer) file(f *File) {
	w.Member("name", f.Name)
	w.digest(f.SHA256)
	w.Integer("size", f.Size)
	w.Member("mediaType", f.MediaType)
	if f.Rows != nil {
		w.Integer("rows", *f.Rows)
	}
	w.texts("license", f.License)
	w.list("fieldSets", len(f.FieldSets), func(i int) {
		w.texts("fields", f.FieldSets[i].Fields)
		w.texts("license", f.FieldSets[i].License)
	})
}

func (w *writer) geographies(name string, all []Geography) {
	w.list(name, len(all), func(i int) { w.geography(all[i]) })
}

func (w *writer) geography(g Geography) {
	w.Member("country", g.Country)
	w.Optional("state", g.State)
}

func (w *writer) claim(c *Claim) {
	w.Member("activity", c.Activity)
	w.list("locations", len(c.Locations), func(i int) {
		w.geography(c.Locations[i].Geography)
		w.Optional("cloudRegion", c.Locations[i].CloudRegion)
	})
	w.signer("claimedBy", c.ClaimedBy)
	w.list("evidence", len(c.Evidence), func(i int) {
		w.Integer("index", c.Evidence[i].Index)
		w.Member("leafHash", c.Evidence[i].LeafHash.String())
	})
}

func (w *writer) privacy(p *Privacy) {
	w.object("dp_flavor", func() { w.Member("name", p.Flavor) })
	w.object("privacy_loss", func() {
		w.Member("privacy_unit", p.Unit)
		w.Optional("privacy_unit_description", p.UnitDescription)
		w.Member("neighboring_relation", p.Relation)
		w.object("privacy_parameters", func() {
			w.decimal("epsilon", &p.Parameters.Epsilon)
			w.decimal("delta", p.Parameters.Delta)
			w.decimal("rho", p.Parameters.Rho)
		})
	})
	w.list("mechanisms", len(p.Mechanisms), func(i int) {
		w.Member("name", p.Mechanisms[i].Name)
		w.Member("sensitivity", p.Mechanisms[i].Sensitivity.String())
		w.Member("scale", p.Mechanisms[i].Scale.String())
		w.Integer("count", p.Mechanisms[i].Count)
	})
	w.object("sensitivity", func() { w.signer("claimedBy", p.SensitivityBy) })
	w.object("sampler", func() {
		w.Member("name", p.Sampler)
		w.signer("claimedBy", p.SamplerBy)
	})
	w.object("budget", func() {
		w.Member("name", p.Budget)
		w.decimal("epsilon", &p.BudgetEpsilon)
		w.decimal("delta", p.BudgetDelta)
		w.object("spent", func() {
			w.decimal("epsilon", p.SpentEpsilon)
			w.decimal("rho", p.SpentRho)
		})
	})
}
