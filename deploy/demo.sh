#!/usr/bin/env bash
# The demo: a log with generated keys, real evidence, receipts that verify with the server stopped.
#
# The evidence is what the sigstore-go module ships: attestations of npm packages, signed by real CI jobs.
# KEEP=1 leaves the server up at the end. DEMO_DIR is where it works (default: demo-data, made anew each time).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${DEMO_DIR:-demo-data}
muniment=$PWD/bin/muniment
bold=$'\e[1m'; dim=$'\e[2m'; off=$'\e[0m'
[ -t 1 ] || { bold=; dim=; off=; }
step() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
show() { printf '%s$ %s%s\n' "$dim" "${*//$muniment/muniment}" "$off"; "$@"; }

if [ -e "$dir" ] && [ ! -e "$dir/.muniment-demo" ]; then
	echo "$dir is there and was not made by the demo; set DEMO_DIR to another folder" >&2
	exit 2
fi
rm -rf "$dir" && mkdir -p "$dir" && touch "$dir/.muniment-demo"
server=
stop() { if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=; fi; }
trap stop EXIT
start() {
	: >"$dir/serve.out"
	"$muniment" serve --data "$dir/data" --listen 127.0.0.1:0 >"$dir/serve.out" 2>>"$dir/serve.log" &
	server=$!
	for _ in $(seq 200); do
		url=$(sed -n 's/^listening on //p' "$dir/serve.out")
		[ -n "$url" ] && return
		kill -0 "$server" 2>/dev/null || { cat "$dir/serve.log" >&2; exit 1; }
		sleep 0.05
	done
	echo "the server did not start within 10 seconds; see $dir/serve.log" >&2
	exit 1
}

step "1. Make a log: keys, policy, one tenant"
show "$muniment" init "$dir/data" --origin demo.muniment.example --tenant acme

step "2. Start the server and append real evidence: Sigstore bundles and an in-toto statement"
start
evidence=$(go list -m -f '{{.Dir}}' github.com/sigstore/sigstore-go)
mkdir "$dir/evidence"
cp "$evidence"/examples/bundle-*.json "$evidence"/examples/statement-*.json "$evidence"/pkg/testing/data/bundles/*.json "$dir/evidence/"
chmod -R u+w "$dir/evidence"
export MUNIMENT_SERVER=$url MUNIMENT_TOKEN_FILE=$dir/data/tokens/acme.token MUNIMENT_POLICY=$dir/data/policy
show "$muniment" append "$dir/evidence" --receipt-dir "$dir/receipts" --stream-key "$dir/data/streams/acme.key"

step "3. The same again is harmless: each piece of evidence is recorded once"
show "$muniment" append "$dir/evidence/bundle-provenance.json" --receipt-dir "$dir/receipts"

step "4. Search"
show "$muniment" list --predicate-type https://slsa.dev/provenance/v1

step "5. Audit the whole log, and that the tenant's stream is complete, from what is public"
show "$muniment" audit "$url" --state "$dir/audit.json" --stream-key "$dir/data/streams/acme.key"

step "6. Stop the server, and verify every receipt offline"
stop
receipts=("$dir"/receipts/*.receipt.json)
"$muniment" verify "${receipts[@]}" --tenant acme --kind attestation --stream-key "$dir/data/streams/acme.key" >"$dir/verified.txt"
count=$(grep -c '✓ VERIFIED' "$dir/verified.txt")
[ "$count" -eq "${#receipts[@]}" ]
echo "$count of ${#receipts[@]} receipts verified. One of them:"
show "$muniment" verify "$dir/receipts/bundle-provenance.json.receipt.json" --stream-key "$dir/data/streams/acme.key"

step "7. Change one byte of a receipt, and it does not verify"
sed 's/"time":1/"time":2/' "$dir/receipts/bundle-provenance.json.receipt.json" >"$dir/forged.receipt.json"
if show "$muniment" verify "$dir/forged.receipt.json"; then
	echo "a forged receipt verified: this is a bug" >&2
	exit 1
fi

step "Done."
cat <<EOF
  $dir/receipts/    the receipts: keep them, they need nobody's trust
  $dir/data/policy  what verifiers need
  Next: docs/quickstart.md (your own evidence), docs/ci.md, docs/tenant.md, docs/auditor.md, docs/operator.md
EOF
if [ "${KEEP:-}" = 1 ]; then
	start
	pid=$server
	trap - EXIT
	disown "$pid"
	cat <<EOF

  The server is up at $url (KEEP=1). Try:
    export MUNIMENT_SERVER=$url MUNIMENT_TOKEN_FILE=$PWD/$dir/data/tokens/acme.token
    bin/muniment list
  Stop it with: kill $pid
EOF
fi
