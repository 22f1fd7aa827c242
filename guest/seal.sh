#!/bin/sh
# Seals a guest: the last act of provisioning, run as root. Takes out what belongs to the build and what no two machines
# may share, and prints one line for each thing it did. It does not power off.
#
#   BUILD_KEY_PUBLIC  the public key that let the build in, as in authorized_keys. Must be set (this script is not for
#                     machines in use); empty means that there is none to take out.
#   SEAL_SINCE        seconds since 1970, where it is known that no older file has that key but an account's .ssh
#   SEAL_ROOT         for tests only: works on this folder instead of / and touches nothing that runs
#
# Afterwards no new SSH session is possible before the next boot: power off from this session or by the power button.
# Runs on Debian, Ubuntu, RHEL and Alpine; running it twice does no harm. It never deletes users' data.
set -eu

root=${SEAL_ROOT:-}
# shellcheck disable=SC2034 # for the inventory
since=${SEAL_SINCE:-}
build_key=${BUILD_KEY_PUBLIC?"is not set: seal.sh is the end of an image build and not for a machine in use"}
# The base64 part alone: options before it and the comment behind it may have been changed (cloud-init does).
key_body=$(printf '%s\n' "$build_key" | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^AAAA/) { print $i; exit } }')
# Longer lines are a whole document: nothing may go with the key.
longest_line=8192
# With a clock that was set back since then, files seem older than they are.
if [ -z "$root" ] && [ -n "$since" ] && [ "$(($(date +%s) - $(cut -d. -f1 /proc/uptime)))" -lt "$since" ]; then
    since=
fi
# Makes identities again at the first boot, and then removes itself.
renewal=/usr/local/sbin/renew-identities
# shellcheck disable=SC2034 # for the library
self=seal
# The host sends them in front of this file.
# shellcheck source=guest/inventory.sh
command -v identities >/dev/null || . "$(dirname "$0")/inventory.sh"
# shellcheck source=guest/lib.sh
command -v package_manager >/dev/null || . "$(dirname "$0")/lib.sh"

