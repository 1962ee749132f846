#!/usr/bin/env bash
# The demo of online backfills: an integer column that is about to overflow, in a table of
# 400,000 assets under load, on a real PostgreSQL.
#
# A wrong transformation is stopped by the first checkpoint and rolled back. The right one is
# copied, validated, rehearsed, cut over, rolled back, cut over again and finished. Each step is
# an entry of a ledger. KEEP=1 leaves the database and the ledger running. DEMO_DIR is the working
# folder (default: demo-backfill-data), which each run replaces. ROWS is the size of the table.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/start.sh
dir=${DEMO_DIR:-demo-backfill-data}
muniment=$PWD/bin/muniment conductor=$PWD/bin/conductor
rows=${ROWS:-400000}
typed=(["$muniment"]=muniment ["$conductor"]=conductor)
# refused COMMAND...: as show, for a command that must answer no.
refused() {
	local code=0
	show "$@" || code=$?
	[ "$code" = 1 ] || { echo "exit code $code instead of 1: this is a bug" >&2; exit 1; }
}

working_folder "$dir"
.ci/peers postgres
pgbin=$(pg_config --bindir 2>/dev/null || dirname "$(readlink -f .cache/peers/postgres)")
cluster=$(mktemp -d "${TMPDIR:-/tmp}/muniment-demo.XXXXXX")
as=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses root
	chown postgres "$cluster"
	as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
finish() {
	stop
	"${as[@]}" "$pgbin/pg_ctl" -D "$cluster/data" -m immediate stop >/dev/null 2>&1 || true
	rm -rf "$cluster"
}
trap finish EXIT

step "1. A ledger, with the rules of cutover in force, and a token for the conductor"
show "$muniment" init "$dir/data" --origin demo.muniment.example --tenant acme
start "$dir" server "$muniment" serve --data "$dir/data" --listen 127.0.0.1:0
export MUNIMENT_SERVER=$url MUNIMENT_TOKEN_FILE=$dir/data/tokens/acme.token MUNIMENT_POLICY=$dir/data/policy
show "$muniment" control init --template backfill -o "$dir/controls.yaml"
show "$muniment" control apply "$dir/controls.yaml"
show "$muniment" token issue conductor --role appender -o "$dir/conductor.token"

