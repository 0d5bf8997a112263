#!/bin/sh
# The frontend, at 10.10.0.20: ZeroMQ on port 8080, HTTP on 8000, gRPC on 8001.
set -eu
. "$(dirname "$0")/env.sh"

on_host glet-demo-frontend 10.10.0.20 --detach -- -m glet.cli.frontend "$cluster" >/dev/null
echo "frontend: 10.10.0.20"
