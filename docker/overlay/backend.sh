#!/bin/sh
# backend.sh 0|1: the backend of that device, at 10.10.0.3 or 10.10.0.4.
set -eu
. "$(dirname "$0")/env.sh"

case ${1:-} in
0) address=10.10.0.3 ;;
1) address=10.10.0.4 ;;
*)
  echo "usage: backend.sh 0|1" >&2
  exit 2
  ;;
esac
on_host "glet-demo-backend-$1" "$address" --detach -- -m glet.cli.backend "$cluster" --name "backend-$1" >/dev/null
echo "backend-$1: $address"
