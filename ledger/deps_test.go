package ledger

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "muniment.dev/muniment/"

// rooms lists what each package of the module may import of the module, by the
// table in docs: imports point down only. A name stands for the package and for
// all below it.
var rooms = []struct {
	room string
	may  []string
}{
	// The longest name that fits a package counts.
	{"cmd", []string{"cmd/muniment/internal", "api", "controls", "ingest", "verifiers", "ledger", "clients/go", "proto", "internal"}},
	{"cmd/muniment/internal/term", []string{"internal"}},
	{"cmd/muniment/internal/datadir", []string{"api", "ingest", "verifiers", "ledger", "clients/go", "internal"}},
	{"cmd/muniment/internal/remote", []string{"cmd/muniment/internal/term", "cmd/muniment/internal/datadir", "clients/go", "ledger", "proto", "internal"}},
	{"cmd/muniment/internal/operate", commandGroup},
	{"cmd/muniment/internal/evidence", commandGroup},
	{"cmd/muniment/internal/prove", commandGroup},
	{"cmd/muniment/internal/decide", commandGroup},
	{"bench", []string{"bench", "api", "controls", "ingest", "verifiers", "ledger", "clients/go", "proto", "internal"}},
	{"api", []string{"api", "ingest", "controls", "ledger", "proto", "internal"}},
	{"controls", []string{"controls", "ledger", "verifiers", "proto", "internal"}},
	{"ingest", []string{"ingest", "verifiers", "ledger", "proto", "internal"}},
	{"verifiers", []string{"verifiers", "ledger/entry", "ledger/receipt", "internal"}},
	{"ledger", []string{"ledger", "internal"}},
	{"ledger/store", []string{"ledger/entry", "ledger/receipt"}},
	{"ledger/store/memstore", []string{"ledger/entry", "ledger/receipt", "ledger/store"}},
	{"ledger/store/storetest", []string{"internal/soak", "ledger/entry", "ledger/receipt", "ledger/store"}},
	{"ledger/pebblestore", []string{"ledger/entry", "ledger/receipt", "ledger/store", "internal/owner"}},
	{"ledger/entry", []string{"ledger/entry"}},
	{"ledger/receipt", []string{"ledger/entry", "ledger/receipt"}},
	{"ledger/witness", []string{"ledger/entry", "ledger/receipt", "internal"}},
	{"ledger/anchor", []string{"ledger/entry", "ledger/receipt", "internal"}},
	{"clients/go", []string{"clients/go", "proto", "ledger/entry", "ledger/receipt", "internal"}},
	{"internal", []string{"internal"}},
	{"internal/peers", []string{"internal", "api", "clients/go", "ledger", "proto"}},
	{"proto", []string{"proto"}},
}

// commandGroup is what each group of commands may import: the shared packages
// of cmd/muniment and the rooms below, and no other group.
var commandGroup = []string{
	"cmd/muniment/internal/term", "cmd/muniment/internal/datadir", "cmd/muniment/internal/remote",
	"api", "controls", "ingest", "verifiers", "ledger", "clients/go", "proto", "internal",
}

// engines are for the wiring and for tests, so that nothing above the interface
// knows which one is below.
var engines = []string{"ledger/pebblestore", "ledger/store/memstore", "ledger/store/storetest"}

// servers are modules that must not get into what verifies offline.
var servers = []string{
	"github.com/cockroachdb/", "connectrpc.com/", "go.opentelemetry.io/", "github.com/sigstore/", "github.com/prometheus/", "google.golang.org/", "buf.build/", "github.com/maypok86/",
	"github.com/in-toto/", "github.com/secure-systems-lab/", "cel.dev/", "github.com/google/cel-go",
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}

func within(pkg, room string) bool { return pkg == room || strings.HasPrefix(pkg, room+"/") }

func TestImportsPointDown(t *testing.T) {
	list := goList(t, "-f", `{{.ImportPath}}:{{join .Imports ","}}`, module+"...")
	if len(list) < 10 {
		t.Fatalf("go list found only %q", list)
	}
	for _, line := range list {
		path, imports, _ := strings.Cut(line, ":")
		pkg := strings.TrimPrefix(path, module)
		if strings.Contains(pkg, "/node_modules/") { // what npm has installed
			continue
		}
		best := -1
		for i, r := range rooms {
			if within(pkg, r.room) && (best < 0 || len(r.room) > len(rooms[best].room)) {
				best = i
			}
		}
		if best < 0 {
			t.Errorf("%s is in none of the rooms; say in the table what it may import", pkg)
			continue
		}
		for _, imported := range strings.Split(imports, ",") {
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if !slices.ContainsFunc(rooms[best].may, func(room string) bool { return within(to, room) }) {
				t.Errorf("%s imports %s; a package of %s may import %q only", pkg, to, rooms[best].room, rooms[best].may)
			}
			if slices.Contains(engines, to) && !within(pkg, "cmd") && !within(pkg, "bench") && !within(pkg, "internal/peers") && !slices.ContainsFunc(engines, func(e string) bool { return within(pkg, e) }) {
				t.Errorf("%s imports the engine %s", pkg, to)
			}
		}
	}
}

// The offline verifier, and the auditor above it, pull in no server code,
// storage engine or network library.
func TestVerifierIsSmall(t *testing.T) {
	for _, dep := range goList(t, "-deps", module+"ledger/receipt", module+"ledger/store") {
		for _, s := range servers {
			if strings.HasPrefix(dep, s) {
				t.Errorf("the offline verifier pulls in %s", dep)
			}
		}
		if to, ours := strings.CutPrefix(dep, module); ours && !within(to, "ledger/entry") && !within(to, "ledger/receipt") && to != "ledger/store" {
			t.Errorf("the offline verifier pulls in %s", to)
		}
	}
	for _, dep := range goList(t, "-deps", module+"clients/go/audit") {
		for _, s := range servers {
			if strings.HasPrefix(dep, s) {
				t.Errorf("the auditor pulls in %s", dep)
			}
		}
	}
	if slices.Contains(goList(t, "-deps", module+"ledger"), module+"ledger/pebblestore") {
		t.Error("the ledger knows an engine")
	}
}
