#!/bin/sh
# Installs GRUB in a root folder that no machine has booted yet: run by chroot as root, in a mount namespace of its own, with
# neither the disk nor its firmware there. Leaves in /boot what is later written to the disk outside the root file system.
#
#   ROOT_UUID    UUID of the root file system, an ext4 on a GPT
#   ROOT_NUMBER  number of its partition
#   DISK         the guest's name of its disk, below /dev
#   BIOS_TARGET  GRUB's name of the platform (grub-install --target); empty: not for BIOS
#   BIOS_DISK    GRUB's module for disks there
#   EFI_TARGET   the same for UEFI; empty: not for UEFI
#   EFI_SUFFIX   the end of the names of EFI programs, as in grubx64.efi
#   ESP          volume number of the EFI system partition, as its UUID in /etc/fstab
#   DEBCONF      what the boot loader's packages ask, for debconf-set-selections
#   INITRD       "No" while packages are installed, see make_initramfs
set -eu
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

self=boot-loader
grub=/boot/grub

fail() {
    echo "$self: $*" >&2
    exit 1
}

# What the packages' upgrades in the guest read.
answer_debconf() {
    echo "$DEBCONF" | debconf-set-selections
}

# What grub-install copies.
copy_modules() {
    target=$1
    modules=/usr/lib/grub/$target
    [ -d "$modules" ] || fail "no $modules here: does the package of the boot loader bring it?"
    mkdir -p "$grub/$target" "$grub/fonts" "$grub/locale"
    for file in "$modules"/*.mod "$modules"/*.o "$modules"/*.lst "$modules"/modinfo.sh "$modules"/boot.img; do
        [ ! -e "$file" ] || cp "$file" "$grub/$target/"
    done
    [ ! -e /usr/share/grub/unicode.pf2 ] || cp /usr/share/grub/unicode.pf2 "$grub/fonts/"
    for file in /usr/share/locale/*/LC_MESSAGES/grub.mo; do
        [ -e "$file" ] || continue
        language=${file#/usr/share/locale/}
        cp "$file" "$grub/locale/${language%%/*}.mo"
    done
    [ -e "$grub/grubenv" ] || grub-editenv "$grub/grubenv" create
}

# Kernels made none: INITRD kept each from making one that would be made again when all packages are configured.
make_initramfs() {
    unset INITRD
    # No device has the UUID that it names yet, so that the hook for fsck could only warn.
    mount --bind /dev/null /etc/fstab
    for kernel in /boot/vmlinuz-*; do
        # make_menu says that there is none.
        [ -e "$kernel" ] || continue
        version=${kernel#/boot/vmlinuz-}
        [ -e "/boot/initrd.img-$version" ] || update-initramfs -c -k "$version"
    done
    umount /etc/fstab
}

make_core() {
    grub-mkimage --format="$BIOS_TARGET" --directory="/usr/lib/grub/$BIOS_TARGET" --prefix="(,gpt$ROOT_NUMBER)$grub" \
        --output="$grub/$BIOS_TARGET/core.img" ext2 part_gpt "$BIOS_DISK"
}

# copy_program FILE NAME: to where removable disks have programs, which firmware starts without an entry in its variables; and
# to the distribution's own folder, where packages bring updates.
copy_program() {
    [ -e "$1" ] || fail "no $1 here: does the package of the signed boot loader bring it?"
    cp -L "$1" "$esp/BOOT/$2"
    cp -L "$1" "$esp/$own/$2"
}

fill_esp() {
    esp=/boot/efi/EFI
    signed=/usr/lib/grub/$EFI_TARGET-signed/grub$EFI_SUFFIX.efi.signed
    # The folder in which this GRUB looks for its configuration is part of what is signed.
    own=$(grep -a -o '/EFI/[a-z]*' "$signed" | head -n 1)
    own=${own#/EFI/}
    [ -n "$own" ] || fail "$signed does not say where its configuration is"
    mkdir -p "$esp/BOOT" "$esp/$own"
    copy_program "$signed" "grub$EFI_SUFFIX.efi"
    copy_program "/usr/lib/shim/shim$EFI_SUFFIX.efi.signed" "shim$EFI_SUFFIX.efi"
    mv "$esp/BOOT/shim$EFI_SUFFIX.efi" "$esp/BOOT/BOOT$(echo "$EFI_SUFFIX" | tr '[:lower:]' '[:upper:]').EFI"
    for file in "/usr/lib/shim/mm$EFI_SUFFIX.efi.signed" "/usr/lib/shim/mm$EFI_SUFFIX.efi"; do
        [ ! -e "$file" ] || copy_program "$file" "mm$EFI_SUFFIX.efi"
    done
    cat >"$esp/$own/grub.cfg" <<CONFIG
search.fs_uuid $ROOT_UUID root
set prefix=(\$root)'$grub'
configfile \$prefix/grub.cfg
CONFIG
    # Without it a disk whose ESP is damaged would wait for it at each boot, and ask for help.
    grep -q '[[:space:]]/boot/efi[[:space:]]' /etc/fstab ||
        echo "UUID=$ESP  /boot/efi  vfat  umask=0077,nofail  0  0" >>/etc/fstab
    # Debian's package for both firmwares only keeps both up to date where this file is.
    [ -z "$BIOS_TARGET" ] || : >/etc/grub.d/enable_cloud
}

# grub.cfg is made by the distribution's own update-grub. It asks grub-probe where / is, and looks into /dev and /sys: all
# three answer as they will in the guest, whatever this host is.
make_menu() {
    mkdir -p /dev/disk
    mount -t tmpfs tmpfs /dev/disk
    mkdir /dev/disk/by-uuid
    : >"/dev/disk/by-uuid/$ROOT_UUID"
    [ ! -d /sys/firmware ] || mount -t tmpfs tmpfs /sys/firmware
    cat >/dev/disk/grub-probe <<PROBE
#!/bin/sh
target=
while [ \$# -gt 0 ]; do
    case \$1 in
    --target=*) target=\${1#*=} ;;
    -t | --target) target=\$2 && shift ;;
    esac
    shift
done
case \$target in
device) echo /dev/$DISK$ROOT_NUMBER ;;
disk) echo /dev/$DISK ;;
drive) echo "(hd0,gpt$ROOT_NUMBER)" ;;
fs) echo ext2 ;;
fs_uuid) echo $ROOT_UUID ;;
partmap) echo gpt ;;
abstraction | compatibility_hint | cryptodisk_uuid | hints_string) ;;
*) exit 1 ;;
esac
PROBE
    chmod 755 /dev/disk/grub-probe
    mount --bind /dev/disk/grub-probe /usr/sbin/grub-probe
    update-grub
    grep -q ' root=' "$grub/grub.cfg" ||
        fail "update-grub found no kernel: see its lines above"
    umount /usr/sbin/grub-probe /dev/disk
    rmdir /dev/disk 2>/dev/null || :
}

answer_debconf
for target in $BIOS_TARGET $EFI_TARGET; do
    copy_modules "$target"
done
[ -z "$BIOS_TARGET" ] || make_core
[ -z "$EFI_TARGET" ] || fill_esp
make_initramfs
make_menu
