#!/bin/sh
# Makes the image smaller: removes packages that nothing needs any more (old kernels too, never the running one).
# Caches, logs and identities are not its job: sealing takes care of them, always.
# After update.sh, reboot first, so that the new kernel is the running one.
set -eu

fail() {
    echo "cleanup: $1" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "must run as root"
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -y -o DPkg::Lock::Timeout=600 autoremove --purge || fail "apt-get autoremove failed: see the lines above"
elif command -v dnf >/dev/null; then
    dnf -y autoremove || fail "dnf autoremove failed: see the lines above"
elif command -v apk >/dev/null || command -v yum >/dev/null; then
    echo "cleanup: nothing to remove, this package manager keeps no track of it"
else
    fail "no apt-get, dnf, yum or apk here: this system is not supported"
fi </dev/null
