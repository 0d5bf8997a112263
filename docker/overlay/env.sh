# What the scripts of the demo share. Read by them, not run.
#   GLET_IMAGE        the image (default glet:cpu)
#   GLET_PYTHON       Python with glet in that image (default python)
#   GLET_RUN_OPTIONS  more options for `docker run`, split at spaces
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
image=${GLET_IMAGE:-glet:cpu}
python=${GLET_PYTHON:-python}
network=glet-demo
subnet=10.10.0.0/24
cluster=/demo/docker/overlay/cluster.toml

# on_host NAME ADDRESS OPTION... -- WORD...: Python with these words, in a container with that address.
on_host() {
  name=$1 address=$2
  shift 2
  options=
  while [ "$1" != -- ]; do
    options="$options $1"
    shift
  done
  shift
  # Options have no spaces in them, and are to be split.
  # shellcheck disable=SC2086
  docker run --name "$name" --network "$network" --ip "$address" --no-healthcheck --entrypoint "$python" \
    --volume "$root/docker/overlay:/demo/docker/overlay:ro" --volume "$root/profiles:/demo/profiles:ro" \
    $options ${GLET_RUN_OPTIONS:-} "$image" "$@"
}
