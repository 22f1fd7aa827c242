#!/bin/sh
# The half of a bootstrap that runs programs of the new system: the first process of a machine that has this system's root
# folder, as first-stage.sh left it, for its initial RAM disk. It installs the packages, configures the system, writes all of
# it as a tar to the first disk and switches the machine off. The last line that it prints says how it went.
#
#   /second-stage/essential       archives of the packages that are unpacked already, one a line
#   /second-stage/packages        what to install in addition, one a line, as apt-get takes it
#   /second-stage/setup.sh        what configures the system
#   /second-stage/boot-loader.sh  what installs the boot loader
#   /second-stage/disk            the name of the disk, below /dev
set -eu
umask 022
stage=/second-stage
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export LC_ALL=C.UTF-8 LANGUAGE=C.UTF-8 LANG=C.UTF-8 TZ=UTC HOME=/root TERM=dumb

# What the host reads.
say() {
    printf '\npipeline: %s.\n' "$*"
}

# The process with number 1 must not end.
if [ $$ = 1 ]; then
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    # It may use half of the memory otherwise.
    mount -o remount,size=90% /
    code=0
    /bin/sh "$stage/init" </dev/null || code=$?
    sync
    say "exit $code"
    # Works before any package is installed.
    echo o >/proc/sysrq-trigger
    while :; do
        sleep 60
    done
fi

# No service starts while packages are installed.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

say "phase installing the base"
# dpkg knows no order of packages that depend on each other before their scripts run.
# shellcheck disable=SC2046 # names of files
dpkg --install --force-depends $(cat "$stage/essential")
# shellcheck disable=SC2046 # names of files
rm $(cat "$stage/essential")

say "phase installing packages"
# boot-loader.sh makes the initial RAM disks.
export INITRD=No
xargs -d '\n' apt-get --yes --no-download install <"$stage/packages"
rm -f /var/cache/apt/archives/*.deb
rm /usr/sbin/policy-rc.d

say "phase configuring"
/bin/sh -eu "$stage/setup.sh"
# What it mounts vanishes with its namespace.
unshare --mount /bin/sh -eu "$stage/boot-loader.sh"

say "phase cleaning up"
# As mmdebstrap does at its end.
apt-get -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null update
apt-get clean
rm -rf /var/lib/apt/lists/auxfiles
rm -f /var/log/dpkg.log /var/log/apt/history.log /var/log/apt/term.log /var/log/alternatives.log \
    /var/cache/ldconfig/aux-cache /var/log/apt/eipp.log.xz /var/lib/dbus/machine-id
: >/etc/machine-id
find /run /tmp -mindepth 1 -maxdepth 1 ! -path /run/lock -exec rm -rf {} +

say "phase writing the result"
disk=/dev/$(cat "$stage/disk")
modprobe virtio_pci
modprobe virtio_blk
# Without what is mounted over it.
mkdir "$stage/root"
mount --bind / "$stage/root"
tar --numeric-owner --xattrs --xattrs-include='*' --exclude=./second-stage --exclude='./dev/*' \
    --blocking-factor=2048 -C "$stage/root" -cf "$disk" .
sync "$disk"
