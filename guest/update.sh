#!/bin/sh
# Brings every installed package up to date. Debian, Ubuntu, RHEL, Alpine; asks nothing, keeps changed configuration.
# A new kernel is used after the next reboot.
set -eu

fail() {
    echo "update: $1" >&2
    exit 1
}

update_with_apt() {
    export DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1
    # apt's daily jobs take the same locks. Stopped until the next boot.
    if [ -d /run/systemd/system ]; then
        systemctl --quiet stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
            unattended-upgrades.service 2>/dev/null || :
    fi
    # Without Error-Mode apt takes an unreachable mirror for a mere warning and then upgrades nothing.
    apt-get -q -o APT::Update::Error-Mode=any -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 update ||
        fail "the package lists could not be fetched: see the lines above; is the mirror reachable from the guest?"
    apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold full-upgrade ||
        fail "the upgrade failed: see the lines above"
}

[ "$(id -u)" -eq 0 ] || fail "must run as root"
if command -v apt-get >/dev/null; then
    update_with_apt
elif command -v dnf >/dev/null; then
    dnf -y --refresh upgrade || fail "dnf upgrade failed: see the lines above"
elif command -v yum >/dev/null; then
    yum -y update || fail "yum update failed: see the lines above"
elif command -v apk >/dev/null; then
    apk upgrade --update-cache || fail "apk upgrade failed: see the lines above"
else
    fail "no apt-get, dnf, yum or apk here: this system is not supported"
fi </dev/null
