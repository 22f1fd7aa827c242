#!/bin/sh
# Installs packages. Debian, Ubuntu, RHEL, Alpine. Does nothing, quickly, when all are there.
#
#   PACKAGES    names, separated by blanks, as this system's package manager knows them
#   RECOMMENDS  yes: with the packages that they recommend (apt, dnf); default no
set -eu

recommends=${RECOMMENDS:-no}

fail() {
    echo "packages: $1" >&2
    exit 1
}

all_installed_with_dpkg() {
    for package in $wanted; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || return 1
    done
}

install_with_apt() {
    all_installed_with_dpkg && return
    export DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1
    # apt's daily jobs take the same locks. Stopped until the next boot.
    if [ -d /run/systemd/system ]; then
        systemctl --quiet stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
            unattended-upgrades.service 2>/dev/null || :
    fi
    apt-get -q -o APT::Update::Error-Mode=any -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 update ||
        fail "the package lists could not be fetched: see the lines above; is the mirror reachable from the guest?"
    if [ "$recommends" = yes ]; then set -- --install-recommends; else set -- --no-install-recommends; fi
    # shellcheck disable=SC2086 # a list of names
    apt-get -q -y "$@" -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install -- $wanted ||
        fail "these could not all be installed: $wanted"
}

install_with_dnf() {
    if [ "$recommends" = yes ]; then set -- True; else set -- False; fi
    # shellcheck disable=SC2086 # a list of names
    dnf -y "--setopt=install_weak_deps=$1" install -- $wanted || fail "these could not all be installed: $wanted"
}

[ "$(id -u)" -eq 0 ] || fail "must run as root"
wanted=$(printf '%s' "${PACKAGES:-}" | tr ',\n\t' '   ')
case $wanted in
*[!\ ]*) ;;
*) fail "PACKAGES is empty: give the step env = { PACKAGES = \"wget vim\" }" ;;
esac
if command -v apt-get >/dev/null; then
    install_with_apt
elif command -v dnf >/dev/null; then
    install_with_dnf
elif command -v yum >/dev/null; then
    # shellcheck disable=SC2086 # a list of names
    yum -y install $wanted || fail "these could not all be installed: $wanted"
elif command -v apk >/dev/null; then
    # shellcheck disable=SC2086 # a list of names
    apk add --update-cache $wanted || fail "these could not all be installed: $wanted"
else
    fail "no apt-get, dnf, yum or apk here: this system is not supported"
fi </dev/null
