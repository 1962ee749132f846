# Records files, and what is attached to images and charts in registries.
set -eu
PATH=${MUNIMENT_BIN:-$HOME/.muniment-bin}:$PATH
receipts=${MUNIMENT_RECEIPTS:-receipts}
# GitLab's identity tokens can be exchanged once, so each command has its own.
token() { [ -z "$1" ] || export MUNIMENT_ID_TOKEN="$1"; }
set --
while IFS= read -r pattern; do
  [ -n "$pattern" ] || continue
  before=$#
  if [ -e "$pattern" ]; then
    set -- "$@" "$pattern"
  else
    IFS=
    for file in $pattern; do # a glob, which is not split
      [ ! -e "$file" ] || set -- "$@" "$file"
    done
  fi
  if [ $# = "$before" ]; then
    printf 'no file matches %s\n' "$pattern" >&2
    exit 1
  fi
done <<END
${MUNIMENT_FILES:-}
END
if [ $# != 0 ]; then
  token "${MUNIMENT_ID_TOKEN_1:-}"
  muniment append --receipt-dir "$receipts" -- "$@"
fi
set --
while IFS= read -r reference; do
  [ -z "$reference" ] || set -- "$@" "$reference"
done <<END
${MUNIMENT_FROM_OCI:-}
END
if [ $# != 0 ]; then
  token "${MUNIMENT_ID_TOKEN_2:-}"
  muniment append --from-oci --receipt-dir "$receipts" -- "$@"
fi
