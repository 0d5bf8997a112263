#!/bin/sh
# Stops and removes the demo's containers and its network. A swarm stays: `docker swarm leave --force`.
set -eu
. "$(dirname "$0")/env.sh"

for name in client frontend backend-0 backend-1; do
  docker rm --force "glet-demo-$name" >/dev/null 2>&1 || true
done
if docker network inspect "$network" >/dev/null 2>&1; then
  docker network rm "$network" >/dev/null
fi
