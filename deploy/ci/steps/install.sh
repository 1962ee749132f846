# Provides the program: from PATH, by download, or by go install.
set -eu
bin=${MUNIMENT_BIN:-$HOME/.muniment-bin}
if [ -n "${MUNIMENT_URL:-}" ]; then
  if ! printf '%s' "${MUNIMENT_SHA256:-}" | tr '\n' '!' | grep -Eq '^[0-9a-f]{64}$'; then
    echo 'no checksum: the download needs the SHA-256 of the program, 64 hexadecimal digits' >&2
    exit 2
  fi
  mkdir -p "$bin"
  curl --fail --silent --show-error --location --proto '=https' --retry 3 --output "$bin/download" -- "$MUNIMENT_URL"
  if ! printf '%s  %s\n' "$MUNIMENT_SHA256" "$bin/download" | sha256sum -c - >/dev/null; then
    rm -f "$bin/download"
    echo 'the download has another SHA-256 than specified' >&2
    exit 1
  fi
  chmod 0755 "$bin/download"
  mv "$bin/download" "$bin/muniment"
elif [ -n "${MUNIMENT_VERSION:-}" ]; then
  mkdir -p "$bin"
  GOBIN=$(cd "$bin" && pwd) go install "muniment.dev/muniment/cmd/muniment@$MUNIMENT_VERSION"
else
  rm -f "$bin/muniment" # which another job has left there
fi
PATH=$bin:$PATH
[ -z "${GITHUB_PATH:-}" ] || printf '%s\n' "$bin" >>"$GITHUB_PATH"
muniment version
