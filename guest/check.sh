#!/bin/sh
# Asks questions in a guest that is being checked, as root, and sends the answers to the host. It changes nothing but the
# clock. What is asked stands in the function `plan`, which the host writes in front of this file together with these
# variables:
#
#   CHECK_URL    where answers are posted; empty: they are printed
#   CHECK_AFTER  yes: look once more after the agent has ended, when the next minute has turned
#   BUILD_KEY    the base64 part of the build's public key in pieces, so that this text does not hold it; may be empty
#   KEYS_OUT     yes: the host has looked through the whole disk, and there is no key of a build
#   BUILD_HOSTS  texts that would be traces of the build host, one a line; may be empty
#   CHECK_ROOT   for tests only: identities and traces are looked for in this folder instead of /
#
# Each answer is a line `answer NUMBER CODE SECONDS` and lines of base64; the last line is `end`. POSIX sh with coreutils
# or BusyBox.
# shellcheck disable=SC2317,SC2329 # what looks unreachable is called by `plan`
set -u

root=${CHECK_ROOT:-}
key_body=$(printf '%s' "$BUILD_KEY" | tr -d ' ')
# shellcheck disable=SC2034 # for the inventory
since=
# The host sends them in front of this file.
# shellcheck source=guest/inventory.sh
command -v identities >/dev/null || . "$(dirname "$0")/inventory.sh"
# shellcheck source=guest/lib.sh
command -v root_device >/dev/null || . "$(dirname "$0")/lib.sh"

agent_entry=/etc/cron.d/vm-boostrap
agent_state=/root/bootstrap
agent_log=/var/log/vm-bootstrap.log
# Longest time for the boot to come to its end, in seconds.
settle_limit=150
# Bytes of an answer that are sent.
answer_limit=65536

# keep NUMBER CODE STARTED: the output of a question becomes its answer.
keep() {
    {
        echo "answer $1 $2 $(($(date +%s) - $3))"
        head -c "$answer_limit" "$folder/output" | base64
    } >>"$folder/answers"
}

# fact NUMBER FUNCTION: one of the questions below.
fact() {
    started=$(date +%s)
    ("$2") >"$folder/output" 2>&1 </dev/null
    keep "$1" "$?" "$started"
}

# try NUMBER SECONDS COMMAND: a question of the manifest's.
try() {
    started=$(date +%s)
    printf '%s\n' "$3" >"$folder/command"
    if command -v timeout >/dev/null; then
        timeout "$2" /bin/sh "$folder/command" >"$folder/output" 2>&1 </dev/null
    else
        /bin/sh "$folder/command" >"$folder/output" 2>&1 </dev/null
    fi
    keep "$1" "$?" "$started"
}

# Waits for the jobs of the boot. The agent may be one of them, and this script with it.
settle() {
    command -v systemctl >/dev/null || return 0
    waited=0
    while [ "$waited" -lt "$settle_limit" ]; do
        systemctl list-jobs --no-legend --no-pager 2>/dev/null | grep -v 'vm-bootstrap\.service' |
            grep -q '^ *[0-9]' || return 0
        sleep 2
        waited=$((waited + 2))
    done
}

# Sizes in bytes: of the root file system, of what it lies on, of the disk, and where on that it ends.
root_size() {
    device=$(root_device)
    disk=$(disk_below "$device")
    stat -f -c 'filesystem=%b*%S' /
    echo "device=$(cat "$device/size")*512"
    if [ -e "$device/partition" ]; then
        echo "start=$(cat "$device/start")*512"
    fi
    echo "disk=$(cat "$disk/size")*512"
}

# One line for each unit that failed, with the last thing it said.
failed_units() {
    if command -v systemctl >/dev/null; then
        systemctl --failed --no-legend --plain --no-pager | while read -r unit _; do
            said=$(journalctl --quiet --no-pager --output=cat --lines=1 --unit="$unit" 2>/dev/null)
            echo "$unit: $said"
        done
    elif command -v rc-status >/dev/null; then
        rc-status --crashed --nocolor | sed 's/^ *//'
    else
        echo "neither systemd nor OpenRC can be asked here"
        return 3
    fi
}

