package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"muniment.dev/muniment/api/oidc/oidctest"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// commandLines has a typical line for each command of the tree. {n} is a new
// number in each run. TestCommandLines fails if a command has no line.
var commandLines = map[string]struct {
	args string
	runs bool // it ends by a signal only
	mute bool // in the workshop there is nothing to print
	code int  // of the run whose output is written
}{
	"admission reconcile": {args: "admission reconcile --admission-config cluster.yaml --key issuer.key --kubeconfig kubeconfig --listen 127.0.0.1:0", runs: true},
	"admission serve":     {args: "admission --admission-config cluster.yaml --tls-cert tls.crt --tls-key issuer.key --listen 127.0.0.1:0", runs: true},
	"append":              {args: "append hello.txt --media-type text/plain --receipt-dir r{n}"},
	"audit":               {args: "audit $SERVER --policy data/policy"},
	"backup":              {args: "backup --data data --to backup{n}"},
	"baseline check":      {args: "baseline check", code: term.ExitNo},
	"baseline control":    {args: "baseline control --signer ci"},
	"baseline explain":    {args: "baseline explain $IMAGE", code: term.ExitFailed},
	"bundle create":       {args: "bundle create --since 2026-01-01 -o b{n}.bundle.tar"},
	"bundle show":         {args: "bundle show whole.bundle.tar"},
	"bundle verify":       {args: "bundle verify whole.bundle.tar --policy data/policy --stream-key data/streams/acme.key"},
	"checkpoint":          {args: "checkpoint"},
	"completion":          {args: "completion bash"},
	"control apply":       {args: "control apply controls.yaml"},
	"control init":        {args: "control init --template seed -o set{n}.yaml"},
	"control list":        {args: "control list"},
	"control replay":      {args: "control replay controls.yaml"},
	"control test":        {args: "control test controls_test.yaml"},
	"control show":        {args: "control show SEED-IMAGE"},
	"control validate":    {args: "control validate controls.yaml"},
	"coverage":            {args: "coverage", code: term.ExitFailed},
	"erase":               {args: "erase {entry} --scope payload --reason x --yes"},
	"exception approve":   {args: "exception approve {exception} --identity-token {ada} --tenant acme"},
	"exception list":      {args: "exception list", mute: true},
	"exception reject":    {args: "exception reject {exception} --reason x --identity-token {ada} --tenant acme"},
	"exception renew":     {args: "exception renew {approved} --expires 2d --reason x --identity-token {ada} --tenant acme"},
	"exception request":   {args: "exception request e{n} --control SEED-CHART --glob a --expires 1d --reason x --identity-token {kim} --tenant acme"},
	"exception revoke":    {args: "exception revoke {exception} --reason x --identity-token {ada} --tenant acme"},
	"exception show":      {args: "exception show {exception}"},
	"exception submit":    {args: "exception submit kept", mute: true},
	"export":              {args: "export --since 0 -o {n}.delta"},

	"export-manifest create":  {args: "export-manifest create outgoing --description export.json --license MIT --claimed-by issuer.pub"},
	"export-manifest release": {args: "export-manifest release whole.export.sigstore.json --files outgoing --to released{n} --key issuer.pub --policy data/policy --stream-key data/streams/acme.key"},
	"export-manifest sign":    {args: "export-manifest sign export.statement.json --key issuer.key -o -"},
	"export-manifest verify":  {args: "export-manifest verify whole.export.sigstore.json --key issuer.pub --files outgoing"},

	"finding burndown":     {args: "finding burndown"},
	"finding import":       {args: "finding import findings.csv", mute: true},
	"finding list":         {args: "finding list"},
	"finding set":          {args: "finding set F-1 in-progress"},
	"finding show":         {args: "finding show F-1"},
	"fsck":                 {args: "fsck --data {restored}"},
	"fetch-chart":          {args: "fetch-chart oci://127.0.0.1:1/gateway:1.7.0 --stage deploy", mute: true, code: term.ExitFailed},
	"gate":                 {args: "gate hello.txt --stage deploy", code: term.ExitFailed},
	"get":                  {args: "get 1"},
	"help":                 {args: "help exit-codes"},
	"hold list":            {args: "hold list"},
	"hold place":           {args: "hold place h{n} --kind finding --reason x"},
	"hold release":         {args: "hold release {hold} --reason x"},
	"import":               {args: "import whole.delta --data {replica}"},
	"init":                 {args: "init new{n} --origin ledger.example"},
	"inventory cluster":    {args: "inventory cluster --environment e --dump pods.json"},
	"inventory decide":     {args: "inventory decide --environment e", code: term.ExitFailed},
	"inventory list":       {args: "inventory list", mute: true},
	"inventory registry":   {args: "inventory registry $REGISTRYHOST --environment e"},
	"inventory release":    {args: "inventory release release.yaml --environment e"},
	"inventory retire":     {args: "inventory retire --environment e --scope runs --source s{n}"},
	"keys list":            {args: "keys list --data ops"},
	"keys retire":          {args: "keys retire {oldest} --data {rotated}"},
	"keys rotate":          {args: "keys rotate --data {copy}"},
	"list":                 {args: "list"},
	"mirror":               {args: "mirror $SERVER --data mirror{n} --policy data/policy --once"},
	"monitor":              {args: "monitor --example"},
	"trust add-witness":    {args: "trust add-witness w{n} {witness} http://127.0.0.1:1 --data {copy}"},
	"policy get":           {args: "policy get"},
	"policy lint":          {args: "policy lint admission.yaml"},
	"trust post-quantum":   {args: "trust post-quantum --data {copy}"},
	"policy set":           {args: "policy set admission.yaml --reason x"},
	"trust show":           {args: "trust show --data ops"},
	"policy test":          {args: "policy test admission.yaml statement.json"},
	"prove":                {args: "prove kept/hello.txt.receipt.json"},
	"receipt get":          {args: "receipt 1"},
	"receipt refresh":      {args: "receipt refresh kept/hello.txt.receipt.json --policy data/policy"},
	"reindex":              {args: "reindex --data ops"},
	"replica init":         {args: "replica init replica{n} --policy data/policy --tenant acme=data/streams/acme.key"},
	"restore":              {args: "restore {backup} --data restored{n}"},
	"retention apply":      {args: "retention apply --dry-run", mute: true},
	"retention set":        {args: "retention set --none --reason x"},
	"retention show":       {args: "retention show"},
	"scitt init":           {args: "scitt init --data {copy}"},
	"scitt keys":           {args: "scitt keys -o -"},
	"scitt register":       {args: "scitt register s.cose -o -"},
	"scitt sign":           {args: "scitt sign hello.txt --key issuer.key --issuer i --subject s"},
	"scitt verify":         {args: "scitt verify s.cose --receipt s.receipt.cose --keys keys.cbor"},
	"serve":                {args: "serve --data ops --listen 127.0.0.1:0", runs: true},
	"signer compromise":    {args: "signer compromise {key} --from 2026-01-01T00:00:00Z --reason x --unseen"},
	"signer id":            {args: "signer id {pub}"},
	"signer list":          {args: "signer list", mute: true},
	"signer register":      {args: "signer register {pub} --person oidc:https://login.example#dana --identity-token {ada} --tenant acme"},
	"signer retire":        {args: "signer retire {key} --reason x --unseen"},
	"signing-config":       {args: "signing-config --server $REKOR"},
	"store copy":           {args: "store copy pebble:ops/store postgres://127.0.0.1:1/none --data ops", mute: true, code: term.ExitFailed},
	"store reopen":         {args: "store reopen pebble:nowhere --data ops", mute: true, code: term.ExitFailed},
	"operator add":         {args: "operator add o{n} --data ops"},
	"operator list":        {args: "operator list --data ops"},
	"operator remove":      {args: "operator remove {operator} --data ops"},
	"reload":               {args: "reload --data data"},
	"tenant remove":        {args: "tenant remove {tenant} --data ops"},
	"tenant resume":        {args: "tenant resume {tenant} --data ops"},
	"tenant suspend":       {args: "tenant suspend {tenant} --data ops"},
	"spool submit":         {args: "spool submit kept", mute: true},
	"tenant add":           {args: "tenant add t{n} --data ops"},
	"tenant list":          {args: "tenant list --data ops"},
	"token issue":          {args: "token issue t{n} --role reader"},
	"token list":           {args: "token list"},
	"token revoke":         {args: "token revoke {token}"},
	"trace":                {args: "trace sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"},
	"trusted-root export":  {args: "trusted-root --server $REKOR"},
	"trusted-root inspect": {args: "trusted-root inspect"},
	"trusted-root update":  {args: "trusted-root update --data {copy} --confirm"},
	"verify":               {args: "verify kept/hello.txt.receipt.json --policy data/policy"},
	"verify-bundle":        {args: "verify-bundle hello.txt --bundle $SIGSTORE/examples/bundle-publish.json --key issuer.pub --insecure-ignore-tlog", code: term.ExitNo},
	"verify-chart":         {args: "verify-chart hello.txt --provenance hello.txt --keyring hello.txt", code: term.ExitNo},
	"verify-envelope":      {args: "verify-envelope hello.txt --key issuer.pub", code: term.ExitNo},
	"verify-image":         {args: "verify-image $IMAGE --key issuer.pub", code: term.ExitNo},
	"verify-statement":     {args: "verify-statement statement.json"},
	"version":              {args: "version"},
	"watch":                {args: "watch --from-index 0", runs: true},
	"whoami":               {args: "whoami"},
	"why":                  {args: "why hello.txt --stage deploy", code: term.ExitFailed},
	"witness add-log":      {args: "witness add-log {log} --data {witnessdir}"},
	"witness init":         {args: "witness init w{n} --name w.example"},
	"witness serve":        {args: "witness --data witness --listen 127.0.0.1:0", runs: true},
	"witness show":         {args: "witness show --data witness"},
}

