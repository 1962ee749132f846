#!/bin/sh
# Helm runs this with the rendered manifests on standard input, and applies what
# it prints. Values of --post-renderer-args become flags of 'muniment gate'.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/manifests"
[ -z "${MUNIMENT_ENVIRONMENT:-}" ] || set -- --environment "$MUNIMENT_ENVIRONMENT" "$@"
if "${MUNIMENT_PROGRAM:-muniment}" gate --manifest - --stage "${MUNIMENT_STAGE:-deploy}" "$@" <"$work/manifests" >"$work/answer" 2>&1; then
	cat "$work/manifests"
	exit 0
fi
# Helm discards the standard error of post-renderers, so the reasons go to a
# file, to Helm's own standard error, or to the terminal.
for place in "${MUNIMENT_GATE_REPORT:-}" "/proc/$PPID/fd/2" /dev/tty; do
	[ -n "$place" ] || continue
	if { cat "$work/answer" >>"$place"; } 2>/dev/null; then break; fi
done
cat "$work/answer" >&2
exit 1
