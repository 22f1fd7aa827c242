#!/bin/sh
# Grows the root partition to the end of its disk and the file system with it, from inside the guest.
# For file systems that cannot grow while they are not mounted (xfs, btrfs); does ext4 as well.
# Runs as root; says what it did; running it twice does nothing the second time.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

fail() {
    echo "grow-root: $*" >&2
    exit 1
}

source=$(awk '$2 == "/" && $1 ~ /^\/dev\// { print $1 }' /proc/mounts | tail -n 1)
type=$(awk '$2 == "/" && $1 != "rootfs" { print $3 }' /proc/mounts | tail -n 1)
if [ "$source" = /dev/root ] || [ -z "$source" ]; then
    source=$(findmnt -n -o SOURCE / | sed 's/\[.*//') || fail "cannot find the device that / is on"
fi
source=$(readlink -f "$source")
name=${source#/dev/}
[ -e "/sys/class/block/$name/partition" ] || fail "/ is on $source, which is no partition of a disk"
number=$(cat "/sys/class/block/$name/partition")
disk=$(basename "$(dirname "$(readlink -f "/sys/class/block/$name")")")

# The last sector that a partition may use: the end of the disk, less GPT's backup header.
sectors=$(cat "/sys/class/block/$disk/size")
start=$(cat "/sys/class/block/$name/start")
size=$(cat "/sys/class/block/$name/size")
wanted=$((sectors - 34 - start))
if [ "$((wanted - size))" -ge 2048 ]; then
    # A partition that was deleted while root was in use is gone from the table, and the kernel keeps it: nothing grows
    # over it.
    if command -v partx >/dev/null 2>&1; then
        table=$(partx --show --noheadings --output NR "/dev/$disk" | tr -s ' \n' ' ')
        for part in "/sys/class/block/$disk/"*/partition; do
            case " $table " in
                *" $(cat "$part") "*) ;;
                *) partx --delete --nr "$(cat "$part")" "/dev/$disk" 2>/dev/null || true ;;
            esac
        done
    fi
    if command -v growpart >/dev/null 2>&1; then
        growpart "/dev/$disk" "$number" || [ $? -eq 1 ]
    elif command -v sfdisk >/dev/null 2>&1; then
        # A GPT keeps its copy at the end of the old disk until it is moved.
        sfdisk --relocate gpt-bak-std "/dev/$disk" >/dev/null 2>&1 || true
        echo ', +' | sfdisk --no-reread --no-tell-kernel -N "$number" "/dev/$disk" >/dev/null
        partx --update "/dev/$disk" 2>/dev/null || partprobe "/dev/$disk" 2>/dev/null ||
            fail "the kernel does not read the new partition table of /dev/$disk; restart the guest and grow it then"
    else
        fail "neither growpart nor sfdisk is here; install cloud-guest-utils or fdisk in a step"
    fi
    # growpart and sfdisk succeed as well where they change nothing, as with another partition behind this one.
    size=$(cat "/sys/class/block/$name/size")
    if [ "$((wanted - size))" -ge 2048 ]; then
        fail "partition $number of /dev/$disk ends $(((wanted - size) / 2048)) MiB before the disk does; \
another partition may lie behind it"
    fi
    echo "partition $number of /dev/$disk now ends with the disk"
fi

case $type in
    ext2 | ext3 | ext4) resize2fs "$source" ;;
    xfs) xfs_growfs / ;;
    btrfs) btrfs filesystem resize max / ;;
    *) fail "do not know how to grow a $type file system" ;;
esac
# 448 of 512 bytes: an eighth is more than any of them keeps for itself.
grown=$(($(stat -f -c '%b * %S' /)))
[ "$grown" -ge "$((size * 448))" ] ||
    fail "the root file system ($type) has $((grown / 1048576)) MiB of its partition's $((size / 2048)) MiB"
echo "the root file system ($type) fills its partition"
