#!/usr/bin/env bash
# The demo: a log with generated keys and a witness, real evidence with verified
# signatures, an admission policy, and receipts that verify with everything stopped.
#
# The evidence comes from the sigstore-go module: attestations of npm packages, signed
# by real CI jobs. The real cosign signs the chart of step 6. The identity provider
# of the two people in step 8 is internal/peers/issuer. The portal shows the tenant
# initech, which has used the log for two weeks: cmd/muniment/internal/demo. KEEP=1
# leaves the server running. DEMO_DIR is the working folder (default: demo-data), which
# each run replaces.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/start.sh
dir=${DEMO_DIR:-demo-data}
muniment=$PWD/bin/muniment
cosign=cosign # until step 6
export COSIGN_PASSWORD=
typed=(["$muniment"]=muniment)

working_folder "$dir"
trap stop EXIT
# Finds or builds cosign while the first steps run.
.ci/cosign >"$dir/cosign.path" 2>"$dir/cosign.log" &
builder=$!
running+=("$builder")
serve() {
	start "$dir" server "$muniment" serve --data "$dir/data" --listen 127.0.0.1:0
	server=$pid
	export MUNIMENT_SERVER=$url
}

step "1. Make a log (keys, policy, two tenants), and a witness, which another company would run"
show "$muniment" init "$dir/data" --origin demo.muniment.example --tenant acme
show "$muniment" tenant add initech --data "$dir/data"
bin/demo seed --data "$dir/data" --tenant initech
start "$dir" issuer "$PWD/bin/issuer" demo.muniment.example "$dir" kim kim ada
# The ledger accepts the identities of Kim and Ada, and nobody else's.
sed -i.orig "s|^identity: {issuers: \[|&{issuer: \"$url\", audience: [demo.muniment.example]}, |
/^  - name: acme/,/^    tokens:/s|^    tokens:|    identities: [{name: kim, issuer: \"$url\", claims: {sub: kim}, role: admin}, {name: ada, issuer: \"$url\", claims: {sub: ada}, role: approver}]\\
&|" "$dir/data/muniment.yaml"
rm "$dir/data/muniment.yaml.orig"
"$muniment" witness init "$dir/witness" --name witness.globex.example --no-post-quantum >/dev/null
"$muniment" witness add-log "$(sed -n 's/^log //p' "$dir/data/policy")" --data "$dir/witness" >/dev/null
start "$dir" witness "$muniment" witness --data "$dir/witness" --listen 127.0.0.1:0
at=${url#http://}
key=$("$muniment" witness show --data "$dir/witness" --json | sed 's/.*"keys":\["\([^"]*\)".*/\1/')
show "$muniment" trust add-witness globex "$key" "$url" --data "$dir/data"
serve

step "2. Append real evidence: Sigstore bundles of npm packages, signed by their CI jobs. The log checks the signatures"
evidence=$(go list -m -f '{{.Dir}}' github.com/sigstore/sigstore-go)
mkdir "$dir/evidence"
cp "$evidence"/examples/bundle-*.json "$evidence"/examples/statement-*.json "$evidence"/pkg/testing/data/bundles/*.json "$dir/evidence/"
chmod -R u+w "$dir/evidence"
export MUNIMENT_TOKEN_FILE=$dir/data/tokens/acme.token MUNIMENT_POLICY=$dir/data/policy
show "$muniment" append "$dir/evidence" --receipt-dir "$dir/receipts" --stream-key "$dir/data/streams/acme.key"

step "3. The same again is harmless: each piece of evidence is recorded once"
show "$muniment" append "$dir/evidence/bundle-provenance.json" --receipt-dir "$dir/receipts"

step "4. Everything recorded about an artifact"
digest=$(sed -n 's/.*"sha512": *"\([0-9a-f]*\)".*/\1/p' "$dir/evidence/statement-provenance-sigstorejs1.3.0.json" | head -n 1)
show "$muniment" trace "sha512:$digest"

step "5. From now on only the release workflow of sigstore-js may attest: a bundle with a changed signature is refused"
cat >"$dir/admission.yaml" <<'EOF'
version: 1
mode: enforce
signers:
  release workflow:
    identity_regexp: https://github\.com/sigstore/sigstore-js/\.github/workflows/release\.yml@refs/heads/main
    issuer: https://token.actions.githubusercontent.com
rules:
  - name: releases
    kinds: [attestation]
    signers: [release workflow]
EOF
show "$muniment" policy set "$dir/admission.yaml" --reason "only the release workflow attests"
sed 's/"sig": *"\(.\{12\}\)./"sig":"\1x/' "$dir/evidence/bundle-provenance.json" >"$dir/tampered.json"
if show "$muniment" append "$dir/tampered.json" --receipt-dir "$dir/receipts"; then
	echo "a tampered bundle was admitted: this is a bug" >&2
	exit 1
fi

step "6. Nothing unproven is deployed: an unsigned chart is blocked"
chart() { # NAME VERSION
	mkdir "$dir/$1"
	printf 'apiVersion: v2\nname: %s\nversion: %s\n' "$1" "$2" >"$dir/$1/Chart.yaml"
	tar -C "$dir" -czf "$dir/$1-$2.tgz" "$1"
}
chart gateway 1.7.0
wait "$builder" || { cat "$dir/cosign.log" >&2; exit 1; }
cosign=$(<"$dir/cosign.path")
typed[$cosign]=cosign
"$cosign" generate-key-pair --output-key-prefix "$dir/release" 2>/dev/null
keyid=$(openssl pkey -pubin -in "$dir/release.pub" -outform DER | openssl dgst -sha256 -r | cut -c-64)
cat >"$dir/controls.yaml" <<EOF
version: demo
stages: [deploy]
signers:
  release key: {keys: ["sha256:$keyid"]}
controls:
  - id: CHART-SIGNED
    title: Charts are signed by the release key
    severity: high
    applies_to: {types: [chart]}
    check: {require: [{name: provenance, predicate_types: ["https://slsa.dev/provenance/*"], signers: [release key]}]}
    modes: [{stage: deploy, mode: enforce}]
    exceptions: {max_days: 14, approvers: 1}
EOF
cat >"$dir/admission.yaml" <<EOF
version: 1
mode: enforce
signers:
  release key:
    require: {log_entries: 0}
    keys:
      - |
$(sed 's/^/        /' "$dir/release.pub")
rules:
  - {name: provenance, kinds: [attestation], signers: [release key]}
  - {name: decisions, kinds: [control, control-set, exception-request, exception-decision], unsigned: true}
EOF
show "$muniment" policy set "$dir/admission.yaml" --reason "only the release key attests charts"
show "$muniment" control apply "$dir/controls.yaml"
gate() { # CHART [FLAG...]
	show "$muniment" gate "$dir/$1" --stage deploy --environment production "${@:2}"
}
# fails EXIT WHAT COMMAND...: the command must fail with this exit code.
fails() {
	local code=0
	"${@:3}" || code=$?
	[ "$code" -eq "$1" ] || { echo "exit code $code: $2" >&2; exit 1; }
}
fails 1 "an unsigned chart was not blocked: this is a bug" gate gateway-1.7.0.tgz

step "7. cosign signs the chart: it passes, and cosign verifies the decision"
echo '{"buildDefinition":{"buildType":"https://example.com/build/v1","externalParameters":{"ref":"v1.7.0"}},"runDetails":{"builder":{"id":"https://example.com/ci"}}}' >"$dir/provenance.json"
echo '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}' >"$dir/signing-config.json" # no public log
show "$cosign" attest-blob --key "$dir/release.key" --signing-config "$dir/signing-config.json" --type slsaprovenance1 \
	--predicate "$dir/provenance.json" --bundle "$dir/gateway.sigstore.json" --yes "$dir/gateway-1.7.0.tgz" 2>"$dir/cosign.log" || { cat "$dir/cosign.log" >&2; exit 1; }
show "$muniment" append "$dir/gateway.sigstore.json" --receipt-dir "$dir/gate-receipts"
gate gateway-1.7.0.tgz --save "$dir/decision"
show "$cosign" verify-blob-attestation --key "$dir/data/gate.pub" --insecure-ignore-tlog --type https://slsa.dev/verification_summary/v1 \
	--bundle "$dir"/decision/vsa-*.json "$dir/gateway-1.7.0.tgz"

step "8. A chart that cannot be signed today: Kim requests an exception of 15 seconds, and only Ada can approve it"
chart legacy 2.0.0
token=$MUNIMENT_TOKEN_FILE
unset MUNIMENT_TOKEN_FILE # people sign in with their own identity
export MUNIMENT_TENANT=acme
show "$muniment" exception request EXC-1 --control CHART-SIGNED --glob 'legacy-*' --expires 15s --reason "the build host is replaced" --identity-token "$dir/kim.jwt"
ends=$((SECONDS + 16))
fails 1 "Kim approved her own exception: this is a bug" show "$muniment" exception approve EXC-1 --identity-token "$dir/kim-2.jwt"
show "$muniment" exception approve EXC-1 --identity-token "$dir/ada.jwt"
export MUNIMENT_TOKEN_FILE=$token
gate legacy-2.0.0.tgz
printf '%s... until the exception has ended ...%s\n' "$dim" "$off"
sleep "$((ends > SECONDS ? ends - SECONDS : 0))"
fails 1 "the exception counts after its end: this is a bug" gate legacy-2.0.0.tgz

step "9. Audit the whole log, and that the tenant's stream is complete, from what is public"
show "$muniment" audit "$MUNIMENT_SERVER" --state "$dir/audit.json" --stream-key "$dir/data/streams/acme.key"

step "10. One file for an auditor: the evidence about the chart, with the proof that nothing was left out"
show "$muniment" bundle create --subject "$dir/gateway-1.7.0.tgz" -o "$dir/gateway.bundle.tar" --stream-key "$dir/data/streams/acme.key"

step "11. Stop log and witness, and verify every receipt offline"
stop
receipts=("$dir"/receipts/*.receipt.json)
"$muniment" verify "${receipts[@]}" --tenant acme --kind attestation --stream-key "$dir/data/streams/acme.key" >"$dir/verified.txt"
count=$(grep -c '✓ VERIFIED' "$dir/verified.txt")
[ "$count" -eq "${#receipts[@]}" ]
echo "$count of ${#receipts[@]} receipts verified. One of them:"
show "$muniment" verify "$dir/receipts/bundle-provenance.json.receipt.json" --stream-key "$dir/data/streams/acme.key"

step "12. A machine without a network verifies the bundle, and decides from it as the log did"
alone=()
if unshare -rn true 2>/dev/null; then
	alone=(unshare -rn)
else
	echo "(this kernel does not permit unshare, so the network is not cut off)"
fi
show "${alone[@]}" "$muniment" bundle verify "$dir/gateway.bundle.tar" --stream-key "$dir/data/streams/acme.key"
show "${alone[@]}" "$muniment" gate "$dir/gateway-1.7.0.tgz" --stage deploy --environment production --bundle "$dir/gateway.bundle.tar" \
	--stream-key "$dir/data/streams/acme.key" --dry-run

step "13. Change one byte of a receipt, and it does not verify"
sed 's/"time":1/"time":2/' "$dir/receipts/bundle-provenance.json.receipt.json" >"$dir/forged.receipt.json"
if show "$muniment" verify "$dir/forged.receipt.json"; then
	echo "a forged receipt verified: this is a bug" >&2
	exit 1
fi

step "Done."
cat <<EOF
  $dir/receipts/    the receipts: they verify without this server
  $dir/data/policy  what verifiers need
  $dir/gateway.bundle.tar    everything about the chart, for an auditor: unpack it, and open index.html
  Next: docs/quickstart.md (your own evidence), docs/ci.md, docs/policy.md, docs/compliance.md, docs/tenant.md, docs/auditor.md, docs/operator.md
EOF
if [ "${KEEP:-}" = 1 ]; then
	start "$dir" witness "$muniment" witness --data "$dir/witness" --listen "$at"
	witness=$pid
	serve
	trap - EXIT
	disown "$server" "$witness"
	cat <<EOF

  Log and witness are up (KEEP=1). Open the portal, and sign in by pasting a token:

    ${MUNIMENT_SERVER}/portal/

    bin/demo token --data $dir/data ada    Ada leads compliance, and may approve. A token is for one sign-in
    cat $dir/data/tokens/initech.token     the tenant's first token, which is no person

  Is release 1.7.0 deployable? Why not? What is missing? Who may approve? What expires this week? docs/portal.md
  shows where to look. On the command line:

    export MUNIMENT_SERVER=$MUNIMENT_SERVER MUNIMENT_TOKEN_FILE=$PWD/$dir/data/tokens/initech.token
    bin/muniment finding burndown

  Stop them with: kill $server $witness
EOF
fi
