# Makes the files that the quickstarts of the SDKs need, in the current folder:
# those of the operator, a CI job and the exporter. Leaves a ledger running.
# Source it with muniment on the path, the repository's folder in ROOT, and the
# folder of sigstore-go in SIGSTORE_GO.
set -eu
ip link set lo up
muniment init data --origin ledger.example.com --tenant acme
exec 3< <(exec muniment serve --data data 2>&1)
ledger=$!
trap 'kill $ledger' EXIT
until [[ ${line-} == "listening on"* ]]; do read -r line <&3; done
cat <&3 >serve.log &
cp data/policy policy; cp data/streams/acme.key acme.key; cp data/tokens/acme.token acme.token
cp "$SIGSTORE_GO/examples/bundle-provenance.json" provenance.sigstore.json
export MUNIMENT_TOKEN_FILE=$PWD/acme.token
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out exporter.key
openssl pkey -in exporter.key -pubout -out exporter.pub
mkdir -p staging/assets
printf 'id,score\n1,0.5\n2,0.25\n' >staging/assets/part-0000.csv
printf '{"fields":["id","score"]}' >staging/schema.json
awk '/^```/ { on = $0 == "```json" && ++n == 1; next } on' "$ROOT/docs/export-manifests.md" >description.json
# The commands are those of docs/export-manifests.md.
muniment export-manifest create staging --description description.json --license CC0-1.0 \
  --claimed-by exporter.pub --spent-before 0 -o nov.statement.json
muniment export-manifest sign nov.statement.json --key exporter.key
muniment export-manifest release nov.export.sigstore.json --files staging --to november \
  --key exporter.pub --policy policy --stream-key acme.key
muniment bundle create --since 2020-01-01 -o stream.bundle.tar
rm -r exporter.key staging description.json nov.*
unset MUNIMENT_TOKEN_FILE
set +eu
exec 2>&1
printf 'ready\n'
