#!/usr/bin/env bash
# Makes a release of a commit: builds it twice in different folders and compares,
# generates SBOMs, signs with cosign, and records and gates all of it in a ledger.
#
#   release.sh OUT [VERSION]
#
#   SYSTEMS   what to build for (default: linux, darwin and windows, amd64 and arm64)
#   SIGSTORE  local (default): signs with a private Sigstore that lives as long as the
#             run, and records in a ledger that is made for the release.
#             public: signs with the public one, as the CI job that runs this, and
#             records in the ledger MUNIMENT_SERVER, whose trust policy and public key
#             are the files MUNIMENT_POLICY and GATE_KEY (see CONTRIBUTING.md).
#   WARM=1    lets the builds use what was compiled and installed before: Go's cache,
#             and clients/ts/node_modules if it is there
#
# Both forms run the same commands. They differ in the URLs of the services.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/start.sh
repo=$PWD
[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'; exit 2; }
revision=$(git rev-parse HEAD)
out=$(realpath -m "$1") version=${2:-v0.1.0-dev.g${revision:0:12}}
read -ra systems <<<"${SYSTEMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}"
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || { echo "release: $version is not a version: use v1.2.3 or v1.2.3-rc.1" >&2; exit 2; }
if [ -e "$out" ] && [ -n "$(ls -A "$out")" ]; then
	echo "release: $out is not empty: name a new folder" >&2
	exit 2
fi
[ -z "$(git status --porcelain)" ] || echo "release: uncommitted changes are not in this release" >&2
repository=muniment/muniment
source=git+https://github.com/$repository
identity=https://github.com/$repository/.github/workflows/release.yml@refs/heads/main
case ${SIGSTORE:-local} in
local) unset "${!MUNIMENT_@}" ;; # settings of the user's shell
public)
	issuer=https://token.actions.githubusercontent.com
	[ "https://github.com/${GITHUB_WORKFLOW_REF:-}" = "$identity" ] ||
		{ echo "release: this job is not $identity, as which releases are signed: run that workflow" >&2; exit 2; }
	for name in MUNIMENT_SERVER MUNIMENT_POLICY GATE_KEY; do
		[ -n "${!name:-}" ] || { echo "release: SIGSTORE=public needs $name" >&2; exit 2; }
	done
	MUNIMENT_POLICY=$(realpath -e "$MUNIMENT_POLICY") GATE_KEY=$(realpath -e "$GATE_KEY")
	;;
*)
	echo "release: SIGSTORE=$SIGSTORE: must be local or public" >&2
	exit 2
	;;
esac
started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
SOURCE_DATE_EPOCH=$(git show -s --format=%ct "$revision")
export SOURCE_DATE_EPOCH

step() { printf '\n== %s\n' "$*"; }
work=$(mktemp -d)
finish() {
	stop
	chmod -R u+w "$work" && rm -rf "$work"
}
trap finish EXIT

step "What the release needs"
.ci/peers cosign nfpm helm cyclonedx-gomod cyclonedx-py
[ "${SIGSTORE:-local}" = public ] || .ci/peers fulcio timestamp-server rekor-server
export PEERS=$PWD/.cache/peers
go build -trimpath -o "$work/release" ./deploy/release
go build -trimpath -o "$work/sigstore" ./internal/peers/sigstore
export RELEASE=$work/release
if [ ! -e .cache/release-python/ok ]; then
	"${PYTHON:-python3}" -m venv .cache/release-python
	.cache/release-python/bin/pip install --quiet --disable-pip-version-check build==1.3.0 hatchling==1.27.0
	touch .cache/release-python/ok
fi
export PYTHON=$PWD/.cache/release-python/bin/python

tools=go=$(go env GOVERSION),node=$(node --version),npm=$(npm --version),python=$("$PYTHON" -c 'import platform; print(platform.python_version())')