// leaves returns the commands of the tree by their names.
func leaves(t *testing.T) map[string]*kong.Node {
	t.Helper()
	parser, err := kong.New(&cli{}, append(flagValues(), kong.Name("muniment"))...)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*kong.Node{}
	for _, n := range parser.Model.Leaves(false) {
		var names []string
		for p := n; p.Parent != nil; p = p.Parent {
			names = append([]string{p.Name}, names...)
		}
		out[strings.Join(names, " ")] = n
	}
	return out
}

func TestCommandLines(t *testing.T) {
	tree := slices.Sorted(maps.Keys(leaves(t)))
	lines := slices.Sorted(maps.Keys(commandLines))
	if !slices.Equal(tree, lines) {
		t.Errorf("commandLines and the tree of commands differ:\n%q\n%q", lines, tree)
	}
	for name, n := range leaves(t) {
		if !strings.Contains(n.Detail, "Example") {
			t.Errorf("%s: --help has no example", name)
		}
	}
}

// A workshop is a folder with a running server in which command lines are run.
type workshop struct {
	t       *testing.T
	n       int
	server  *process
	replace map[string]string
	person  func(name string) string // returns a file with a new identity token
}

const workshopPolicy = "version: 1\nmode: record\nrules:\n  - {name: everything, unsigned: true}\n"

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "config"))
	w := &workshop{t: t, replace: map[string]string{}}
	sigstore, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatal("find the sigstore-go module: ", err)
	}
	t.Chdir(t.TempDir())
	w.replace["$SIGSTORE"], w.replace["$IMAGE"] = strings.TrimSpace(string(sigstore)), registryImage(t)
	w.replace["$REGISTRYHOST"], _, _ = strings.Cut(w.replace["$IMAGE"], "/")
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"baselines.yaml": baselineOf(t, w.replace["$IMAGE"]),
		"cluster.yaml":   "version: 1\nstage: deploy\nnamespaces: [{names: [\"*\"]}]\n",
		"kubeconfig":     "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n",
		"tls.crt":        string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		"hello.txt":      "hello",
		"export.json":    `{"tenant":"acme","exportId":"e","residency":{"claims":[{"activity":"storage","locations":[{"country":"DE"}]}]}}`,
		"admission.yaml": workshopPolicy,
		"pods.json":      `{"kind":"List","items":[]}`,
		"release.yaml":   "name: r\nartifacts: [{file: hello.txt}]\n",
		"findings.csv":   "id,title,severity,source,controls\nF-1,t,low,audit,SEED-CHART\n",
		"statement.json": `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}],"predicateType":"https://example.com/p","predicate":{}}`,
		"issuer.key":     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"issuer.pub":     string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.must("init data --origin ledger.example --tenant acme --rekor-origin 127.0.0.1")
	w.people()
	w.must("init ops --origin ledger.example --tenant acme")
	w.must("scitt init --data data")
	w.must("witness init witness --name w.example")
	if w.server, err = startProcess(context.WithoutCancel(t.Context()), program(t), "--data", "data", "--rekor-listen", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.server.stop(os.Interrupt) })
	t.Setenv("MUNIMENT_SERVER", w.server.url)
	t.Setenv("MUNIMENT_TOKEN_FILE", "data/tokens/acme.token")
	w.replace["$SERVER"], w.replace["$REKOR"] = w.server.url, w.server.rekor
	w.must("append hello.txt statement.json --media-type text/plain --receipt-dir kept")
	w.must("policy set admission.yaml --reason x")
	w.must("hold place kept --kind finding --reason x")
	w.must("control init --template seed")
	w.must("control apply controls.yaml")
	w.must("finding import findings.csv")
	w.must("export --since 0 -o whole.delta --policy data/policy")
	w.must("bundle create --since 2026-01-01 -o whole.bundle.tar --policy data/policy")
	if err := errors.Join(os.Mkdir("outgoing", 0o755), os.WriteFile("outgoing/hello.txt", []byte("hello"), 0o644)); err != nil {
		t.Fatal(err)
	}
	w.must("export-manifest create outgoing --description export.json --license MIT --claimed-by issuer.pub -o export.statement.json")
	w.must("export-manifest sign export.statement.json --key issuer.key -o whole.export.sigstore.json")
	w.must("scitt sign hello.txt --key issuer.key --issuer i --subject s -o s.cose")
	w.must("scitt register s.cose -o s.receipt.cose")
	w.must("scitt keys -o keys.cbor")
	return w
}

