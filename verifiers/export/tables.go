package export

import (
	"embed"
	"encoding/json"
	"strings"
	"sync"
)

// tableFiles are copies of docs/spec/tables.
//
//go:embed tables/*.json
var tableFiles embed.FS

func readTable(name string, into any) {
	text, err := tableFiles.ReadFile("tables/" + name + ".json")
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		panic(err) // the tables are part of the program
	}
}

// spdxTable is the pinned list of licences.
var spdxTable = sync.OnceValue(func() *struct {
	version    string
	licenses   map[string]bool
	exceptions map[string]bool
} {
	var file struct {
		Version                          string
		Licenses, Deprecated, Exceptions []string
	}
	readTable("spdx", &file)
	t := &struct {
		version    string
		licenses   map[string]bool
		exceptions map[string]bool
	}{file.Version, map[string]bool{}, map[string]bool{}}
	for _, list := range [][]string{file.Licenses, file.Deprecated} {
		for _, id := range list {
			t.licenses[id] = true
		}
	}
	for _, id := range file.Exceptions {
		t.exceptions[id] = true
	}
	return t
})

// SPDXListVersion returns the version of the list of licences.
func SPDXListVersion() string { return spdxTable().version }

// places are the countries and their states, and the places of cloud regions.
var places = sync.OnceValue(func() *placeTable {
	var iso struct {
		Version   string
		Countries map[string]string
	}
	var cloud struct {
		Version string
		Regions map[string]string
	}
	readTable("iso3166", &iso)
	readTable("cloud-regions", &cloud)
	t := &placeTable{countries: map[string]bool{}, states: map[string]bool{}, regions: cloud.Regions, isoVersion: iso.Version, cloudVersion: cloud.Version}
	for country, parts := range iso.Countries {
		t.countries[country] = true
		for _, part := range strings.Fields(parts) {
			t.states[country+"-"+part] = true
		}
	}
	return t
})

type placeTable struct {
	countries    map[string]bool
	states       map[string]bool
	regions      map[string]string // cloud region → code of its place
	isoVersion   string
	cloudVersion string
}

// TableVersions returns the versions of the tables of places and of cloud
// regions.
func TableVersions() (iso3166, cloudRegions string) {
	return places().isoVersion, places().cloudVersion
}

// check returns an error unless the tables have the codes.
func (t *placeTable) check(g Geography) error {
	switch {
	case !t.countries[g.Country]:
		return fail(RegionUnknown, "country %q is not an ISO 3166-1 alpha-2 code", g.Country)
	case g.State != "" && (!t.states[g.State] || g.State[:2] != g.Country):
		return fail(RegionUnknown, "state %q is not an ISO 3166-2 code of %s", g.State, g.Country)
	}
	return nil
}

// place returns the place of a location whose codes are known.
func (t *placeTable) place(l Location) Geography {
	p := l.Geography
	if code := t.regions[l.CloudRegion]; p.State == "" && len(code) > 2 {
		p.State = code
	}
	return p
}

// within reports whether a place is within g.
func (g Geography) contains(place Geography) bool {
	return g.Country == place.Country && (g.State == "" || g.State == place.State)
}

// mayContain reports whether a place can be in g.
func (g Geography) mayContain(place Geography) bool {
	return g.Country == place.Country && (g.State == "" || place.State == "" || g.State == place.State)
}

// Label returns the most specific name of the location.
func (l Location) Label() string {
	switch {
	case l.CloudRegion != "":
		return l.CloudRegion
	case l.State != "":
		return l.State
	}
	return l.Country
}
