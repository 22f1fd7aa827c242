#!/bin/sh
# Prints one word when this system is going down, or is about to: `reboot`, `poweroff`, or `down` where it is not known
# which. Prints nothing otherwise. POSIX sh; runs as root between two steps.
PATH=$PATH:/usr/sbin:/sbin

# What a text says that names the target or the run level.
which_way() {
    case $1 in
        *reboot* | *kexec*) echo reboot ;;
        *poweroff* | *halt* | *shutdown*) echo poweroff ;;
        *) echo down ;;
    esac
    exit 0
}

if [ -d /run/systemd/system ]; then
    # An order for later.
    if [ -e /run/systemd/shutdown/scheduled ]; then
        which_way "$(sed -n 's/^MODE=//p' /run/systemd/shutdown/scheduled)"
    fi
    if [ "$(systemctl is-system-running 2>/dev/null)" = stopping ]; then
        which_way "$(systemctl list-jobs --no-legend 2>/dev/null |
            grep -o -e 'reboot\.target' -e 'kexec\.target' -e 'poweroff\.target' -e 'halt\.target')"
    fi
    # logind first waits for whoever asked for a delay.
    case $(busctl --auto-start=no get-property org.freedesktop.login1 /org/freedesktop/login1 \
        org.freedesktop.login1.Manager PreparingForShutdown 2>/dev/null) in
        *true) which_way '' ;;
    esac
elif [ -e /run/openrc/rc.stopping ]; then
    which_way "$(cat /run/openrc/softlevel 2>/dev/null)"
elif command -v runlevel >/dev/null 2>&1; then
    case $(runlevel 2>/dev/null) in
        *' 6') which_way reboot ;;
        *' 0') which_way poweroff ;;
    esac
fi
# pam_nologin(8); at a start the same file says that the system is booting up.
for file in /run/nologin /etc/nologin; do
    if [ -f "$file" ] && grep -qi 'going down' "$file"; then
        which_way ''
    fi
done
exit 0
