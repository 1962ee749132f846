#!/bin/sh
# Helm runs this with a client certificate, its key, the authorities of the
# repository, and the address. What it prints is the chart.
set -eu
cert=$1 key=$2 ca=$3 address=$4

# Credentials of 'helm registry login', unless docker has its own.
if [ -z "${DOCKER_CONFIG:-}" ] && [ -f "${HELM_REGISTRY_CONFIG:-}" ]; then
	DOCKER_CONFIG=$(dirname "$HELM_REGISTRY_CONFIG")
	export DOCKER_CONFIG
fi
# Credentials of 'helm repo add', or of --username and --password.
MUNIMENT_CHART_USERNAME=${HELM_PLUGIN_USERNAME:-} MUNIMENT_CHART_PASSWORD=${HELM_PLUGIN_PASSWORD:-}
export MUNIMENT_CHART_USERNAME MUNIMENT_CHART_PASSWORD
MUNIMENT_STAGE=${MUNIMENT_STAGE:-deploy}
export MUNIMENT_STAGE

set --
[ -z "$cert" ] || set -- "$@" --chart-cert "$cert"
[ -z "$key" ] || set -- "$@" --chart-key "$key"
[ -z "$ca" ] || set -- "$@" --chart-ca "$ca"
[ "${HELM_PLUGIN_PASS_CREDENTIALS_ALL:-}" != true ] || set -- "$@" --pass-credentials
exec "${MUNIMENT_PROGRAM:-muniment}" fetch-chart "$@" -- "$address"