modules=
[ -z "${WARM:-}" ] || [ ! -e clients/ts/node_modules/.installed ] || modules=$repo/clients/ts/node_modules
mkdir -p "$out"
for build in first second; do
	step "The $build build, of ${revision:0:12} for ${systems[*]}"
	folder=$work/$build/muniment
	[ $build = first ] || folder=$work/$build/another-folder/muniment
	mkdir -p "$folder" "$work/$build/out"
	git archive "$revision" | tar -x -C "$folder"
	cache=$(go env GOCACHE)
	[ $build = first ] || [ -n "${WARM:-}" ] || cache=$work/$build/cache
	(cd "$folder" && GOCACHE=$cache NODE_MODULES=$modules deploy/release/build.sh "$work/$build/out" "$version" "$revision" "${systems[@]}") >"$work/$build/image"
	(cd "$work/$build/out" && LC_ALL=C sha256sum -- *) >"$work/$build/SHA256SUMS"
done
diff "$work/first/SHA256SUMS" "$work/second/SHA256SUMS" || { echo "release: the two builds differ" >&2; exit 1; }
echo "both builds have the same $(wc -l <"$work/first/SHA256SUMS") files"
image=muniment@$(cat "$work/first/image")
cp "$work/first/out/"* "$out/"
cd "$out"
artifacts=(*)

step "SBOMs, from the programs, and from environments with the npm packages and the wheel"
src=$work/first/muniment
for system in "${systems[@]}"; do
	binary=$(ls "$src/bin/release/${system/\//_}/"*)
	"$PEERS/cyclonedx-gomod" bin -json -std -noserial -version "$version" -output "muniment_${version#v}_${system/\//_}.cdx.json" "$binary" 2>"$work/sbom.log" ||
		{ cat "$work/sbom.log" >&2; exit 1; }
done
# npm omits a package from the SBOM of a workspace if development needs it, too,
# so each package is installed as its users do.
for name in verify client; do
	packages=(muniment-verify-*.tgz)
	[ $name = verify ] || packages+=(muniment-client-*.tgz)
	mkdir "$work/npm-$name"
	printf '{"name": "muniment-%s-npm", "version": "%s", "private": true}\n' "$name" "${version#v}" >"$work/npm-$name/package.json"
	(cd "$work/npm-$name" && npm install --silent --no-audit --no-fund --ignore-scripts "${packages[@]/#/$out/}" && npm sbom --sbom-format=cyclonedx) >"muniment-$name-npm.cdx.json"
