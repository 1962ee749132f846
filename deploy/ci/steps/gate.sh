# Asks the gate, and writes the answer as SARIF and JUnit. Without a stage there
# is no question; with a stage and without subjects the gate fails.
set -eu
PATH=${MUNIMENT_BIN:-$HOME/.muniment-bin}:$PATH
reports=${MUNIMENT_REPORTS:-muniment-reports}
# GitLab's identity tokens can be exchanged once, so each command has its own.
token() { [ -z "$1" ] || export MUNIMENT_ID_TOKEN="$1"; }
if [ -z "${MUNIMENT_STAGE:-}" ]; then
  echo 'no stage: the gate is not asked'
else
  set -- --stage "$MUNIMENT_STAGE"
  [ -z "${MUNIMENT_ENVIRONMENT:-}" ] || set -- "$@" --environment "$MUNIMENT_ENVIRONMENT"
  while IFS= read -r file; do
    [ -z "$file" ] || set -- "$@" "--manifest=$file"
  done <<END
${MUNIMENT_MANIFESTS:-}
END
  set -- "$@" --
  while IFS= read -r subject; do
    [ -n "$subject" ] || continue
    before=$#
    if [ ! -e "$subject" ]; then
      IFS=
      for file in $subject; do # a glob, which is not split
        [ ! -e "$file" ] || set -- "$@" "$file"
      done
    fi
    [ $# != "$before" ] || set -- "$@" "$subject"
  done <<END
${MUNIMENT_SUBJECTS:-}
END
  mkdir -p "$reports"
  rm -f "$reports/gate.sarif" "$reports/gate.xml"
  token "${MUNIMENT_ID_TOKEN_3:-}"
  muniment gate --dry-run --format sarif "$@" >"$reports/gate.sarif" || [ -s "$reports/gate.sarif" ] || rm "$reports/gate.sarif"
  token "${MUNIMENT_ID_TOKEN_4:-}"
  muniment gate --dry-run --format junit "$@" >"$reports/gate.xml" || [ -s "$reports/gate.xml" ] || rm "$reports/gate.xml"
  [ -z "${GITHUB_OUTPUT:-}" ] || [ ! -e "$reports/gate.sarif" ] || echo sarif=written >>"$GITHUB_OUTPUT"
  token "${MUNIMENT_ID_TOKEN_5:-}"
  muniment gate "$@"
fi
