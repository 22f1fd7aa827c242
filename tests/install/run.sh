#!/bin/sh
# Debian 13 by its real installer, end to end, to images of two sizes, both booted and checked (is the root as large as the
# disk, …). Takes most of an hour without KVM, so it is no part of `make test`.
#
#   tests/install/run.sh PIPELINE FOLDER [bare]
#
# The mirror is mirror.py's, next to this file: what the host's own has, and what it lacks for this installer.
#
# With `bare`, the same installer with the same answers also runs in a plain qemu, started at the same moment so that both
# meet the same host, and the times are compared: what the program adds to an installation. Wants two idle cores.
set -eu

pipeline=$1 folder=$2 bare=${3:-}
here=$(dirname "$0")
mkdir -p "$folder/mirror"
folder=$(cd "$folder" && pwd)
export PIPELINE_STORE="$folder/store"
child='' children=''
trap 'for child in $children; do kill "$child" 2>/dev/null || :; done' EXIT
trap 'exit 130' INT TERM

rm -f "$folder/mirror.json"
"$here/mirror.py" "$folder/mirror" > "$folder/mirror.json" &
mirror=$!
children=$mirror
echo 'preparing the mirror'
until [ -s "$folder/mirror.json" ]; do
    kill -0 "$mirror" || { echo 'the mirror did not start' >&2; exit 1; }
    sleep 1
done
field() { sed -n "s/.*\"$1\": *\"\\([^\"]*\\)\".*/\\1/p" "$folder/mirror.json"; }

# The list of installer components is not signed there.
cat > "$folder/unsigned.cfg.j2" <<'CFG'
{% extends "preseed-debian.cfg.j2" %}
{% block head %}
#_preseed_V1
d-i debian-installer/allow_unauthenticated boolean true
{% endblock %}
CFG
cat > "$folder/images.toml" <<TOML
[pipeline]
name   = "test-install"
output = "$folder/out"

[vars]
username = "tester"
kernel   = "linux-image-cloud-amd64"
tasks    = []
services = []

[distros.debian13]
family  = "debian"
version = "13"
answers = "unsigned.cfg.j2"
source  = { netboot = { kernel = { path = "$(field kernel)" }, initrd = { path = "$(field initrd)" }, mirror = "http://$(field hostname)/debian", suite = "trixie" } }

[flavors.base]
steps = [
  { inline = "df -h /; ip -br addr; cat /proc/cmdline", name = "look" },
  # The mirror of this test is on the build host, whose address must not stay: the check no-traces would tell.
  { inline = "sed -i 's,http://10.0.2.2:[0-9]*/,http://mirror.example/,' /etc/apt/sources.list", name = "mirror" },
]
checks = ["standard"]

[[images]]
distro = "debian13"
flavor = "base"
sizes  = ["5G", "20G"]
TOML

# The installer in a plain qemu, as the node's own was started: its words, with another disk, another place for the
# answers, its console in a file, and nothing of ours around it. Prints how many seconds it took.
plain_qemu() {
    node=$1
    mkdir -p "$folder/bare"
    cp "$node/preseed.cfg" "$folder/bare/preseed.cfg"
    python3 -u -m http.server --bind 127.0.0.1 --directory "$folder/bare" 0 > "$folder/bare/http.log" 2>&1 &
    server=$!
    children="$children $server"
    until port=$(sed -n 's/^Serving HTTP on .* port \([0-9]*\) .*/\1/p' "$folder/bare/http.log") && [ -n "$port" ]; do
        sleep 0.1
    done
    truncate -s 4G "$folder/bare/disk.raw"
    append=$(sed -n "s/.* -append '\\([^']*\\)'.*/\\1/p" "$node/installer/qemu.argv" |
        sed -e "s|url=[^ ]*|url=http://10.0.2.2:$port/preseed.cfg|" -e 's| log_host=[^ ]*||; s| log_port=[^ ]*||')
    cpu=$(sed -n "s/.* -cpu \\([^ ]*\\) .*/\\1/p" "$node/installer/qemu.argv")
    began=$(date +%s)
    qemu-system-x86_64 -nodefaults -no-user-config -machine pc -accel tcg,thread=multi -cpu "$cpu" -smp 2 -m 1024M \
        -vga std -display none -no-reboot -netdev user,id=net0 -device virtio-net-pci,netdev=net0,romfile= \
        -drive "if=virtio,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=$folder/bare/disk.raw" \
        -device virtio-rng-pci -serial "file:$folder/bare/console.log" \
        -kernel "$(field kernel)" -initrd "$(field initrd)" -append "$append"
    echo $(($(date +%s) - began)) > "$folder/bare/seconds"
    kill "$server"
}

if [ "$bare" = bare ]; then
    rm -rf "$folder/bare" "$PIPELINE_STORE"
    (
        until node=$(ls -d "$PIPELINE_STORE"/runs/*/install-debian13) 2>/dev/null && [ -s "$node/installer/qemu.argv" ]; do
            sleep 0.2
        done
        plain_qemu "$node"
    ) &
    other=$!
    children="$children $other"
fi
"$pipeline" run "$folder/images.toml"
(cd "$folder/out" && sha512sum -c SHA512SUM.txt)
if [ "$bare" = bare ]; then
    echo 'waiting for the plain qemu'
    wait "$other"
    ours=$(sed -n 's/.*"node":"install\/debian13","event":"node_finished".*"seconds":\([0-9]*\).*/\1/p' \
        "$PIPELINE_STORE"/runs/*/events.jsonl | head -n 1)
    theirs=$(cat "$folder/bare/seconds")
    echo "install node: $ours s; the same installer in a plain qemu: $theirs s; ratio $((ours * 1000 / theirs)) / 1000"
fi
