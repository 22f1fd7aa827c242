#!/bin/sh
# Installs packages. Debian, Ubuntu, RHEL, openSUSE, Alpine. Does nothing, quickly, when all are there.
#
#   PACKAGES    names, separated by blanks, as this system's package manager knows them
#   RECOMMENDS  yes: with the packages that they recommend (apt, dnf, zypper); default no
set -eu

self=packages
# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # for the library
recommends=${RECOMMENDS:-no}

[ "$(id -u)" -eq 0 ] || fail "must run as root"
wanted=$(printf '%s' "${PACKAGES:-}" | tr ',\n\t' '   ')
case $wanted in
*[!\ ]*) ;;
*) fail "PACKAGES is empty: give the step env = { PACKAGES = \"wget vim\" }" ;;
esac
# shellcheck disable=SC2086 # a list of names
install_packages $wanted