# table_files WHAT UNITS AGAIN FILE ...: what must differ of a line of the table.
table_files() {
    case $3 in never | derived) return 0 ;; esac
    shift 3
    printf '%s\n' "$@"
}

# Private keys below /etc and /var/lib by their contents, but for what containers and packages bring along.
private_keys() {
    set --
    for name in apt containerd containers docker dpkg flatpak lxc machines rancher snapd; do
        set -- "$@" -o -path "$root/var/lib/$name"
    done
    find "$root/etc" "$root/var/lib" -xdev \( -path / "$@" \) -prune -o -type f -size -2048 \
        -exec env LC_ALL=C grep -lE \
        -e '^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY' -e '^-----BEGIN OpenVPN Static key' \
        -e '^ *[Pp]rivate-?[Kk]ey *= *[A-Za-z0-9+/]{43}=' {} + 2>/dev/null
    find "$root/etc" "$root/var/lib" -xdev \( -path / "$@" \) -prune -o -type f \
        \( -name '*.p12' -o -name '*.pfx' \) -print 2>/dev/null
}

# What no two clones may share.
identity() {
    echo "machine-id $(cat "$root/etc/machine-id" 2>/dev/null)"
    if [ -x "$root/usr/sbin/sshd" ] || command -v sshd >/dev/null; then
        echo "sshd"
    fi
    for file in "$root"/etc/ssh/ssh_host_*_key.pub; do
        [ ! -e "$file" ] || awk '{ print "host-key", $1, $2 }' "$file"
    done
    {
        each_identity table_files
        private_keys
    } | sort -u | while read -r file; do
        if is_shared "${file#"$root"}"; then
            echo "shared ${file#"$root"}"
        else
            echo "secret $(sha256sum <"$file" | cut -c1-32) ${file#"$root"}"
        fi
    done
}

# What the first screen shows: consoles that talk to no serial port are seen there.
screen() {
    [ ! -e /dev/vcs1 ] || tr -s ' ' <"/dev/vcs1"
}

# addresses PATTERN FILE ...: lines that are no comment and have the pattern.
addresses() {
    pattern=$1
    shift
    for file in "$@"; do
        [ -f "$file" ] || continue
        grep -E "$pattern" "$file" 2>/dev/null | grep -v '^ *[#;/]' | while read -r line; do
            echo "$file: $line"
        done
    done
}

# The key that let the build in, wherever it is, and keys that let other builds in, known by their comment.
keys_of_builds() {
    [ "$KEYS_OUT" != yes ] || return 0
    set -- -e ' pipeline-build-key'
    if [ -n "$key_body" ]; then
        in_json=$(key_in_json)
        in_url=$(key_in_url)
        set -- "$@" -e "$key_body" -e "$in_json" -e "$in_url"
    fi
    files_with "$@" | while read -r file; do
        if [ -n "$key_body" ] && LC_ALL=C grep -qsF -e "$key_body" -e "$in_json" -e "$in_url" "$file"; then
            echo "${file#"$root"}: the build key"
        elif LC_ALL=C grep -qsE 'ssh-ed25519 AAAA[A-Za-z0-9+/]{64} pipeline-build-key' "$file"; then
            echo "${file#"$root"}: the key of another build"
        fi
    done
}

