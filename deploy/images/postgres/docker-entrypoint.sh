#!/usr/bin/env bash
# The part of the official entrypoint that deploy/compose.yaml uses: create the cluster, the superuser and the
# database on an empty volume, then become the server.
set -euo pipefail

first_start() {
  : "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD to create the superuser}"
  local user=${POSTGRES_USER:-postgres} database
  database=${POSTGRES_DB:-$user}
  mkdir --parents "$PGDATA"
  chmod 0700 "$PGDATA"
  initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  if [ "$database" != postgres ]; then
    pg_ctl --wait --silent --options="-c listen_addresses=''" start
    createdb --username="$user" "$database"
    pg_ctl --wait --silent --mode=fast stop
  fi
}

if [ "${1:-}" != postgres ]; then exec "$@"; fi
if [ "$(id -u)" = 0 ]; then
  chown postgres:postgres /var/lib/postgresql /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
[ -s "$PGDATA/PG_VERSION" ] || first_start
shift
exec postgres -c listen_addresses='*' "$@"
