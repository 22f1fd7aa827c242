#!/bin/sh
# What sealing takes out and what the checks look for, in one place for both: the build key wherever it is, and identities
# that programs make. The host sends this file in front of seal.sh and check.sh, which set
#
#   root      the folder to work on; empty is /
#   key_body  the base64 part of the build's public key; may be empty
#   since     seconds since 1970: of files that were last changed before, only an account's .ssh may have that key; may
#             be empty
#
# shellcheck shell=sh disable=SC2154 # root, key_body, since

# Folders of all accounts that have one of their own; a step may have run as another user than root.
homes() {
    awk -F: '$6 ~ /^\/(root$|home\/|opt\/|srv\/|var\/)/ { print $6 }' "$root/etc/passwd" | sort -u | while read -r home; do
        [ ! -d "$root$home" ] || echo "$root$home"
    done
}

# Mount points of file systems that are part of the machine: no pseudo, network or read-only medium's file system.
local_file_systems() {
    if [ -n "$root" ]; then
        echo "$root"
        return
    fi
    awk '{
        for (i = 7; i < NF; i++) if ($i == "-") break
        type = $(i + 1)
        if (type !~ /^(ext[234]|xfs|btrfs|f2fs|jfs|reiserfs|bcachefs|zfs|vfat|exfat|ntfs3?|fuseblk)$/ && $5 != "/") next
        if (!seen[$3 " " $4]++) print $5
    }' /proc/self/mountinfo | sed 's/\\040/ /g'
}

# files_with GREP-OPTION ...: files that hold a text, wherever they are: one read of all that may.
files_with() {
    newer=
    # BusyBox cannot tell.
    if [ -n "$since" ] && find "$root/etc" -maxdepth 0 -newerct "@$since" >/dev/null 2>&1; then
        newer="-newerct @$since"
    fi
    {
        local_file_systems | while read -r mount; do
            # shellcheck disable=SC2086 # two words or none
            find "$mount" -xdev -type f -size +0 $newer -exec env LC_ALL=C grep -lF "$@" {} + 2>/dev/null || :
        done
        [ -z "$newer" ] || homes | while read -r home; do
            find "$home/.ssh" -type f -exec env LC_ALL=C grep -lF "$@" {} + 2>/dev/null || :
        done
    } | sort -u
}

# The key's body as JSON and as URLs may spell it.
key_in_json() {
    printf '%s\n' "$key_body" | sed 's|/|\\/|g'
}

key_in_url() {
    printf '%s\n' "$key_body" | sed 's|/|%2F|g; s|+|%2B|g; s|=|%3D|g'
}

# Identities that programs make by themselves, at their installation or at their first start. What only people put there
# is theirs: it stays, and the check of two clones names it. In a line, or in several that end with a backslash:
#
#   what | units to stop first, as they write it at their end | files or patterns | how it is made again
#
#   never             it is a copy, and nothing needs it
#   itself            the program makes it when it finds none, at random
#   itself: PATH      likewise, where PATH is there; the files stay where it is not
#   derived           likewise, from names or hardware, or fetched: two clones may rightly have the same
#   PROGRAM: COMMAND  a unit runs the command before all services of the first boot, where there is the program; its
#                     files are in $files, and get the owner and the mode that they had
identities() {
    cat <<'IDENTITIES'
backups of accounts | | \
    etc/passwd- etc/shadow- etc/group- etc/gshadow- etc/subuid- etc/subgid- var/backups/passwd.bak \
    var/backups/shadow.bak var/backups/group.bak var/backups/gshadow.bak | never
systemd's credential secret | | var/lib/systemd/credential.secret | itself
systemd's key of homes | systemd-homed.service | \
    var/lib/systemd/home/local.private var/lib/systemd/home/local.public | itself
NetworkManager's secret key | | var/lib/NetworkManager/secret_key | itself
dhcpcd's identity | | var/lib/dhcpcd/duid var/lib/dhcpcd/secret etc/dhcpcd.duid etc/dhcpcd.secret | derived
TLS key of ssl-cert | | \
    etc/ssl/private/ssl-cert-snakeoil.key etc/ssl/certs/ssl-cert-snakeoil.pem | \
    make-ssl-cert: make-ssl-cert generate-default-snakeoil --force-overwrite
TLS key of httpd | | \
    etc/pki/tls/private/localhost.key etc/pki/tls/certs/localhost.crt | \
    itself: usr/lib/systemd/system/httpd-init.service
TLS key of Dovecot | | \
    etc/pki/dovecot/private/dovecot.pem etc/pki/dovecot/certs/dovecot.pem | \
    itself: usr/lib/systemd/system/dovecot-init.service
TLS key of Cockpit | | \
    etc/cockpit/ws-certs.d/0-self-signed.key etc/cockpit/ws-certs.d/0-self-signed.cert \
    etc/cockpit/ws-certs.d/0-self-signed-ca.pem | itself
TLS key of CUPS | cups.service | etc/cups/ssl/*.key etc/cups/ssl/*.crt | itself
TLS key of LXD or Incus | | \
    var/lib/lxd/server.key var/lib/lxd/server.crt var/lib/incus/server.key var/lib/incus/server.crt | itself
NVMe host identity | | etc/nvme/hostid etc/nvme/hostnqn | cat: \
    id=$(cat /proc/sys/kernel/random/uuid) && echo "$id" >/etc/nvme/hostid && \
    echo "nqn.2014-08.org.nvmexpress:uuid:$id" >/etc/nvme/hostnqn
iSCSI initiator name | | etc/iscsi/initiatorname.iscsi | iscsi-iname: echo "InitiatorName=$(iscsi-iname)" >$files
Dropbear host keys | | etc/dropbear/dropbear_*_host_key | \
    dropbearkey: for file in $files; do kind=${file##*/dropbear_}; \
    dropbearkey -t "${kind%_host_key}" -f "$file" || exit 1; done