// people makes an identity provider with the persons kim and ada, who are
// administrators of the tenant.
func (w *workshop) people() {
	w.t.Helper()
	issuer := oidctest.Start()
	w.t.Cleanup(issuer.Close)
	config, err := os.ReadFile("data/muniment.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	text := strings.Replace(string(config), "tenants:\n", "identity: {issuers: [{issuer: "+issuer.URL+"}]}\ntenants:\n", 1)
	text = strings.Replace(text, "    tokens:", "    identities:\n      - {name: kim, issuer: "+issuer.URL+", claims: {sub: kim}, role: admin}\n      - {name: ada, issuer: "+issuer.URL+", claims: {sub: ada}, role: admin}\n    tokens:", 1)
	if err := os.WriteFile("data/muniment.yaml", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.person = func(name string) string {
		file := fmt.Sprintf("%s%s.jwt", name, rand.Text())
		if err := os.WriteFile(file, []byte(issuer.Token(map[string]any{"sub": name, "aud": "ledger.example"})), 0o600); err != nil {
			w.t.Fatal(err)
		}
		return file
	}
}

// must runs a command line and returns its output. The exit code must be the
// given one, by default 0.
func (w *workshop) must(line string, code ...int) string {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	if got := run(w.t.Context(), w.args(line), strings.NewReader(""), &stdout, &stderr); got != cmp.Or(code...) {
		w.t.Fatalf("muniment %s: exit code %d\n%s%s", line, got, &stdout, &stderr)
	}
	return stdout.String()
}

// args returns the arguments of a line. It replaces placeholders by new
// tenants, folders, holds and so on, which it makes.
func (w *workshop) args(line string) []string {
	w.t.Helper()
	w.n++
	n := fmt.Sprint(w.n)
	policyLine := func(folder, keyword string) string {
		text, err := os.ReadFile(filepath.Join(folder, datadir.PolicyFile))
		if err != nil {
			w.t.Fatal(err)
		}
		return regexp.MustCompile(`(?m)^` + keyword + ` (\S+)`).FindStringSubmatch(string(text))[1]
	}
	line = strings.ReplaceAll(line, "{n}", n)
	for name, value := range w.replace {
		line = strings.ReplaceAll(line, name, value)
	}
	for name, make := range map[string]func() string{
		"{copy}": func() string {
			w.must("init copy" + n + " --origin ledger.example")
			return "copy" + n
		},
		"{rotated}": func() string {
			w.must("init rotated" + n + " --origin ledger.example")
			w.must("keys rotate --data rotated" + n)
			line = strings.ReplaceAll(line, "{oldest}", strings.Fields(w.must("keys list --data rotated" + n))[0])
			return "rotated" + n
		},
		"{replica}": func() string {
			w.must("replica init replica" + n + " --policy data/policy --tenant acme=data/streams/acme.key")
			return "replica" + n
		},
		"{backup}": func() string {
			return lastBackup(w, "backup"+n)
		},
		"{restored}": func() string {
			w.must("restore " + lastBackup(w, "backup"+n) + " --data restored" + n)
			return "restored" + n
		},
		"{witnessdir}": func() string {
			w.must("witness init witness" + n + " --name w.example")
			return "witness" + n
		},
		"{log}": func() string { return policyLine("data", "log") },
		"{witness}": func() string {
			return regexp.MustCompile(`witness \S+ (\S+)`).FindStringSubmatch(w.must("witness show --data witness"))[1]
		},
		"{entry}": func() string {
			if err := os.WriteFile("entry"+n, []byte(n), 0o600); err != nil {
				w.t.Fatal(err)
			}
			return strings.Fields(w.must("append entry" + n + " --media-type text/plain --no-receipts"))[0]
		},
		"{key}": func() string { return fmt.Sprintf("sha256:%064x", w.n) },
		"{pub}": func() string {
			public, _, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				w.t.Fatal(err)
			}
			der, err := x509.MarshalPKIXPublicKey(public)
			if err != nil {
				w.t.Fatal(err)
			}
			if err := os.WriteFile("pub"+n, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
				w.t.Fatal(err)
			}
			return "pub" + n
		},
		"{kim}": func() string { return w.person("kim") },
		"{ada}": func() string { return w.person("ada") },
		"{exception}": func() string {
			w.must("exception request x" + n + " --control SEED-CHART --glob a --expires 1d --reason x --identity-token {kim} --tenant acme")
			return "x" + n
		},
		"{approved}": func() string {
			w.must("exception request y" + n + " --control SEED-CHART --glob a --expires 1d --reason x --identity-token {kim} --tenant acme")
			w.must("exception approve y" + n + " --identity-token {ada} --tenant acme")
			return "y" + n
		},
		"{hold}": func() string {
			w.must("hold place held" + n + " --kind finding --reason x")
			return "held" + n
		},
		"{tenant}": func() string {
			w.must("tenant add added" + n + " --data ops")
			return "added" + n
		},
		"{operator}": func() string {
			w.must("operator add added" + n + " --data ops")
			return "added" + n
		},
		"{token}": func() string {
			w.must("token issue issued" + n + " --role reader")
			return "issued" + n
		},
	} {
		if strings.Contains(line, name) {
			line = strings.ReplaceAll(line, name, make())
		}
	}
	return strings.Fields(line)
}

// lastBackup backs up the data folder and returns the folder of the backup.
func lastBackup(w *workshop, to string) string {
	w.t.Helper()
	w.must("backup --data data --to " + to)
	entries, err := filepath.Glob(to + "/[0-9]*")
	if err != nil || len(entries) != 1 {
		w.t.Fatalf("the backups in %s: %q, %v", to, entries, err)
	}
	return entries[0]
}

// TestFullOutput runs every command with its standard output on a full disk.
// Lost output is an error.
func TestFullOutput(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full: ", err)
	}
	defer full.Close()
	for _, command := range slices.Sorted(maps.Keys(commandLines)) {
		t.Run(command, func(t *testing.T) {
			w.t = t
			c := commandLines[command]
			if !c.runs {
				if w.must(c.args, c.code) == "" && !c.mute {
					t.Fatal("the line prints nothing")
				}
			}
			var stderr bytes.Buffer
			code := run(t.Context(), w.args(c.args), strings.NewReader(""), full, &stderr)
			if !c.mute && (code != term.ExitFailed || !strings.Contains(stderr.String(), "muniment: write standard output: no space left on device\n")) {
				t.Errorf("exit code %d with a full disk\n%s", code, &stderr)
			}
		})
	}
}

