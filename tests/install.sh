#!/bin/sh
# Debian 13 by its real installer, end to end, to images of two sizes, both booted and checked (is the root as large as the
# disk, …). Takes most of an hour without KVM, so it is no part of `make test`.
#
#   tests/install.sh PIPELINE LAB FOLDER
#
# LAB is a folder with `installer-mirror`, a program that serves a complete Debian mirror on loopback: called with a
# folder for its files, it prints one line of JSON (port, hostname, kernel, initrd) and serves until it is ended.
set -eu

pipeline=$1 lab=$2 folder=$3
mkdir -p "$folder/mirror"
folder=$(cd "$folder" && pwd)

"$lab/installer-mirror" "$folder/mirror" > "$folder/mirror.json" &
mirror=$!
trap 'kill "$mirror" 2>/dev/null || :' EXIT
trap 'exit 130' INT TERM
echo 'preparing the mirror'
until [ -s "$folder/mirror.json" ]; do
    kill -0 "$mirror" || { echo 'the mirror did not start' >&2; exit 1; }
    sleep 1
done
field() { sed -n "s/.*\"$1\": *\"\\([^\"]*\\)\".*/\\1/p" "$folder/mirror.json"; }

# The list of installer components is made by hand there, and nobody signs it.
cat > "$folder/lab.cfg.j2" <<'EOF'
{% extends "preseed-debian.cfg.j2" %}
{% block head %}
#_preseed_V1
d-i debian-installer/allow_unauthenticated boolean true
{% endblock %}
EOF
cat > "$folder/images.toml" <<EOF
[pipeline]
name   = "test-install"
output = "$folder/out"

[vars]
username = "tester"
tasks    = []
services = []

[distros.debian13]
family  = "debian"
version = "13"
answers = "lab.cfg.j2"
source  = { netboot = { kernel = { path = "$(field kernel)" }, initrd = { path = "$(field initrd)" }, mirror = "http://$(field hostname)/debian", suite = "trixie" } }

[flavors.base]
steps = [{ inline = "df -h /; ip -br addr; cat /proc/cmdline", name = "look" }]
checks = ["standard"]

[[images]]
distro = "debian13"
flavor = "base"
sizes  = ["5G", "20G"]
EOF
"$pipeline" run "$folder/images.toml"
(cd "$folder/out" && sha512sum -c SHA512SUM.txt)