MUNGE key | | etc/munge/munge.key | dd: dd if=/dev/urandom of=$files bs=1024 count=1
BIND control key | | etc/bind/rndc.key | rndc-confgen: rndc-confgen -a -c $files
BIND control key | | etc/rndc.key | itself: usr/lib/systemd/system/named-setup-rndc.service
Unbound control keys | | \
    etc/unbound/unbound_server.key etc/unbound/unbound_server.pem etc/unbound/unbound_control.key \
    etc/unbound/unbound_control.pem | unbound-control-setup: unbound-control-setup
xrdp keys | | etc/xrdp/rsakeys.ini | xrdp-keygen: xrdp-keygen xrdp $files
module signing key of DKMS | | var/lib/dkms/mok.key var/lib/dkms/mok.pub | itself
module signing key of Ubuntu | | \
    var/lib/shim-signed/mok/MOK.priv var/lib/shim-signed/mok/MOK.der | \
    update-secureboot-policy: update-secureboot-policy --new-key
fwupd's key | fwupd.service | var/lib/fwupd/pki/secret.key var/lib/fwupd/pki/client.pem | itself
Docker's identity | docker.service docker.socket | etc/docker/key.json var/lib/docker/engine-id | itself
kubelet's own certificate | kubelet.service | var/lib/kubelet/pki/kubelet.key var/lib/kubelet/pki/kubelet.crt | itself
MySQL's identity and keys | | \
    var/lib/mysql/auto.cnf var/lib/mysql/*-key.pem var/lib/mysql/*-cert.pem var/lib/mysql/ca.pem \
    var/lib/mysql/private_key.pem var/lib/mysql/public_key.pem | itself
RabbitMQ's cookie | rabbitmq-server.service | var/lib/rabbitmq/.erlang.cookie | itself
Puppet agent's keys | puppet.service | \
    etc/puppetlabs/puppet/ssl/private_keys/*.pem etc/puppetlabs/puppet/ssl/public_keys/*.pem \
    var/lib/puppet/ssl/private_keys/*.pem var/lib/puppet/ssl/public_keys/*.pem | itself
Puppet agent's certificates | | etc/puppetlabs/puppet/ssl/certs/*.pem var/lib/puppet/ssl/certs/*.pem | derived
Salt's keys | salt-minion.service salt-master.service | \
    etc/salt/pki/minion/minion.pem etc/salt/pki/minion/minion.pub etc/salt/pki/master/master.pem \
    etc/salt/pki/master/master.pub | itself
Salt's name | | etc/salt/minion_id | derived
Chef client's key | chef-client.service cinc-client.service | etc/chef/client.pem etc/cinc/client.pem | itself
subscription of RHEL | rhsmcertd.service | \
    etc/pki/consumer/key.pem etc/pki/consumer/cert.pem etc/pki/entitlement/*.pem etc/sysconfig/rhn/systemid | itself
Tailscale's node | tailscaled.service | \
    var/lib/tailscale/tailscaled.state var/lib/tailscale/tailscaled.log.conf | itself
ZeroTier's node | zerotier-one.service | \
    var/lib/zerotier-one/identity.secret var/lib/zerotier-one/identity.public \
    var/lib/zerotier-one/authtoken.secret | itself
Netdata's node | netdata.service | \
    var/lib/netdata/registry/netdata.public.unique.id var/lib/netdata/netdata.api.key \
    var/lib/netdata/cloud.d/private.pem var/lib/netdata/cloud.d/public.pem var/lib/netdata/cloud.d/claimed_id | itself
Consul's node | consul.service | var/lib/consul/node-id opt/consul/node-id opt/consul/data/node-id | itself
Nomad's node | nomad.service | \
    opt/nomad/data/client/client-id opt/nomad/data/client/secret-id var/lib/nomad/client/client-id \
    var/lib/nomad/client/secret-id | itself
Elastic Beats' node | | var/lib/*beat/meta.json | itself
IDENTITIES
}

# Paths or patterns, one a line, of identities that all clones share on purpose; a step of the build writes it.
shared_list=/etc/shared-identities

# is_shared PATH: it is on that list.
is_shared() {
    [ -f "$root$shared_list" ] || return 1
    while read -r pattern; do
        # shellcheck disable=SC2254 # it is a pattern
        case $1 in $pattern) return 0 ;; esac
    done <"$root$shared_list"
    return 1
}

# each_identity FUNCTION: called as FUNCTION WHAT UNITS AGAIN FILE ... for each line of the table that has files here.
each_identity() {
    # shellcheck disable=SC2162 # a backslash continues a line
    identities | while IFS='|' read what units patterns again; do
        set -f
        # shellcheck disable=SC2086 # a list
        set -- "$1" $patterns
        call=$1
        shift
        patterns=$*
        set --
        for pattern in $patterns; do
            set +f
            # shellcheck disable=SC2086 # a pattern
            for file in "$root"/$pattern; do
                [ ! -f "$file" ] || set -- "$@" "$file"
            done
            set -f
        done
        set +f
        [ $# -eq 0 ] || "$call" "${what% }" "$units" "${again#"${again%%[! ]*}"}" "$@"
        set -- "$call"
    done
}
