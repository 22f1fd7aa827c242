#!/bin/sh
# Brings every installed package up to date. Debian, Ubuntu, RHEL, openSUSE, Alpine; asks nothing, keeps changed
# configuration. A new kernel is used after the next reboot.
set -eu

# shellcheck disable=SC2034 # for the library
self=update
# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"

[ "$(id -u)" -eq 0 ] || fail "must run as root"
update_packages
