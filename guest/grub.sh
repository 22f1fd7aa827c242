#!/bin/sh
# Sets up GRUB: how long it waits, whether it shows its menu, what it tells the kernel, on which consoles.
# Debian and Ubuntu by a file of our own, RHEL and openSUSE by /etc/default/grub. Takes effect at the next boot.
#
#   TIMEOUT      seconds until it boots (1)
#   MENU         yes: the menu is shown (default); no: it is hidden
#   SERIAL       yes: menu and kernel also on the first serial port (default); no: on the screen only
#   KERNEL_ARGS  further arguments for the kernel
set -eu

# shellcheck disable=SC2034 # for the library
self=grub
# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"

timeout=${TIMEOUT:-1}
menu=${MENU:-yes}
serial=${SERIAL:-yes}
kernel_args=${KERNEL_ARGS:-}

# Prints the settings; the kernel's own console= come last because the last one is /dev/console.
settings() {
    echo "# Written by the image build."
    echo "GRUB_TIMEOUT=$timeout"
    # Ubuntu waits 30 seconds after a boot that failed, unseen on a server.
    echo "GRUB_RECORDFAIL_TIMEOUT=$timeout"
    if [ "$menu" = yes ]; then echo "GRUB_TIMEOUT_STYLE=menu"; else echo "GRUB_TIMEOUT_STYLE=hidden"; fi
    echo "GRUB_DISABLE_OS_PROBER=true"
    echo 'GRUB_CMDLINE_LINUX_DEFAULT=""'
    if [ "$serial" = yes ]; then
        echo 'GRUB_TERMINAL="console serial"'
        echo 'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"'
        port=$(serial_port) || fail "this machine has no serial port: give the step env = { SERIAL = \"no\" }"
        kernel_args="$kernel_args console=tty0 console=$port,115200"
    else
        echo 'GRUB_TERMINAL=console'
    fi
}

# RHEL, openSUSE: one assignment a line, replaced or added.
set_in_defaults() {
    awk -v name="${1%%=*}" -v line="$1" '
        index($0, name "=") == 1 { if (!done) print line; done = 1; next }
        { print }
        END { if (!done) print line }
    ' /etc/default/grub >/etc/default/grub.new
    cat /etc/default/grub.new >/etc/default/grub
    rm -f /etc/default/grub.new
}

[ "$(id -u)" -eq 0 ] || fail "must run as root"
case $timeout in
'' | *[!0-9]*) fail "TIMEOUT is '$timeout': give seconds, such as 1" ;;
esac
case $menu$serial in
yesyes | yesno | noyes | nono) ;;
*) fail "MENU is '$menu' and SERIAL is '$serial': say yes or no" ;;
esac
case $kernel_args in
*[\"\`\$\\]*) fail "KERNEL_ARGS holds one of \" \` \$ \\, which GRUB's configuration cannot carry" ;;
esac

if command -v update-grub >/dev/null; then
    mkdir -p /etc/default/grub.d
    file=/etc/default/grub.d/95-console.cfg
    # In the shell of this script, not in a pipe: it adds to kernel_args.
    settings >$file
    echo "GRUB_CMDLINE_LINUX=\"\$GRUB_CMDLINE_LINUX $kernel_args\"" >>$file
    update-grub
elif command -v grub2-mkconfig >/dev/null; then
    settings >/run/grub-settings
    while read -r line; do
        case $line in
        '#'*) ;;
        *) set_in_defaults "$line" ;;
        esac
    done </run/grub-settings
    rm -f /run/grub-settings
    if command -v grubby >/dev/null; then
        grubby --update-kernel=ALL --args="$kernel_args"
    else
        set_in_defaults "GRUB_CMDLINE_LINUX_DEFAULT=\"$kernel_args\""
    fi
    grub2-mkconfig -o /boot/grub2/grub.cfg
else
    fail "no GRUB here that this script knows (update-grub or grub2-mkconfig)"
fi
