#!/bin/sh
# The overlay network 10.10.0.0/24. On several machines: `docker swarm init` and `join` by hand first.
set -eu
. "$(dirname "$0")/env.sh"

if [ "$(docker info --format '{{.Swarm.LocalNodeState}}')" != active ]; then
  docker swarm init --advertise-addr "${GLET_ADVERTISE:-127.0.0.1}" >/dev/null
fi
if ! docker network inspect "$network" >/dev/null 2>&1; then
  docker network create --driver overlay --attachable --subnet "$subnet" "$network" >/dev/null
fi
echo "network $network: $subnet"
