#!/bin/sh
# client.sh RESULTS [OPTION...]: the client, at 10.10.0.21; its results log is written to the folder RESULTS.
# Options are those of client.py: --rps, --seconds, --model, --wait-s.
set -eu
. "$(dirname "$0")/env.sh"

if [ $# -lt 1 ]; then
  echo "usage: client.sh RESULTS [OPTION...]" >&2
  exit 2
fi
mkdir -p "$1"
results=$(cd "$1" && pwd)
shift
on_host glet-demo-client 10.10.0.21 --rm --user "$(id -u):$(id -g)" --volume "$results:/results" -- \
  /demo/docker/overlay/client.py /results "$@"
