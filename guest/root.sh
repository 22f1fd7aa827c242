#!/bin/sh
# Prints where the root file system is, for the host that works on the disk later:
#   root-partition FIRST-BYTE TYPE    on a partition
#   root-elsewhere DEVICE TYPE        on LVM, RAID, an encrypted device
# Changes nothing. Runs on Debian, Ubuntu, RHEL and Alpine.
set -eu

type=$(awk '$2 == "/" && $1 != "rootfs" { found = $3 } END { print found }' /proc/mounts)
number=$(awk '$5 == "/" { found = $3 } END { print found }' /proc/self/mountinfo)
device=/sys/dev/block/$number
if [ ! -e "$device" ]; then
    # Such as btrfs, whose device has no number in the table of mounts.
    source=$(awk '$5 == "/" { for (i = 6; i < NF; i++) if ($i == "-") found = $(i + 2) } END { print found }' \
        /proc/self/mountinfo)
    device=/sys/class/block/$(basename "$(readlink -f "$source")")
fi
if [ -e "$device/partition" ]; then
    # sysfs counts sectors of 512 bytes whatever the disk's are.
    echo "root-partition $(($(cat "$device/start") * 512)) $type"
else
    echo "root-elsewhere $(basename "$(readlink -f "$device")") $type"
fi