// registryImage returns the name of an image in a registry of the test's own.
func registryImage(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	tag, err := name.NewTag(strings.TrimPrefix(s.URL, "http://") + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	return tag.String()
}

// baselineOf returns a baseline that lists an image.
func baselineOf(t *testing.T, image string) string {
	t.Helper()
	tag, err := name.NewTag(image)
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Head(tag)
	if err != nil {
		t.Fatal(err)
	}
	return "version: v1\nsigners: {ci: {submitters: [x]}}\nimages:\n  - {image: \"" + image + "\", digest: " + found.Digest.String() + ", vetted: {expires: 2099-01-01, signers: [ci]}}\n"
}

// A token whose only copy was lost is not in force, and its ID remains
// available.
func TestLostToken(t *testing.T) {
	w := newWorkshop(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full: ", err)
	}
	defer full.Close()
	for _, line := range []string{"token issue lost1 --role reader", "token issue lost2 --role reader --json", "token issue lost3 --role reader -o missing/token"} {
		var stderr bytes.Buffer
		if code := run(t.Context(), w.args(line), strings.NewReader(""), full, &stderr); code != term.ExitFailed {
			t.Errorf("muniment %s: exit code %d\n%s", line, code, &stderr)
		}
	}
	if list := w.must("token list"); strings.Contains(list, "lost") {
		t.Errorf("lost tokens are in force:\n%s", list)
	}
	for _, id := range []string{"lost1", "lost2", "lost3"} {
		w.must("token issue " + id + " --role reader")
	}
}

// TestOutputLinks gives every command with a flag for a result a link in its
// place. The link may be replaced or refused; what it points to is not touched.
func TestOutputLinks(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	ran := 0
	tree := leaves(t)
	for _, command := range slices.Sorted(maps.Keys(tree)) {
		for _, group := range tree[command].AllFlags(false) {
			for _, f := range group {
				if f.Name != "output" && f.Name != "transparent" && f.Name != "state" {
					continue
				}
				ran++
				t.Run(command+" --"+f.Name, func(t *testing.T) {
					w.t = t
					link, victim := filepath.Join(t.TempDir(), "link"), filepath.Join(t.TempDir(), "victim")
					if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, link)); err != nil {
						t.Fatal(err)
					}
					args := slices.DeleteFunc(w.args(outputFlag.ReplaceAllString(commandLines[command].args, "")), func(arg string) bool { return arg == "" })
					var stdout, stderr bytes.Buffer
					run(t.Context(), append(args, "--"+f.Name, link), strings.NewReader(""), &stdout, &stderr)
					if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
						t.Errorf("the link was written through: %q, %v", text, err)
					}
				})
			}
		}
	}
	if ran < 12 {
		t.Errorf("only %d flags were tried", ran)
	}
}

