#!/bin/sh
# Makes the user of the service. The service starts only when an operator
# enables it, after muniment init has made a log.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers muniment.conf
elif ! getent passwd muniment >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/muniment --shell /usr/sbin/nologin muniment
fi
