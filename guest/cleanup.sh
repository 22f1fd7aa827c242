#!/bin/sh
# Makes the image smaller: removes packages that nothing needs any more (old kernels too, never the running one).
# Caches, logs and identities are not its job: sealing takes care of them, always.
# After update.sh, reboot first, so that the new kernel is the running one.
set -eu

# shellcheck disable=SC2034 # for the library
self=cleanup
# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"

[ "$(id -u)" -eq 0 ] || fail "must run as root"
remove_unneeded_packages