var outputFlag = regexp.MustCompile(` (-o|--output|--transparent|--state) \S+`)

// TestInterruptedFIFO gives every command a named pipe without a writer for
// each of its files, and interrupts it while it waits for the pipe.
func TestInterruptedFIFO(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	shared := map[string]bool{} // flags that all clients read by the same code
	opened := 0
	tree := leaves(t)
	for _, command := range slices.Sorted(maps.Keys(tree)) {
		for _, line := range fileLines(commandLines[command].args, tree[command], "fifo") {
			flag := clientFile.FindString(line)
			if shared[flag] && flag != "" {
				continue
			}
			shared[flag] = true
			t.Run(line, func(t *testing.T) {
				w.t = t
				args := w.args(line)
				if err := syscall.Mkfifo("fifo", 0o600); err != nil {
					t.Skip("needs named pipes: ", err)
				}
				defer os.Remove("fifo")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan struct{})
				var code int
				var stdout, stderr bytes.Buffer
				go func() {
					defer close(ended)
					code = run(ctx, args, strings.NewReader(""), &stdout, &stderr)
				}()
				f, err := openForReader("fifo", ended)
				cancel()
				select {
				case <-ended:
				case <-time.After(soak.Patience):
					t.Fatal("still waits for the pipe after 20 seconds")
				}
				if err != nil { // another check came first, or the file is not needed here
					return
				}
				f.Close()
				opened++
				if regexp.MustCompile(`is not a (regular )?file|not a directory`).MatchString(stderr.String()) {
					return // refused because of what it is
				}
				if strings.Contains(stdout.String()+stderr.String(), "external-unexpected") {
					return // the receipt needs no evidence, whatever is in the file
				}
				if strings.Contains(stdout.String()+stderr.String(), "context canceled") {
					t.Errorf("the interrupt is reported in Go's words:\n%s%s", &stdout, &stderr)
				}
				if code != term.ExitInterrupted || !strings.HasSuffix(stderr.String(), "muniment: interrupted\n") {
					t.Errorf("exit code %d\n%s%s", code, &stdout, &stderr)
				}
			})
		}
	}
	if opened < 25 {
		t.Errorf("only %d pipes were opened", opened)
	}
}

