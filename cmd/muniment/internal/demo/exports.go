package main

import (
	"crypto/sha256"
	"fmt"
	"path"
	"strconv"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
)

func dataOffice() (entry.Signer, error) {
	key, err := dsse.NewKey("data office", signingKey("data office").Public())
	if err != nil {
		return entry.Signer{}, err
	}
	return entry.Signer{KeyID: key.ID}, nil
}

// manifest returns the manifest of an export of one file.
func manifest(id, file string, rows uint64, tenant string, created time.Time) (*export.Manifest, error) {
	by, err := dataOffice()
	if err != nil {
		return nil, err
	}
	return &export.Manifest{
		Tenant: tenant, ExportID: id, Created: timestamp(created), SPDXListVersion: export.SPDXListVersion(),
		Files: []export.File{{Name: file, SHA256: sha256.Sum256([]byte(id + file)), Size: rows * 37, MediaType: export.MediaTypes[path.Ext(file)], Rows: &rows, License: []string{"LicenseRef-initech-partners"}}},
		Use:   &export.Use{StorageAllowed: []export.Geography{{Country: "DE"}, {Country: "IE"}}, ProcessingIncluded: []export.Geography{{Country: "DE"}, {Country: "IE"}}},
		Claims: []export.Claim{
			{Activity: export.Storage, Locations: []export.Location{{Geography: export.Geography{Country: "DE"}, CloudRegion: "aws:eu-central-1"}}, ClaimedBy: by},
			{Activity: export.Processing, Locations: []export.Location{{Geography: export.Geography{Country: "IE"}, CloudRegion: "aws:eu-west-1"}}, ClaimedBy: by},
		},
	}, nil
}

// privacy returns what an export costs of a budget, in hundredths of ε, if that
// much is spent with it.
func privacy(budget, limit, unit string, epsilon, spent int64) (*export.Privacy, error) {
	by, err := dataOffice()
	if err != nil {
		return nil, err
	}
	p := &export.Privacy{
		Flavor: export.PureDP, Unit: "User-level", UnitDescription: unit, Relation: "unbounded", SensitivityBy: by, Sampler: "OpenDP 0.16.0 discrete Laplace", SamplerBy: by, Budget: budget,
		Mechanisms: []export.Mechanism{{Name: export.Laplace, Count: 1}},
	}
	m := &p.Mechanisms[0]
	if m.Sensitivity, err = export.ParseRational("1"); err != nil {
		return nil, err
	}
	if m.Scale, err = export.ParseRational(fmt.Sprintf("100/%d", epsilon)); err != nil {
		return nil, err
	}
	if p.BudgetEpsilon, err = export.ParseDecimal(limit); err != nil {
		return nil, err
	}
	if p.Parameters.Epsilon, err = hundredths(epsilon); err != nil {
		return nil, err
	}
	total, err := hundredths(spent)
	p.SpentEpsilon = &total
	return p, err
}

func hundredths(n int64) (export.Decimal, error) {
	return export.ParseDecimal(strconv.FormatFloat(float64(n)/100, 'f', -1, 64))
}
