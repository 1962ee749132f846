#!/usr/bin/env bash
# Builds the artifacts of a release from the source in the current folder. Two
# builds of a commit give the same bytes, wherever they run.
#
#   build.sh OUT VERSION REVISION SYSTEM...
#
# A SYSTEM is linux/amd64, for example. SOURCE_DATE_EPOCH is the commit's time.
# PEERS has nfpm, PYTHON has the module build, and RELEASE is this folder's
# program. NODE_MODULES is what npm has installed for the same lock file, or
# empty. It prints the digest of the image.
set -euo pipefail
out=$(realpath "$1") version=$2 revision=$3
shift 3
: "${SOURCE_DATE_EPOCH:?}" "${PEERS:?}" "${PYTHON:?}" "${RELEASE:?}"
export SOURCE_DATE_EPOCH CGO_ENABLED=0
builds=$PWD/bin/release
mkdir -p "$builds"
number=${version#v}

# The programs. -buildvcs=false: the version says which commit it is, and the
# source of a release is not always a repository.
build() { # FOLDER SYSTEM PACKAGE FLAGS...
	GOOS=${2%/*} GOARCH=${2#*/} go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= ${4-}" -o "$1" "$3"
}
for system; do
	folder=$builds/${system/\//_} suffix=
	[ "${system%/*}" != windows ] || suffix=.exe
	echo "building muniment for $system" >&2
	build "$folder/muniment$suffix" "$system" ./cmd/muniment "-X main.version=$version"
	case $system in
	windows/*) archive=muniment_${number}_${system/\//_}.zip ;;
	*) archive=muniment_${number}_${system/\//_}.tar.gz ;;
	esac
	"$RELEASE" archive "$out/$archive" "$folder/muniment$suffix" LICENSE README.md CHANGELOG.md
done

# Packages of Linux systems, and the image.
go build -trimpath -o "$builds/native" ./cmd/muniment
"$builds/native" completion bash | sed "s|$builds/native|/usr/bin/muniment|" >"$builds/completion.bash"
sed 's|/usr/local/bin/|/usr/bin/|' deploy/muniment.service >"$builds/muniment.service"
echo 'u muniment - "Muniment evidence ledger" /var/lib/muniment' >"$builds/sysusers.conf"
arches=()
for system; do
	[ "${system%/*}" = linux ] || continue
	arch=${system#*/}
	arches+=(--arch "$arch")
	# Packages contain the times of their files.
	touch -d "@$SOURCE_DATE_EPOCH" "$builds"/* "$builds/linux_$arch/muniment"
	for packager in deb rpm; do
		VERSION=$version ARCH=$arch BUILDS=$builds \
			"$PEERS/nfpm" package -f deploy/release/nfpm.yaml -p "$packager" -t "$out/muniment_${number}_linux_$arch.$packager" >&2
	done
	mkdir -p "$builds/image/$arch"
	cp "$builds/linux_$arch/muniment" "$builds/image/$arch/"
	(cd deploy/release/tools && build "$builds/image/$arch/cat" "$system" github.com/u-root/u-root/cmds/core/cat)
done
"$RELEASE" image "$out/muniment_${number}_image.tar" "$builds/image" "${arches[@]}" --version "$version" --revision "$revision"

# The chart.
"$PEERS/helm" package deploy/helm --version "$number" --app-version "$number" --destination "$out" >&2

# The SDKs.
if [ -n "${NODE_MODULES:-}" ]; then
	cp -al "$NODE_MODULES" clients/ts/node_modules 2>/dev/null ||
		{ rm -rf clients/ts/node_modules && cp -a "$NODE_MODULES" clients/ts/node_modules; } # another file system
else
	(cd clients/ts && npm ci --silent)
fi
(cd clients/ts && npm run --silent build && npm pack --silent --workspace packages/verify --workspace packages/client --pack-destination "$out" >&2)
(cd clients/python && "$PYTHON" -m build --no-isolation --outdir "$out" . >&2)
