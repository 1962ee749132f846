# Sourced by the scripts that run servers: the demos and deploy/release/release.sh.

bold=$'\e[1m'; dim=$'\e[2m'; off=$'\e[0m'
[ -t 1 ] || { bold=; dim=; off=; }
# step TEXT: prints a heading.
step() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }

# typed: names of programs as one types them, by their paths. show COMMAND...: prints the
# command as one would type it, and runs it.
declare -A typed=()
show() {
	local arg line=
	for arg; do
		[[ $arg != *[' *']* ]] || arg="'$arg'"
		line+=" ${typed[$arg]:-$arg}"
	done
	printf '%s$%s%s\n' "$dim" "$line" "$off"
	"$@"
}

# working_folder DIR: makes the folder anew, unless it is not one of a demo.
working_folder() {
	if [ -e "$1" ] && [ ! -e "$1/.muniment-demo" ]; then
		echo "$1 exists and was not made by the demo: set DEMO_DIR to another folder" >&2
		exit 2
	fi
	rm -rf "$1" && mkdir -p "$1" && touch "$1/.muniment-demo"
}

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