did() {
    echo "seal: $1"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# live COMMAND ...: for what acts on the running system, which a test is not.
live() {
    [ -n "$root" ] || "$@"
}

systemd_is_here() {
    [ -e "$root/usr/lib/systemd/systemd" ] || [ -e "$root/lib/systemd/systemd" ]
}

# rewrite FILE COMMAND ...: the file becomes the command's output; owner, mode and label stay.
rewrite() {
    file=$1
    shift
    text=$("$@" "$file" && echo .) || fail "cannot rewrite $file"
    printf '%s' "${text%.}" >"$file" || fail "cannot write to $file"
}

# has_nul FILE: it is no text.
has_nul() {
    [ "$(LC_ALL=C tr -cd '\000' <"$1" | wc -c)" -ne 0 ]
}

# without_build_key FILE: its lines without those that have the key. Fails if such a line is too long for one entry.
without_build_key() {
    # shellcheck disable=SC2016 # $0 is awk's
    LC_ALL=C awk -v body="$key_body" -v url="$in_url" -v longest="$longest_line" '
        { plain = $0; gsub(/\\\//, "/", plain) }
        index(plain, body) == 0 && index(plain, url) == 0 { print; next }
        length($0) > longest { exit 3 }
    ' "$1"
}

# By the key and not by a list of places: sshd may look anywhere, and steps copy files.
remove_build_key() {
    [ -n "$build_key" ] || { did "build key: none to remove" && return; }
    [ -n "$key_body" ] || fail "BUILD_KEY_PUBLIC is not a public key line (ssh-ed25519 AAAA... comment)"
    in_json=$(key_in_json)
    in_url=$(key_in_url)
    left=
    found=$(files_with -e "$key_body" -e "$in_json" -e "$in_url")
    # It let us in, so that it is somewhere.
    if [ -z "$found" ] && [ -n "$since" ]; then
        since=
        found=$(files_with -e "$key_body" -e "$in_json" -e "$in_url")
    fi
    old_ifs=$IFS
    IFS='
'
    set -f
    for file in $found; do
        if has_nul "$file" || ! without_build_key "$file" >/dev/null; then
            left="$left ${file#"$root"}"
            continue
        fi
        rewrite "$file" without_build_key
        if ! grep -q '[^[:space:]]' "$file"; then
            rm -f "$file"
            [ "${file%/.ssh/*}" = "$file" ] || rmdir "$(dirname "$file")" 2>/dev/null || :
        fi
        did "build key: removed from ${file#"$root"}"
    done
    # Looked at, not believed.
    for file in $found; do
        ! grep -qsF -e "$key_body" -e "$in_json" -e "$in_url" "$file" || left="$left ${file#"$root"}"
    done
    set +f
    IFS=$old_ifs
    left=$(echo "$left" | tr -s ' ' '\n' | sort -u | tr '\n' ' ')
    [ -z "${left# }" ] ||
        fail "the build key cannot be taken out of${left% }: it is no line of a text there; let no step copy it there"
}

remove_build_settings() {
    find "$root/etc" -xdev -type f -name '*pipeline-build*' | while read -r file; do
        rm -f "$file"
        # Drop-in folders made for the file alone go as well; others are not empty.
        case $file in
        *.service.d/* | *.timer.d/*) rmdir "$(dirname "$file")" 2>/dev/null || : ;;
        esac
        did "build setting: removed ${file#"$root"}"
    done
    homes | while read -r home; do
        [ -d "$home/.ansible/tmp" ] || continue
        rm -rf "$home/.ansible/tmp"
        rmdir "$home/.ansible" 2>/dev/null || :
        did "build setting: removed ${home#"$root"}/.ansible/tmp"
    done
}

# Ubuntu's installer leaves a hook that takes its network configuration away, so that cloud-init writes another: a clone
# without a data source would have none. With one, cloud-init replaces 50-cloud-init.yaml, and no other file.
clean_cloud_init() {
    kept=$(mktemp -d)
    cp -p /etc/netplan/*.yaml "$kept" 2>/dev/null || :
    cloud-init clean --logs >/dev/null 2>&1 ||
        fail "cloud-init clean failed: clones would take themselves for this VM"
    did "cloud-init: state removed"
    for file in "$kept"/*.yaml; do
        taken=${file##*/}
        if [ ! -e "$file" ] || [ -e "/etc/netplan/$taken" ]; then
            continue
        fi
        name=50-cloud-init.yaml
        [ ! -e "/etc/netplan/$name" ] || name=$taken
        cp -p "$file" "/etc/netplan/$name"
        did "network: $taken, which cloud-init clean took away, is there again as $name"
    done
    rm -rf "$kept"
}

reset_cloud_init() {
    if [ -z "$root" ] && has cloud-init; then
        clean_cloud_init
    fi
    # Ubuntu's installer leaves the user-data of the installed machine as the only data source: clones would obey that,
    # and ignore their own.
    seed=$root/etc/cloud/cloud.cfg.d/99-installer.cfg
    if [ -f "$seed" ] && grep -q 'userdata_raw:' "$seed"; then
        rm -f "$seed"
        # Without a seed of its own, such a clone would then look for every cloud there is.
        policy=$root/etc/cloud/ds-identify.cfg
        if [ -f "$policy" ] && [ "$(cat "$policy")" = "policy: enabled" ]; then
            rm -f "$policy"
        fi
        did "cloud-init: the installer's own seed removed"
    fi
    # What it wrote for the build VM's own NIC fits no other: without a data source it does not write it again, and the
    # clone has no network.
    netplan=$root/etc/netplan/50-cloud-init.yaml
    if [ -f "$netplan" ] && grep -q macaddress "$netplan"; then
        printf '%s\n' 'network:' '  version: 2' '  ethernets:' '    first:' '      match:' '        name: "e*"' \
            '      dhcp4: true' '      dhcp-identifier: mac' '      optional: true' >"$netplan"
        did "network: netplan no longer asks for the build VM's MAC address"
    fi
    for file in "$root"/etc/sysconfig/network-scripts/ifcfg-e*; do
        grep -qs '^HWADDR=' "$file" || continue
        rewrite "$file" sed '/^HWADDR=/d'
        did "network: ${file#"$root"} no longer asks for the build VM's MAC address"
    done
    for file in "$root"/etc/NetworkManager/system-connections/cloud-init-*; do
        grep -qs '^mac-address=' "$file" || continue
        rewrite "$file" sed '/^mac-address=/d'
        did "network: ${file#"$root"} no longer asks for the build VM's MAC address"
    done
}

# The agent was held back during the build; in the next boot it may run, with all its runs before it. Not in this one: the
# minute may turn before the power is off, hence the second hold, in a folder that does not survive.
arm_agent() {
    state=$root/root/bootstrap
    [ -e "$state/vm-bootstrap" ] || return 0
    mkdir -p "$root/run"
    : >"$root/run/vm-bootstrap.hold"
    echo 0 >"$state/retry-amount"
    rm -f "$state/bootstrap-script" "$state/held-by-build"
    did "boot-time agent: armed for the next boot"
}

# write_unit NAME WANTED_BY ...: standard input becomes an enabled unit. By links, so that it also works offline.
write_unit() {
    units=$root/etc/systemd/system
    name=$1
    shift
    mkdir -p "$units"
    cat >"$units/$name"
    for wanted_by in "$@"; do
        mkdir -p "$units/$wanted_by.wants"
        ln -sfn "../$name" "$units/$wanted_by.wants/$name"
    done
}

# RHEL (sshd-keygen) and OpenRC make missing keys at boot by themselves, and then these units find nothing to do; Debian
# makes keys at package installation only. RSA comes apart: sshd need not wait for it, and offers it from its next start
# on; only clients older than 2014 know no other kind. Without KVM it takes up to a minute, which a machine that a user
# tries an image in should not spend: there it is left for the first boot on a real processor (systemd calls a machine of
# qemu's own emulation "qemu", and one of KVM "kvm").
renew_host_keys() {
    [ -d "$root/etc/ssh" ] || return 0
    rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
    if systemd_is_here; then
        write_unit ssh-host-keys.service ssh.service sshd.service multi-user.target <<'EOF'
[Unit]
Description=Make SSH host keys where there are none
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
After=sshd-keygen.service sshd-keygen.target
Before=ssh.service sshd.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
ExecStart=/usr/bin/ssh-keygen -q -t ecdsa -N "" -f /etc/ssh/ssh_host_ecdsa_key

[Install]
WantedBy=ssh.service sshd.service multi-user.target
EOF
        write_unit ssh-host-key-rsa.service multi-user.target <<'EOF'
[Unit]
Description=Make an RSA host key for old SSH clients
ConditionPathExists=!/etc/ssh/ssh_host_rsa_key
ConditionVirtualization=!qemu
After=ssh-host-keys.service sshd-keygen.service sshd-keygen.target

[Service]
Type=simple
Nice=19
ExecStart=/usr/bin/ssh-keygen -q -t rsa -N "" -f /etc/ssh/ssh_host_rsa_key

[Install]
WantedBy=multi-user.target
EOF
    fi
    did "SSH host keys: removed, made again at the next boot"
}

# Empty, not "uninitialized": that would make the next boot the very first one, at which systemd applies its presets and
# undoes what was enabled or disabled in the build.
empty_machine_id() {
    if [ -e "$root/etc/machine-id" ]; then
        : >"$root/etc/machine-id"
        did "machine-id: emptied, made at the next boot"
    fi
    if [ -e "$root/var/lib/dbus/machine-id" ] || [ -L "$root/var/lib/dbus/machine-id" ]; then
        rm -f "$root/var/lib/dbus/machine-id"
        if systemd_is_here; then
            ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
        fi
        did "machine-id: no copy of D-Bus's own"
    fi
}

# stop_unit UNIT: if this is a running systemd that knows it.
stop_unit() {
    [ -z "$root" ] && [ -d /run/systemd/system ] || return 0
    systemctl --quiet stop "$1" 2>/dev/null || :
}

# Stopped first where it matters: at power-off these write their files once more.
forget_identities() {
    stop_unit systemd-random-seed.service
    rm -f "$root/var/lib/systemd/random-seed" "$root/var/lib/urandom/random-seed" "$root/var/lib/random-seed" \
        "$root/var/lib/misc/random-seed"
    if [ -d "$root/var/lib/seedrng" ]; then
        [ -n "$root" ] || ! has rc-service || rc-service --quiet seedrng stop >/dev/null 2>&1 || :
        rm -rf "$root/var/lib/seedrng"
    fi
    did "random seed: removed"

    # ifupdown would take the NIC down at power-off, and dhclient then writes a new lease file with this VM's DHCP identity
    # in it. Once ifupdown's record of this boot is gone, it leaves the NIC alone.
    rm -f "$root"/run/network/ifstate.e*
    if [ -f "$root/run/network/ifstate" ]; then
        rewrite "$root/run/network/ifstate" sed '/^e/d'
    fi
    rm -f "$root"/var/lib/dhcp/*.lease* "$root"/var/lib/dhcp/dhclient*.leases "$root"/var/lib/dhclient/*.lease* \
        "$root"/var/lib/dhcpcd/*.lease* "$root"/var/lib/NetworkManager/*.lease \
        "$root"/var/lib/NetworkManager/timestamps "$root"/var/lib/NetworkManager/seen-bssids
    did "DHCP leases: removed"

    rm -f "$root"/etc/udev/rules.d/*persistent-net*.rules
    did "persistent names of NICs: removed"
}

# renew WHAT PROGRAM COMMAND FILE ...: the first boot runs the command where a file is missing.
renew() {
    {
        printf '\n# %s\nfiles="' "$1"
        program=$2
        command=$3
        shift 3
        for file; do
            printf '%s ' "${file#"$root"}"
        done
        printf '"\nif command -v %s >/dev/null && missing; then\n    (%s) || failed=1\nfi\n' "$program" "$command"
        for file; do
            path=${file#"$root"}
            stat -c "[ ! -e $path ] || { chown %u:%g $path && chmod %a $path; } || failed=1" "$file"
        done
    } >>"$root$renewal"
}

begin_renewal() {
    if [ -e "$root$renewal" ]; then
        # shellcheck disable=SC2016 # a line of the script
        rewrite "$root$renewal" sed '/^\[ "$failed" -ne 0 \]/,$d'
        return
    fi
    mkdir -p "$root${renewal%/*}"
    cat >"$root$renewal" <<'EOF'
#!/bin/sh
# Makes this machine's own keys and names in place of those that were taken out when its image was sealed. Runs once.
umask 077
cd / || exit 1
failed=0

# Whether one of $files is not there.
missing() {
    for file in $files; do
        [ -e "$file" ] || return 0
    done
    return 1
}
EOF
    chmod 755 "$root$renewal"
}

# The script goes when all is made, with what starts it.
end_renewal() {
    [ -e "$root$renewal" ] || return 0
    if ! grep -q '^exit ' "$root$renewal"; then
        cat >>"$root$renewal" <<'EOF'

[ "$failed" -ne 0 ] || rm -f /etc/systemd/system/renew-identities.service /etc/init.d/renew-identities \
    /etc/systemd/system/basic.target.wants/renew-identities.service /etc/runlevels/boot/renew-identities "$0"
exit "$failed"
EOF
    fi
    if systemd_is_here; then
        write_unit renew-identities.service basic.target <<'EOF'
[Unit]
Description=Make keys and names of this machine's own
DefaultDependencies=no
RequiresMountsFor=/etc /usr /var
After=local-fs.target systemd-tmpfiles-setup.service systemd-random-seed.service
Before=basic.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists=/usr/local/sbin/renew-identities

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/renew-identities

[Install]
WantedBy=basic.target
EOF
    elif [ -d "$root/etc/runlevels/boot" ]; then
        cat >"$root/etc/init.d/renew-identities" <<'EOF'
#!/sbin/openrc-run
description="Make keys and names of this machine's own"

depend() {
    need localmount
    after bootmisc seedrng urandom
}

start() {
    ebegin "Making keys and names of this machine's own"
    /usr/local/sbin/renew-identities
    eend $?
}
EOF
        chmod 755 "$root/etc/init.d/renew-identities"
        ln -sfn /etc/init.d/renew-identities "$root/etc/runlevels/boot/renew-identities"
    fi
}

# forget WHAT UNITS AGAIN FILE ...
forget() {
    what=$1
    units=$2
    again=$3
    shift 3
    for file; do
        if is_shared "${file#"$root"}"; then
            did "$what: stays, as ${file#"$root"} is shared on purpose"
            return
        fi
    done
    made="made again when it is needed"
    case $again in
    never) made="nothing needs it" ;;
    itself | derived) ;;
    'itself: '*)
        if [ ! -e "$root/${again#itself: }" ]; then
            did "$what: stays, as nothing here makes it again"
            return
        fi
        ;;
    *)
        begin_renewal
        renew "$what" "${again%%: *}" "${again#*: }" "$@"
        made="made again at the first boot"
        ;;
    esac
    for unit in $units; do
        stop_unit "$unit"
    done
    rm -f "$@"
    did "$what: removed, $made"
}

forget_package_identities() {
    each_identity forget
    # The number that popularity-contest reports with.
    conf=$root/etc/popularity-contest.conf
    if [ -f "$conf" ] && grep -q '^MY_HOSTID=' "$conf"; then
        rewrite "$conf" sed '/^MY_HOSTID=/d'
        begin_renewal
        cat >>"$root$renewal" <<'EOF'

# popularity-contest
id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
conf=/etc/popularity-contest.conf
grep -q '^MY_HOSTID=' "$conf" || echo "MY_HOSTID=\"$id\"" >>"$conf" || failed=1
EOF
        did "popularity-contest's number: removed, made again at the first boot"
    fi
    end_renewal
}

# Only what the build VM got from QEMU's user network; a resolver that was configured on purpose stays.
reset_resolver() {
    file=$root/etc/resolv.conf
    [ -f "$file" ] && [ ! -L "$file" ] || return 0
    grep -q '^nameserver 10\.0\.2\.3$' "$file" || return 0
    ! grep '^nameserver' "$file" | grep -qvx -e 'nameserver 10\.0\.2\.3' -e 'nameserver fec0::3' || return 0
    : >"$file"
    did "resolver: what DHCP gave the build VM removed"
}

empty_package_caches() {
    package_caches | while read -r manager patterns; do
        found=
        set -f
        # shellcheck disable=SC2086 # a list
        set -- $patterns
        set +f
        for pattern; do
            folder=${pattern%/*}
            [ -d "$root$folder" ] || continue
            found=yes
            # shellcheck disable=SC2086 # a pattern
            rm -rf "$root${folder:?}/"${pattern##*/}
        done
        [ -z "$found" ] || did "package cache: $manager's emptied"
    done
}

forget_histories() {
    homes | while read -r home; do
        for name in .bash_history .ash_history .sh_history .zsh_history .python_history .lesshst .wget-hsts \
            .mysql_history .mariadb_history .psql_history .sqlite_history .rediscli_history; do
            [ ! -f "$home/$name" ] || rm -f "$home/$name"
        done
    done
    did "shell histories: removed"
}

# What systemd gave to services that still run stays until they stop.
empty_temporary_folders() {
    for folder in "$root/tmp" "$root/var/tmp"; do
        [ -d "$folder" ] || continue
        find "$folder" -xdev -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' -exec rm -rf {} + 2>/dev/null || :
    done
    did "temporary files: removed"
}

# Near the end: what came before wrote into them.
empty_logs() {
    if [ -d "$root/var/log/journal" ]; then
        live journalctl --quiet --relinquish-var 2>/dev/null || :
        rm -rf "$root"/var/log/journal/*
    fi
    find "$root/var/log" -xdev -type f \
        \( -name '*.gz' -o -name '*.xz' -o -name '*.old' -o -name '*.[0-9]' \) -exec rm -f {} +
    find "$root/var/log" -xdev -type f -size +0 | while read -r file; do
        : >"$file"
    done
    did "logs: emptied, journal removed"
}

trim_disk() {
    [ -z "$root" ] || return 0
    # Blocks that were freed a moment ago are given back only when the journal has that.
    sync
    if has fstrim && fstrim -a >/dev/null 2>&1; then
        did "free blocks: given back to the disk"
    else
        did "free blocks: this disk or system cannot give them back"
    fi
    sync
}

# The promises that matter most are looked at, not believed.
check() {
    for file in "$root"/etc/ssh/ssh_host_*_key; do
        [ ! -e "$file" ] || fail "$file is still there"
    done
    [ ! -s "$root/etc/machine-id" ] || fail "$root/etc/machine-id is not empty"
}

[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "must run as root"
[ -z "$root" ] || [ -f "$root/etc/passwd" ] || fail "SEAL_ROOT is $root, which holds no etc/passwd"

remove_build_settings
reset_cloud_init
arm_agent
empty_package_caches
forget_identities
forget_package_identities
reset_resolver
renew_host_keys
empty_machine_id
forget_histories
empty_temporary_folders
empty_logs
remove_build_key
check
trim_disk
did "done"
