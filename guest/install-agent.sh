#!/bin/sh
# Installs the boot-time agent. Run as root in the guest, with the file vm-bootstrap next to this one.
#
#   MAX_RETRY  how many runs the agent may make (10)
#   HOLD       yes (default): the agent does nothing until the image is sealed. During a build nothing answers at the
#              agent's address, and every minute of the build would count as a failed run. `no` arms it at once.
#   DESTDIR    install into this root instead of / (for tests and chroots); nothing is started or downloaded then
#
# Started every minute by cron where there is one, else by a systemd timer. In every case /etc/cron.d/vm-boostrap (the
# spelling is a promise) exists, and removing it ends the agent.
set -eu

# shellcheck disable=SC2034 # for the library
self=install-agent
# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # for the library
recommends=yes

root=${DESTDIR:-}
max_retry=${MAX_RETRY:-10}
hold=${HOLD:-yes}
here=$(cd "$(dirname "$0")" && pwd)
state=$root/root/bootstrap
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
command_line='/root/bootstrap/vm-bootstrap >>/var/log/vm-bootstrap.log 2>&1'

has() {
    for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
        [ -x "$root$folder/$1" ] && return 0
    done
    return 1
}

# need PROGRAM PACKAGE: where the package is called the same everywhere.
need() {
    has "$1" && return
    [ -z "$root" ] || fail "$1 is missing in $root: install the package '$2' there first"
    echo "install-agent: the agent needs $1; installing the package '$2'"
    install_packages "$2"
    has "$1" || fail "the agent needs $1, which the package '$2' did not bring"
}

# BusyBox's crond reads /etc/crontabs only; the others read /etc/cron.d.
which_starter() {
    if [ -x "$root/usr/sbin/cron" ]; then
        echo cron
    elif [ -x "$root/usr/sbin/crond" ] && [ ! -L "$root/usr/sbin/crond" ]; then
        echo crond
    elif [ -x "$root/usr/lib/systemd/systemd" ] || [ -x "$root/lib/systemd/systemd" ]; then
        echo timer
    elif [ -e "$root/etc/crontabs" ] && has crond; then
        echo busybox
    else
        fail "no cron and no systemd here: install a cron daemon first"
    fi
}

# write FILE: standard input, as a whole, readable for all.
write() {
    mkdir -p "$(dirname "$1")"
    cat >"$1.new"
    chmod 0644 "$1.new"
    mv -f "$1.new" "$1"
    # Hidden files in /etc/cron.d are skipped by cron, and so are files with a wrong label by SELinux.
    if [ -z "$root" ] && has restorecon; then
        restorecon "$1" || :
    fi
}

install_cron_entry() {
    write "$root/etc/cron.d/vm-boostrap" <<EOF
# The boot-time agent, every minute. Remove this file to end it for good.
SHELL=/bin/sh
PATH=$path
* * * * * root $command_line
EOF
}

# The same file without a line for cron: should cron be installed later, there are not two starters.
install_marker() {
    write "$root/etc/cron.d/vm-boostrap" <<EOF
# The boot-time agent is started by $1. Remove this file to end it for good.
EOF
}

install_timer() {
    units=$root/etc/systemd/system
    # No StandardOutput=append:, which systemd knows since version 240 only. KillMode=process: what the script leaves in
    # the background lives on, as under cron.
    write "$units/vm-bootstrap.service" <<EOF
[Unit]
Description=Boot-time agent
ConditionPathExists=/etc/cron.d/vm-boostrap
ConditionPathExists=/root/bootstrap/start-bootstrap

[Service]
Type=oneshot
Environment=HOME=/root LOGNAME=root USER=root SHELL=/bin/sh
Environment=PATH=$path
ExecStart=/bin/sh -c 'exec $command_line'
KillMode=process
EOF
    write "$units/vm-bootstrap.timer" <<EOF
[Unit]
Description=Boot-time agent, every minute
ConditionPathExists=/etc/cron.d/vm-boostrap

[Timer]
OnCalendar=minutely
AccuracySec=1s

[Install]
WantedBy=timers.target
EOF
    mkdir -p "$units/timers.target.wants"
    ln -sfn ../vm-bootstrap.timer "$units/timers.target.wants/vm-bootstrap.timer"
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        systemctl start vm-bootstrap.timer
    fi
}

install_busybox_entry() {
    crontab=$root/etc/crontabs/root
    touch "$crontab"
    if ! grep -q /root/bootstrap/vm-bootstrap "$crontab"; then
        echo "* * * * * [ ! -e /etc/cron.d/vm-boostrap ] || PATH=$path $command_line" >>"$crontab"
    fi
    if [ -z "$root" ] && has rc-update; then
        rc-update add crond default
        rc-service crond --quiet status >/dev/null 2>&1 || rc-service crond start
    fi
}

case $max_retry in
'' | *[!0-9]* | ??????????*) fail "MAX_RETRY is '$max_retry': give a number of runs, such as 10" ;;
esac
case $hold in
yes | no) ;;
*) fail "HOLD is '$hold': say yes or no" ;;
esac
[ -f "$here/vm-bootstrap" ] || fail "$here/vm-bootstrap is missing: copy the agent next to this script"
[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "must run as root"

need bash bash
has curl || has wget || need curl curl
need flock util-linux

# The hold comes first and the agent last: a start in between finds nothing to do.
(umask 077 && mkdir -p "$state")
if [ "$hold" = yes ]; then
    : >"$state/held-by-build"
else
    rm -f "$state/held-by-build"
fi
echo "$max_retry" >"$state/bootstrap-max-retry"
echo 0 >"$state/retry-amount"
: >"$state/start-bootstrap"
cp "$here/vm-bootstrap" "$state/vm-bootstrap.new"
chmod 0755 "$state/vm-bootstrap.new"
mv -f "$state/vm-bootstrap.new" "$state/vm-bootstrap"

starter=$(which_starter)
case $starter in
cron | crond)
    install_cron_entry
    # Asked first: enabling what is enabled still runs half a minute of scripts under emulation.
    if [ -z "$root" ] && has systemctl && ! systemctl --quiet is-enabled "$starter.service"; then
        systemctl --quiet enable "$starter.service"
    fi
    ;;
timer)
    install_marker "the systemd timer vm-bootstrap.timer"
    install_timer
    ;;
busybox)
    install_marker "/etc/crontabs/root"
    install_busybox_entry
    ;;
esac
echo "install-agent: installed, started by $starter, at most $max_retry runs$(
    [ "$hold" = no ] || echo ', held until the image is sealed'
)"
