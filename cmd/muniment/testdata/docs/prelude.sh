# What the runner puts before a page's commands.
set -u
exec 2>&1
ip link set lo up
mount --make-rprivate /
for dir in /var/lib /mnt /srv; do mount -t tmpfs none $dir; done
export HOME=$PWD/home LC_ALL=C.UTF-8
mkdir -p $HOME
# await waits until the server that was started last listens. Its log is $1.
await() {
	for i in $(seq 1200); do
		grep -sv '^Rekor' $1 | grep -Eq 'listening on|"server":"(api|witness|mirror|monitor)"' && return 0
		kill -0 $! 2>/dev/null || break
		sleep 0.1
	done
	cat $1
	return 1
}
# stop interrupts a server and waits for its end. What the runner has started
# is a shell, which ignores interrupts, with the server as its child.
stop() {
	[ -n "${1-}" ] || return 0
	kill -INT $(cat /proc/$1/task/*/children) $1 2>/dev/null
	wait $1
}

# certify makes tls.crt for the names and makes all programs trust it.
certify() {
	local names=DNS:localhost name
	for name; do names=$names,DNS:$name; done
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=test \
		-addext "subjectAltName=$names" 2>/dev/null
	export SSL_CERT_FILE=$PWD/tls.crt CURL_CA_BUNDLE=$PWD/tls.crt
}

# tls makes the server or witness of a configuration file use tls.crt.
tls() { printf 'tls: {cert: %s, key: %s}\n' $PWD/tls.crt $PWD/tls.key >>$1; }

# block prints the page's Nth block of a language.
block() { awk -v lang=$1 -v n=$2 '/^```/ { on = $0 == "```" lang && ++i == n; next } on' "$PAGE"; }
