#!/bin/sh
# Prints where the root file system is, for the host that works on the disk later:
#   root-partition FIRST-BYTE TYPE    on a partition
#   root-elsewhere DEVICE TYPE        on LVM, RAID, an encrypted device
# Changes nothing. Runs on Debian, Ubuntu, RHEL and Alpine.
set -eu

# The host sends it in front of this file.
# shellcheck source=guest/lib.sh
command -v root_device >/dev/null || . "$(dirname "$0")/lib.sh"

type=$(awk '$2 == "/" && $1 != "rootfs" { found = $3 } END { print found }' /proc/mounts)
device=$(root_device)
if [ -e "$device/partition" ]; then
    # sysfs counts sectors of 512 bytes whatever the disk's are.
    echo "root-partition $(($(cat "$device/start") * 512)) $type"
else
    echo "root-elsewhere $(basename "$device") $type"
fi
