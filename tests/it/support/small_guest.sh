# shellcheck shell=sh
# A disk that boots by BIOS and GRUB to a login prompt and an sshd: Debian's kernel, busybox and dropbear; and another one that
# has apt and dpkg too, without any package. Made in the folder that it is started in, from the mirror $1.
set -eu
packages=apt,busybox-static,dpkg,dropbear-bin,gpgv,grub-pc-bin,libc-bin,linux-image-cloud-amd64,tar
mmdebstrap --quiet --mode=root --variant=extract --include="$packages" --aptopt='Acquire::Languages "none"' \
    bookworm all "deb $1 bookworm main"
kernel=$(cd all/boot && echo vmlinuz-*)
modules=all/lib/modules/${kernel#vmlinuz-}
[ -d "$modules" ] || modules=all/usr/lib/modules/${kernel#vmlinuz-}

# The root file system.
mkdir -p root/bin root/boot root/dev root/etc/acpi/PWRF root/lib root/lib64 root/modules root/proc root/root root/run \
    root/sys root/tmp root/usr root/var/lib
ln -s bin root/sbin
ln -s ../bin ../sbin ../lib root/usr/
ln -s ../run root/var/run
ln -s ../run root/var/log
cp all/bin/busybox root/bin/
for name in $(all/bin/busybox --list); do
    [ "$name" = busybox ] || ln -s busybox "root/bin/$name"
done
# take PROGRAM FOLDER: into that folder, with its libraries.
take() {
    cp --remove-destination "all$1" "root$2/"
    chroot all /lib64/ld-linux-x86-64.so.2 --list "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
        mkdir -p "root${lib%/*}"
        cp -L "all$lib" "root$lib"
    done
}
take /usr/sbin/dropbear /bin
for name in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk \
    failover net_failover virtio_net virtio-rng button evdev; do
    module=$(find "$modules" -name "$name.ko")
    [ -z "$module" ] || { cp "$module" root/modules/ && echo "$name" >> root/modules/order; }
done
chmod 1777 root/tmp
echo root:x:0:0:root:/root:/bin/sh > root/etc/passwd
echo root:x:0: > root/etc/group
echo root:*:::::: > root/etc/shadow
echo small > root/etc/hostname
echo /bin/sh > root/etc/shells
printf 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="busybox and dropbear"\n' > root/etc/os-release
printf '#!/bin/sh\npoweroff\n' > root/etc/acpi/PWRF/00000080
cat > root/etc/rc <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
mount -o remount,rw /
mount -t tmpfs run /run
for name in $(cat /modules/order); do
    insmod "/modules/$name.ko" 2> /dev/null
done
hostname -F /etc/hostname
ifconfig lo 127.0.0.1
ifconfig eth0 10.0.2.15
route add default gw 10.0.2.2
mkdir -p /etc/dropbear
[ ! -x /bin/dropbear ] || dropbear -R -E
acpid
END
cat > root/etc/inittab <<'END'
::sysinit:/etc/rc
ttyS0::respawn:getty -L 115200 ttyS0 vt100
::shutdown:mount -o remount,ro /
END
chmod +x root/etc/rc root/etc/acpi/PWRF/00000080

# What finds it: modules for its disk, and a switch to it.
mkdir -p early/bin early/dev early/root
cp all/bin/busybox early/bin/
for name in sh insmod mount switch_root; do
    ln -s busybox "early/bin/$name"
done
cp -r root/modules early/
cat > early/init <<'END'
#!/bin/sh
mount -t devtmpfs dev /dev
for name in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
    insmod "/modules/$name.ko" 2> /dev/null
done
mount -t ext4 -o ro /dev/vda1 /root
exec switch_root /root /bin/init
END
chmod +x early/init
(cd early && find . | ../all/bin/busybox cpio -o -H newc 2> /dev/null | gzip -9) > root/boot/initrd
cp "all/boot/$kernel" root/boot/kernel
cat > grub.cfg <<'END'
linux (hd0,msdos1)/boot/kernel console=ttyS0,115200
initrd (hd0,msdos1)/boot/initrd
boot
END
grub-mkimage -O i386-pc -d all/usr/lib/grub/i386-pc -c grub.cfg -p /boot -o core.img biosdisk part_msdos ext2 linux

# disk FILE MIB: one partition from the first MiB on.
disk() {
    truncate -s "$(($2 - 1))M" root.img
    mke2fs -q -t ext4 -d root root.img
    truncate -s "$2M" "$1"
    echo '2048,,L,*' | sfdisk -q "$1"
    dd if=root.img of="$1" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if=all/usr/lib/grub/i386-pc/boot.img of="$1" bs=440 count=1 conv=notrunc status=none
    dd if=core.img of="$1" bs=512 seek=1 conv=notrunc status=none
    rm root.img
}
disk disk.raw 64

mkdir -p root/etc/apt/trusted.gpg.d root/lib/apt/methods root/usr/share/dpkg root/var/cache/apt/archives/partial \
    root/var/lib/apt/lists/partial root/var/lib/dpkg/info root/var/lib/dpkg/updates
: > root/var/lib/dpkg/status
cp all/usr/share/dpkg/*table root/usr/share/dpkg/
for name in apt-config apt-get apt-key dpkg dpkg-deb dpkg-query dpkg-split gpgv; do
    take "/usr/bin/$name" /bin
done
take /bin/tar /bin
take /sbin/ldconfig /bin
for name in gpgv http store; do
    take "/usr/lib/apt/methods/$name" /lib/apt/methods
done
disk apt.raw 128
rm -r all root early core.img grub.cfg
