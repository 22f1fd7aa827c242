#!/bin/sh
# The same Debian 12 for two architectures, from nothing to two checked sizes, one after the other, with the time that each
# took. On a host of the other architecture all of one is emulated: that takes most of an hour, so it is no part of
# `make test`. What was measured is in docs/machines.md.
#
# PIPELINE_FOREIGN=machine in the environment has a machine install the packages of the other architecture.
#
#   tests/machines/run.sh PIPELINE FOLDER
set -eu

pipeline=$1 folder=$2
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
# From nothing: what an earlier run left is no result of this one.
rm -rf "$folder/store" "$folder/out"
export PIPELINE_STORE="$folder/store"
cat >"$folder/machines.toml" <<'TOML'
[pipeline]
name   = "machines"
output = "out"

[distros.debian12-amd64]
family   = "debian"
version  = "12"
firmware = "uefi"
source   = { bootstrap = { suite = "bookworm" } }

[distros.debian12-arm64]
family  = "debian"
version = "12"
arch    = "arm64"
source  = { bootstrap = { suite = "bookworm" } }

[flavors.plain]
steps  = [{ inline = "uname -a; cat /proc/cmdline; df -h /" }]
checks = ["standard"]

[[images]]
distro = ["debian12-amd64", "debian12-arm64"]
flavor = "plain"
sizes  = ["3G", "4G"]

[[checks]]
distros = "debian12-amd64"
command = "uname -m"
matches = "^x86_64$"

[[checks]]
distros = "debian12-arm64"
command = "uname -m"
matches = "^aarch64$"

[publish]
checksums = ["sha512"]
TOML
cd "$folder"
for arch in amd64 arm64; do
    began=$(date +%s)
    "$pipeline" run machines.toml --distro "debian12-$arch" --verbose
    echo "$arch: $(($(date +%s) - began)) s"
done
(cd out && sha512sum -c SHA512SUM.txt)
# The partitions as another program sees them.
for image in out/*/*.gz; do
    gzip -dc "$image" >disk.qcow2
    qemu-img convert -O raw disk.qcow2 disk.raw
    sgdisk -v -p disk.raw
done
rm -f disk.qcow2 disk.raw
"$pipeline" plan machines.toml --detailed-exitcode