done
python3 -m venv "$work/wheel" && "$work/wheel/bin/pip" install --quiet --disable-pip-version-check ./*.whl
"$PEERS/cyclonedx-py" environment --output-reproducible --pyproject "$src/clients/python/pyproject.toml" -o muniment-python.cdx.json "$work/wheel/bin/python" 2>"$work/sbom.log" ||
	{ cat "$work/sbom.log" >&2; exit 1; }
sboms=(*.cdx.json)

step "Checksums and provenance"
LC_ALL=C sha256sum -- "${artifacts[@]}" "${sboms[@]}" >SHA256SUMS
systems_flags=() && for system in "${systems[@]}"; do systems_flags+=(--systems "$system"); done
"$RELEASE" provenance "${artifacts[@]}" "$image" --version "$version" --source "$source" --revision "$revision" --builder "$identity" \
	"${systems_flags[@]}" --tools "$tools" --started "$started" >"$work/provenance.json"

step "Signatures"
mkdir trust
export TUF_ROOT=$work/tuf COSIGN_YES=true
quietly() { "$@" >"$work/cosign.log" 2>&1 || { cat "$work/cosign.log" >&2; exit 1; }; }
cosign=$PEERS/cosign root=()
if [ "${SIGSTORE:-local}" = local ]; then
	mkdir "$work/rig"
	start "$work" sigstore env -C "$repo" "$work/sigstore" "$work/rig" "$repository"
	. "$work/rig/environment"
	quietly "$cosign" initialize --mirror "$MIRROR" --root "$ROOT"
	cp "$work/rig/trusted-root.json" trust/
	issuer=$(cat "$work/rig/issuer")
	root=(--trusted-root trust/trusted-root.json --insecure-ignore-sct) # the private Sigstore has no log of certificates
fi
for f in "${artifacts[@]}" SHA256SUMS; do
	quietly "$cosign" sign-blob --bundle "$f.sigstore.json" "$f"
done
quietly "$cosign" attest-blob --statement "$work/provenance.json" --bundle provenance.sigstore.json
describe() { # SBOM FILE...: attests that the SBOM describes the files
	local sbom=$1
	shift
	"$RELEASE" statement --type https://cyclonedx.org/bom --predicate "$sbom" "$@" >"$work/statement.json"
	quietly "$cosign" attest-blob --statement "$work/statement.json" --bundle "${sbom%.json}.sigstore.json"
}
for system in "${systems[@]}"; do
	files=(muniment_*_"${system/\//_}".{tar.gz,zip,deb,rpm}) && described=()
	for f in "${files[@]}"; do [ ! -e "$f" ] || described+=("$f"); done
	[ "${system%/*}" != linux ] || described+=(muniment_*_image.tar "$image")
	describe "muniment_${version#v}_${system/\//_}.cdx.json" "${described[@]}"
done
for sbom in muniment-*-npm.cdx.json; do
	describe "$sbom" "${sbom%-npm.cdx.json}"-*.tgz
done
describe muniment-python.cdx.json ./*.whl muniment-*.tar.gz
echo "$(ls ./*.sigstore.json | wc -l) bundles, signed as $identity"

step "The ledger: record, and ask the gate"
muniment=$src/bin/release/native
if [ "${SIGSTORE:-local}" = local ]; then
	"$muniment" init "$work/ledger" --origin release.muniment.dev --tenant muniment >/dev/null
	"$muniment" trusted-root update --data "$work/ledger" --name release --from trust/trusted-root.json >/dev/null
	start "$work" ledger "$muniment" serve --data "$work/ledger" --listen 127.0.0.1:0
	export MUNIMENT_SERVER=$url MUNIMENT_TOKEN_FILE=$work/ledger/tokens/muniment.token
	MUNIMENT_POLICY=$work/ledger/policy GATE_KEY=$work/ledger/gate.pub
	for f in admission controls; do
		sed "s|ISSUER|$issuer|; s|IDENTITY|$identity|; s|, TRUST|, trusted_root: release, require: {scts: 0}|" "$src/deploy/release/$f.yaml" >"$work/$f.yaml"
	done
	"$muniment" policy set "$work/admission.yaml" --reason 'releases are signed by the release workflow'
	"$muniment" control apply "$work/controls.yaml"
fi
cp "$MUNIMENT_POLICY" trust/policy
cp "$GATE_KEY" trust/gate.pub
"$muniment" append ./*.sigstore.json --receipt-dir receipts --policy trust/policy
for f in "${artifacts[@]}"; do
	"$muniment" gate "$f" --stage release --save "decisions/$f" | head -n 1
done
"$muniment" gate "${image#*@}" --type image --name muniment --stage release --save decisions/image | head -n 1

step "Verified as a user would"
who=(--certificate-identity "$identity" --certificate-oidc-issuer "$issuer")
quietly "$cosign" verify-blob --bundle SHA256SUMS.sigstore.json "${root[@]}" "${who[@]}" SHA256SUMS
sha256sum --quiet --check SHA256SUMS
for f in "${artifacts[@]}"; do
	quietly "$cosign" verify-blob-attestation --bundle provenance.sigstore.json --type slsaprovenance1 "${root[@]}" "${who[@]}" "$f"
done
"$muniment" verify receipts/*.receipt.json --policy trust/policy >"$work/verify.log" || { cat "$work/verify.log"; exit 1; }
cat >trust/identity <<EOF
identity $identity
issuer   $issuer
image    $image
EOF
[ "${SIGSTORE:-local}" = public ] || echo "The private Sigstore and the ledger of this release end now; trust/ has what verifies it offline."
echo
echo "Release $version is in $out:"
ls -l --block-size=K | awk 'NF > 8 { printf "%10s  %s\n", $5, $9 }'
echo "docs/verify-release.md describes how to check each file."
