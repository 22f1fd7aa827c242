#!/bin/sh
# What several guest scripts need, once: how each kind of system installs, updates and removes packages, and which devices
# its root file system and its console are. The host sends this file in front of the scripts that use it, which set
#
#   self        their name, for messages
#   recommends  yes: install_packages also installs what packages recommend
#
# shellcheck shell=sh disable=SC2154 # self

# fail CAUSE
fail() {
    echo "$self: $*" >&2
    exit 1
}

# The package manager of this system. zypper goes first where there are several: on SUSE the others are guests.
package_manager() {
    for candidate in apt-get zypper dnf yum apk; do
        if command -v "$candidate" >/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

no_package_manager() {
    fail "no apt-get, zypper, dnf, yum or apk here: this system is not supported"
}

# apt-get without questions; changed configuration stays. Waits for others' locks, after the daily jobs that take them were
# stopped until the next boot.
run_apt() {
    if [ -d /run/systemd/system ]; then
        systemctl --quiet stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
            unattended-upgrades.service 2>/dev/null || :
    fi
    DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=1 \
        apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

# Without Error-Mode apt takes an unreachable mirror for a mere warning, and goes on with old lists.
fetch_apt_lists() {
    run_apt -o APT::Update::Error-Mode=any update ||
        fail "the package lists could not be fetched: see the lines above; is the mirror reachable from the guest?"
}

# zypper without questions. 102 and 103 say that a restart is needed.
run_zypper() {
    code=0
    zypper --non-interactive "$@" || code=$?
    case $code in 0 | 102 | 103) ;; *) return "$code" ;; esac
}

# install_packages NAME ...: names as this system's package manager knows them. Quick where all are there.
install_packages() {
    do_install_packages "$@" </dev/null || fail "these could not all be installed: $*"
}

do_install_packages() {
    manager=$(package_manager) || no_package_manager
    case $manager in
        apt-get)
            ! all_installed_with_dpkg "$@" || return 0
            fetch_apt_lists
            if [ "${recommends:-no}" = yes ]; then
                run_apt --install-recommends install -- "$@"
            else
                run_apt --no-install-recommends install -- "$@"
            fi
            ;;
        zypper)
            if [ "${recommends:-no}" = yes ]; then
                run_zypper install --recommends "$@"
            else
                run_zypper install --no-recommends "$@"
            fi
            ;;
        dnf)
            if [ "${recommends:-no}" = yes ]; then
                dnf -y --setopt=install_weak_deps=True install -- "$@"
            else
                dnf -y --setopt=install_weak_deps=False install -- "$@"
            fi
            ;;
        yum) yum -y install "$@" ;;
        apk) apk add --update-cache "$@" ;;
    esac
}

all_installed_with_dpkg() {
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || return 1
    done
}

update_packages() {
    do_update_packages </dev/null || fail "the update failed: see the lines above"
}

do_update_packages() {
    manager=$(package_manager) || no_package_manager
    case $manager in
        apt-get)
            fetch_apt_lists
            run_apt full-upgrade
            ;;
        zypper)
            run_zypper refresh || return
            # A rolling release has no updates, only its next state.
            if grep -qs '^ID="\{0,1\}opensuse-tumbleweed' /etc/os-release; then
                run_zypper dist-upgrade
            else
                run_zypper update
            fi
            ;;
        dnf) dnf -y --refresh upgrade ;;
        yum) yum -y update ;;
        apk) apk upgrade --update-cache ;;
    esac
}

# Removes packages that nothing needs any more, old kernels too, never the running one.
remove_unneeded_packages() {
    do_remove_unneeded_packages </dev/null || fail "removing packages failed: see the lines above"
}

do_remove_unneeded_packages() {
    manager=$(package_manager) || no_package_manager
    case $manager in
        apt-get) run_apt autoremove --purge ;;
        dnf) dnf -y autoremove ;;
        zypper | yum | apk) echo "$self: nothing to remove, as $manager has no command for it" ;;
    esac
}

# What package managers can fetch again: the manager, and patterns of files below the root.
package_caches() {
    cat <<'CACHES'
apt /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/* /var/cache/apt/*.bin /var/lib/apt/lists/*
zypper /var/cache/zypp/*
dnf /var/cache/dnf/* /var/cache/libdnf5/*
yum /var/cache/yum/*
apk /var/cache/apk/*
CACHES
}

# Files that say where packages come from, as patterns below the root.
package_sources() {
    echo "/etc/apt/sources.list /etc/apt/sources.list.d/* /etc/zypp/repos.d/* /etc/yum.repos.d/* /etc/apk/repositories"
}

# The folder in /sys of the device that the root file system is on.
root_device() {
    number=$(awk '$5 == "/" { found = $3 } END { print found }' /proc/self/mountinfo)
    device=/sys/dev/block/$number
    if [ ! -e "$device" ]; then
        # Such as btrfs, whose device has no number in the table of mounts.
        source=$(awk '$5 == "/" { for (i = 6; i < NF; i++) if ($i == "-") found = $(i + 2) } END { print found }' \
            /proc/self/mountinfo)
        device=/sys/class/block/$(basename "$(readlink -f "$source")")
    fi
    readlink -f "$device"
}

# disk_below FOLDER: the folder in /sys of the disk that a device is on: below LVM, RAID and encryption the first one.
disk_below() {
    device=$1
    while below=$(ls "$device/slaves" 2>/dev/null) && [ -n "$below" ]; do
        device=$(readlink -f "/sys/class/block/$(echo "$below" | head -n 1)")
    done
    [ ! -e "$device/partition" ] || device=$(dirname "$device")
    echo "$device"
}

# The name of the first serial port that there is in fact: the kernel also has names for ports that there are not.
serial_port() {
    for type in /sys/class/tty/*/type; do
        [ "$(cat "$type" 2>/dev/null || echo 0)" -ne 0 ] || continue
        basename "$(dirname "$type")"
        return
    done
    return 1
}
