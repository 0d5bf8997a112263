#!/bin/sh
# debian-base.sh NAME: an image of Debian 12 with its Python 3.11, for where no registry of images is reached:
#   docker/debian-base.sh glet-base
#   docker build --build-arg PYTHON_IMAGE=glet-base --file docker/cpu.Dockerfile --tag glet:cpu .
# Needs root and debootstrap. The image trusts the certificates that this machine trusts.
#   GLET_DEBIAN_MIRROR   where packages are taken from (default http://deb.debian.org)
set -eu
mirror=${GLET_DEBIAN_MIRROR:-http://deb.debian.org}
certificates=/etc/ssl/certs/ca-certificates.crt
packages=ca-certificates,python-is-python3,python3-dev,python3-pip,python3-venv

if [ $# -ne 1 ]; then
  echo "usage: debian-base.sh NAME" >&2
  exit 2
fi
if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
  echo "debian-base.sh: needs root and debootstrap (Debian package debootstrap)" >&2
  exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
root=$work/root

debootstrap --variant=minbase --include="$packages" bookworm "$root" "$mirror/debian" >&2
rm -f "$root/etc/apt/sources.list"
cat >"$root/etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
[ ! -f "$certificates" ] || cp "$certificates" "$root$certificates"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
tar --create --numeric-owner --directory "$root" --file "$work/image.tar" .
docker import --change "ENV PIP_CERT=$certificates" --change 'CMD ["python"]' "$work/image.tar" "$1" >&2