# One line for each thing that the build left behind.
traces() {
    keys_of_builds
    homes | while read -r home; do
        [ ! -e "$home/.ansible/tmp" ] || echo "${home#"$root"}/.ansible/tmp: files of Ansible"
    done
    find "$root/etc" -xdev -name '*pipeline-build*' | sed "s|^$root||; s|\$|: a setting of the build|"
    [ ! -e "$root$agent_state/held-by-build" ] || echo "$agent_state/held-by-build: the agent is still held back"
    sources=
    set -f
    for name in $(package_sources); do
        sources="$sources $root$name"
    done
    set +f
    settings=
    for name in apt/apt.conf 'apt/apt.conf.d/*' environment 'profile.d/*' yum.conf dnf/dnf.conf wgetrc pip.conf gitconfig; do
        settings="$settings $root/etc/$name"
    done
    settings="$settings $root/root/.curlrc $root/root/.wgetrc $root/root/.gitconfig"
    # shellcheck disable=SC2086 # these are lists of patterns
    {
        # The host itself, as its loopback and as qemu's user network show it.
        addresses '://(127\.|localhost[:/]|\[::1\])' $sources
        addresses '(^|[^0-9.])10\.0\.2\.2([^0-9.]|$)' $sources $settings
        echo "$BUILD_HOSTS" | while read -r host; do
            [ -z "$host" ] || grep -lsF "$host" $sources $settings | sed "s|\$|: $host, an address of the build host|"
        done
    }
}

# value FILE: its first line.
value() {
    if [ -r "$1" ]; then head -n 1 "$1"; else echo absent; fi
}

# How the agent started us, and what it keeps.
agent() {
    echo "uid=$(id -u)"
    echo "folder=$PWD"
    echo "term=${TERM:-}"
    echo "path=$PATH"
    for name in vm-bootstrap start-bootstrap bootstrap-script; do
        [ -e "$agent_state/$name" ] || echo "missing=$agent_state/$name"
    done
    [ -e "$agent_entry" ] || echo "missing=$agent_entry"
    [ -e "$agent_log" ] || echo "missing=$agent_log"
    echo "runs=$(value "$agent_state/retry-amount")"
    echo "most=$(value "$agent_state/bootstrap-max-retry")"
    echo "logged=$(grep -c 'vm-bootstrap: run [0-9]* of' "$agent_log")"
}

# Whether it stopped: looked at when the minute after its end has turned.
agent_ended() {
    [ ! -e "$agent_entry" ] || echo "left=$agent_entry"
    if command -v systemctl >/dev/null && systemctl --quiet is-active vm-bootstrap.timer 2>/dev/null; then
        echo "left=vm-bootstrap.timer"
    fi
    echo "runs=$(value "$agent_state/retry-amount")"
}

# send NAME FILE
send() {
    if [ -z "$CHECK_URL" ]; then
        cat "$2"
        return
    fi
    for attempt in 1 2 3; do
        if command -v curl >/dev/null; then
            curl --fail --silent --show-error --noproxy '*' --max-time 120 --data-binary "@$2" --output /dev/null \
                "$CHECK_URL/$1" && return 0
        else
            http_proxy='' HTTP_PROXY='' wget -q -O /dev/null --post-file="$2" "$CHECK_URL/$1" && return 0
        fi
        echo "check: attempt $attempt to send the $1 failed" >&2
        sleep 3
    done
    return 1
}

# Turns the minute by setting the clock: the guest is a copy that is thrown away, and waiting costs up to a minute. cron
# sleeps by another clock, and looks at this one when a signal has woken it.
turn_minute() {
    second=$(date +%S)
    date -s "@$(($(date +%s) + 60 - ${second#0}))"
    for file in /run/cron.pid /run/crond.pid; do
        [ ! -s "$file" ] || kill -CHLD "$(cat "$file")"
    done
}

after() {
    waited=0
    while [ -e "$agent_entry" ] && [ "$waited" -lt 30 ]; do
        sleep 1
        waited=$((waited + 1))
    done
    # The agent pauses before it asks; one that still lives has asked again by then.
    turn_minute
    sleep 14
    rm -f "$folder/answers"
    fact 0 agent_ended
    echo end >>"$folder/answers"
    send after "$folder/answers"
    rm -rf "$folder"
}

folder=$(mktemp -d) || exit 1
plan
echo end >>"$folder/answers"
send answers "$folder/answers" || exit 1
if [ "$CHECK_AFTER" = yes ]; then
    (after) >/dev/null 2>&1 </dev/null &
else
    rm -rf "$folder"
fi
exit 0