step "2. A PostgreSQL with $rows assets, under load"
(cd "$cluster" && "${as[@]}" "$pgbin/initdb" -D "$cluster/data" -U postgres -A trust --no-sync >/dev/null)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >>"$cluster/data/postgresql.conf" <<EOF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$cluster'
fsync = off
full_page_writes = off
shared_preload_libraries = 'pg_stat_statements'
max_wal_size = 4GB
EOF
(cd "$cluster" && "${as[@]}" "$pgbin/pg_ctl" -D "$cluster/data" -l "$cluster/log" -w start >/dev/null)
psql() { "$pgbin/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U "${USER_OF_DB:-postgres}" "$@"; }
psql -d postgres <<EOF
CREATE ROLE app LOGIN;
CREATE ROLE conductor LOGIN SUPERUSER REPLICATION;
CREATE DATABASE assets OWNER app;
\c assets
CREATE EXTENSION pg_stat_statements;
SET ROLE app;
CREATE TABLE asset (id bigint PRIMARY KEY, name text NOT NULL, bytes integer CHECK (bytes >= 0), updated timestamptz NOT NULL DEFAULT now());
CREATE INDEX asset_bytes ON asset (bytes);
INSERT INTO asset SELECT i, 'asset ' || i, i % 5000 * 400000 FROM generate_series(1, $rows) AS i;
ANALYZE asset;
EOF
cat >"$dir/load.sql" <<EOF
\\set id random(1, $rows)
\\set bytes random(0, 2000000000)
UPDATE asset SET bytes = :bytes, updated = now() WHERE id = :id;
SELECT name, bytes FROM asset WHERE id = :id;
SELECT name FROM asset WHERE id = :id - 1;
SELECT name FROM asset WHERE id = :id + 1;
SELECT name FROM asset WHERE id = :id - 2;
SELECT name FROM asset WHERE id = :id + 2;
INSERT INTO asset (id, name, bytes) SELECT max(id) + 1, 'new', :bytes FROM asset ON CONFLICT DO NOTHING;
EOF
"$pgbin/pgbench" -n -h 127.0.0.1 -p "$port" -U app -f "$dir/load.sql" -R 100 -c 4 -T 600 assets >"$dir/load.log" 2>&1 &
running+=("$!")
export ASSETS_DSN="postgres://conductor@127.0.0.1:$port/assets"

# One of nine checks may fail: on a busy machine, the copy makes statements wait for locks. A failed
# data check blocks at any score.
job() { # FILE NAME UP
	cat >"$dir/$1" <<EOF
version: 1
name: $2
entity: Asset
database: {dsn_env: ASSETS_DSN}
table: public.asset
column: bytes
type: bigint
up: $3
down: (CASE WHEN bytes > 2147483647 THEN 2147483647 ELSE bytes END)::integer
copy: {target: 20ms, max_rate: 60000}
throttle: {dead_tuples: 0}
checkpoints: {every: 25, sample: 500}
aca: {threshold: 0.85, pairs: 6, min_pairs: 5, window: 500ms, database: true}
ledger: {url: $url, tenant: acme, token_file: conductor.token, trust_policy: data/policy}
rehearsal: {max_age: 24h, bin: $pgbin, user: postgres, script: load.sql, rate: 100, for: 2s}
cutover: {lock_timeout: 500ms, attempts: 30}
EOF
}

step "3. A wrong transformation: valid SQL, which the first checkpoint stops"
job wrong.yaml asset-wrong "nullif(bytes, 0)::bigint / 1000 * 1000"
refused "$conductor" backfill run "$dir/wrong.yaml" --exit-paused
show "$conductor" backfill status "$dir/wrong.yaml"
show "$conductor" backfill rollback "$dir/wrong.yaml" --reason "values are lost"

step "4. The right one: what it will do, and the copy"
job right.yaml asset-bytes "bytes::bigint"
show "$conductor" backfill plan "$dir/right.yaml" >"$dir/plan.txt"
sed '/^SQL of expand/,$d' "$dir/plan.txt"
printf '(the statements follow in %s)\n' "$dir/plan.txt"
show "$conductor" backfill run "$dir/right.yaml" --exit-paused
show "$conductor" backfill status "$dir/right.yaml"
show "$conductor" backfill validate "$dir/right.yaml"

step "5. No cutover without a rehearsal: the gate of the ledger refuses"
refused "$conductor" backfill cutover "$dir/right.yaml"
show "$conductor" backfill rehearse "$dir/right.yaml"

step "6. Cut over, roll back without loss, cut over again, and finish"
show "$conductor" backfill cutover "$dir/right.yaml"
show "$conductor" backfill rollback "$dir/right.yaml" --reason "to show that it is possible"
show "$conductor" backfill validate "$dir/right.yaml"
show "$conductor" backfill cutover "$dir/right.yaml"
show "$conductor" backfill finish "$dir/right.yaml"
kind=$(psql -d assets -Atc "SELECT data_type || ', ' || (SELECT count(*) FROM asset WHERE bytes IS NULL) || ' values lost' FROM information_schema.columns WHERE table_name = 'asset' AND column_name = 'bytes'")
printf 'bytes is %s\n' "$kind"
[ "$kind" = "bigint, 0 values lost" ] || { echo "this is a bug" >&2; exit 1; }

step "7. The report: every step with its receipt, verified offline"
show "$conductor" backfill report "$dir/right.yaml" -o "$dir/report"

printf '\n%sNext%s\n  open %s/report/report.html\n  read docs/backfill.md\n' "$bold" "$off" "$dir"
if [ "${KEEP:-}" = 1 ]; then
	printf '  the database is %s, and the ledger %s; press Ctrl-C to stop them\n' "$ASSETS_DSN" "$url"
	wait
fi
