#!/bin/sh
# The first NIC is eth0 and gets its address by DHCP; nothing waits for a second one. Takes effect at the next boot.
# Debian (ifupdown), Ubuntu (netplan), RHEL (NetworkManager), Alpine.
#
#   NIC      name of the first NIC (eth0)
#   IGNORE   further NICs that NetworkManager shall leave alone, separated by blanks (eth1)
set -eu

# shellcheck disable=SC2034 # for the library
self=network
# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"

nic=${NIC:-eth0}
ignore=${IGNORE-eth1}
# Kernel names in the order of discovery; and memory that the host plugs in is used at once.
kernel_args="net.ifnames=0 biosdevname=0 memhp_default_state=online"

# Debian and Ubuntu read this folder after /etc/default/grub, so the package's own file stays as it is.
name_nics_with_grub() {
    mkdir -p /etc/default/grub.d
    printf '%s\n' "# Names of NICs as eth0, eth1 ..." "GRUB_CMDLINE_LINUX=\"\$GRUB_CMDLINE_LINUX $kernel_args\"" \
        >/etc/default/grub.d/90-network.cfg
    update-grub
}

# allow-hotplug: brought up when it appears; the boot waits for nothing.
configure_ifupdown() {
    mkdir -p /etc/network/interfaces.d
    if ! grep -q "^iface $nic " /etc/network/interfaces; then
        # What the installer wrote for the NIC's old name would be waited for, for five minutes, and never come.
        sed -i -e '/^\(auto\|allow-hotplug\) e[a-z0-9]*$/d' -e '/^iface e[a-z0-9]* inet6\{0,1\} \(dhcp\|auto\)$/d' \
            /etc/network/interfaces
        if grep -q '^iface e' /etc/network/interfaces; then
            fail "/etc/network/interfaces configures another NIC by hand: rename it there yourself"
        fi
        printf '\nallow-hotplug %s\niface %s inet dhcp\n' "$nic" "$nic" >>/etc/network/interfaces
    fi
}

configure_netplan() {
    # Earlier files name the NIC as it was called in the installer.
    for file in /etc/netplan/00-installer-config.yaml /etc/netplan/50-cloud-init.yaml /etc/netplan/01-netcfg.yaml; do
        if [ -e "$file" ]; then mv "$file" "$file.before-eth0"; fi
    done
    (
        umask 077
        printf '%s\n' 'network:' '  version: 2' '  ethernets:' "    $nic:" '      dhcp4: true' \
            '      dhcp-identifier: mac' '      optional: true' >/etc/netplan/50-first-nic.yaml
    )
    # cloud-init would write its file again.
    if [ -d /etc/cloud/cloud.cfg.d ]; then
        echo 'network: {config: disabled}' >/etc/cloud/cloud.cfg.d/99-no-network.cfg
    fi
    netplan generate || fail "netplan does not accept what is in /etc/netplan"
}

configure_networkmanager() {
    for other in $ignore; do
        printf '[keyfile]\nunmanaged-devices+=interface-name:%s\n' "$other" \
            >"/etc/NetworkManager/conf.d/90-ignore-$other.conf"
    done
    if command -v grubby >/dev/null; then
        grubby --update-kernel=ALL --args="$kernel_args"
    fi
}

configure_alpine() {
    grep -q "^iface $nic " /etc/network/interfaces 2>/dev/null ||
        printf 'auto lo\niface lo inet loopback\n\nauto %s\niface %s inet dhcp\n' "$nic" "$nic" \
            >/etc/network/interfaces
    rc-update -q add networking boot
}

[ "$(id -u)" -eq 0 ] || fail "must run as root"
if [ -f /etc/alpine-release ]; then
    configure_alpine
elif command -v netplan >/dev/null; then
    configure_netplan
elif command -v ifup >/dev/null && [ -f /etc/network/interfaces ]; then
    configure_ifupdown
elif [ -d /etc/NetworkManager/conf.d ]; then
    configure_networkmanager
else
    fail "no netplan, ifupdown or NetworkManager here: this system is not supported"
fi
if command -v update-grub >/dev/null; then
    name_nics_with_grub
fi
echo "network: from the next boot on $nic is the first NIC, by DHCP"
