# Sourced by the scripts that run servers: deploy/demo.sh and deploy/release/release.sh.

running=() # processes that run until stop ends them

# start FOLDER NAME COMMAND...: starts a server, and waits until it listens. Sets pid,
# and url, which is where it listens. Its output is in NAME.out and NAME.log of FOLDER.
start() {
	local out=$1/$2.out log=$1/$2.log name=$2
	shift 2
	: >"$out"
	"$@" >"$out" 2>>"$log" &
	pid=$!
	running+=("$pid")
	for _ in $(seq 6000); do
		url=$(sed -n 's/^.*listening on \(http[^ ]*\).*$/\1/p' "$out" | head -n 1)
		[ -z "$url" ] || return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	echo "$name did not start:" >&2
	cat "$log" >&2
	exit 1
}

# stop: ends what start has started, the last first.
stop() {
	local i
	for ((i = ${#running[@]} - 1; i >= 0; i--)); do
		kill "${running[i]}" 2>/dev/null || true
		wait "${running[i]}" 2>/dev/null || true
	done
	running=()
}
