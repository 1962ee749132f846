#!/usr/bin/env bash
# The demo of several servers on one log: a PostgreSQL with a synchronous standby, and three
# servers, one of which records what all are asked to record. That one is killed, and another
# takes over. KEEP=1 leaves everything running. DEMO_DIR is the working folder (default:
# demo-scale-out-data), which each run replaces.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/start.sh
dir=${DEMO_DIR:-demo-scale-out-data}
muniment=$PWD/bin/muniment
typed=(["$muniment"]=muniment)
working_folder "$dir"
trap stop EXIT

step "1. A database with a synchronous standby, and a log in it"
.ci/peers postgres
: >"$dir/database.out"
bin/database >"$dir/database.out" 2>"$dir/database.log" &
running+=("$!")
until store=$(sed -n 's/^listening on //p' "$dir/database.out") && [ -n "$store" ]; do
	kill -0 "${running[0]}" 2>/dev/null || { cat "$dir/database.log" >&2; exit 1; }
	sleep 0.05
done
show "$muniment" init "$dir/one" --origin demo.muniment.example --tenant acme
read -r -a ports < <(python3 - <<'EOF'
import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
EOF
)
urls=("${ports[@]/#/http://127.0.0.1:}")
printf 'store: %s\nservers: {urls: [%s, %s, %s]}\n' "$store" "${urls[@]}" | tee -a "$dir/one/muniment.yaml"
cp -r "$dir/one" "$dir/two"
cp -r "$dir/one" "$dir/three"

step "2. Three servers, each with a copy of the folder"
names=(one two three)
pids=()
for i in 0 1 2; do
	start "$dir" "${names[i]}" "$muniment" serve --data "$dir/${names[i]}" --listen "127.0.0.1:${ports[i]}"
	pids+=("$pid")
	printf '%s at %s\n' "${names[i]}" "$url"
done
# writer: sets writer to the place of the server that records, other than $1.
writer() {
	writer=
	until [ -n "$writer" ]; do
		for i in 0 1 2; do
			[ "$i" = "${1:-}" ] || ! grep -q 'this server records' "$dir/${names[i]}.log" || writer=$i
		done
		sleep 0.05
	done
}
writer
printf '%s records; the others forward to it what they are asked to record\n' "${names[writer]}"

step "3. Evidence through each of them, and receipts that verify offline"
export MUNIMENT_TOKEN_FILE=$dir/one/tokens/acme.token
for i in 0 1 2; do
	echo "evidence $i" >"$dir/evidence-$i.txt"
	show "$muniment" append "$dir/evidence-$i.txt" --media-type text/plain --receipt-dir "$dir/receipts" --server "${urls[i]}"
done

step "4. ${names[writer]} is killed: another one takes over, and nothing is lost"
killed=$writer rest=$(((writer + 1) % 3))
{ kill -9 "${pids[killed]}" && wait "${pids[killed]}" || true; } 2>/dev/null
began=$(date +%s%N)
echo "evidence 3" >"$dir/evidence-3.txt"
until "$muniment" append "$dir/evidence-3.txt" --media-type text/plain --receipt-dir "$dir/receipts" --server "${urls[rest]}" >"$dir/append.out" 2>&1; do
	sleep 0.05
done
printf 'recorded again after %d ms\n' $((($(date +%s%N) - began) / 1000000))
writer "$killed"
printf '%s records now\n' "${names[writer]}"
show "$muniment" verify "$dir"/receipts/*.json --policy "$dir/one/policy"
count=$("$muniment" list --kind attestation --json --server "${urls[rest]}" | grep -c '"index"')
[ "$count" = 4 ] || { echo "the log has $count of 4 entries: this is a bug" >&2; exit 1; }

step "5. The killed server comes back, and serves what it has missed"
start "$dir" again "$muniment" serve --data "$dir/${names[killed]}" --listen "127.0.0.1:${ports[killed]}"
show "$muniment" audit "$url" --policy "$dir/one/policy"

printf '\n%sNext%s\n  read docs/scale-out.md\n' "$bold" "$off"
if [ "${KEEP:-}" = 1 ]; then
	printf '  the servers are %s, %s and %s; press Ctrl-C to stop them\n' "${urls[@]}"
	wait
fi