// clientFile matches the flags of clients that all commands read by the same
// code.
var clientFile = regexp.MustCompile(`--(config|token-file|client-cert|client-key|ca) \S+`)

// openForReader opens a named pipe for writing once somebody opens it for
// reading, and writes nothing. It gives up when the reader has ended.
func openForReader(path string, ended <-chan struct{}) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			return f, nil
		}
		select {
		case <-ended:
			return nil, err
		case <-time.After(time.Millisecond):
		}
	}
}

// fileLines returns the command line once for each argument and flag that is
// a file, with another file in its place.
func fileLines(line string, n *kong.Node, path string) []string {
	var out []string
	for _, group := range n.AllFlags(false) {
		for _, f := range group {
			if predictorName(f.Value, f.PlaceHolder) != "file" || f.Name == "output" || f.Name == "transparent" {
				continue
			}
			flag, path := "--"+f.Name, path
			if strings.HasPrefix(f.PlaceHolder, "NAME=") {
				path = "acme=" + path
			}
			words := strings.Fields(line)
			if at := slices.Index(words, flag); at >= 0 {
				words[at+1] = path
			} else {
				words = append(words, flag, path)
			}
			switch f.Name { // these need another
			case "client-cert":
				words = append(words, "--client-key", "issuer.key")
			case "client-key":
				words = append(words, "--client-cert", "issuer.pub")
			case "stream-key":
				words = append(words, "--policy", "data/policy")
			}
			out = append(out, strings.Join(words, " "))
		}
	}
	words := strings.Fields(line)
	at := len(strings.Split(strings.TrimSpace(n.FullPath()), " ")) - 1
	for _, p := range n.Positional {
		if predictorName(p, "") == "file" && at < len(words) {
			out = append(out, strings.Join(slices.Replace(slices.Clone(words), at, at+1, path), " "))
		}
		at++
	}
	return out
}
