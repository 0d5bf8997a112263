#!/bin/sh
# run.sh RESULTS [OPTION...]: the whole demo on this machine; options as for client.sh. down.sh removes it.
set -eu
scripts=$(dirname "$0")

if [ $# -lt 1 ]; then
  echo "usage: run.sh RESULTS [OPTION...]" >&2
  exit 2
fi
"$scripts/network.sh"
"$scripts/backend.sh" 0
"$scripts/backend.sh" 1
"$scripts/frontend.sh"
"$scripts/client.sh" "$@"
