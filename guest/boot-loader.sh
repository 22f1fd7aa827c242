#!/bin/sh
# Installs GRUB in a root folder that no machine has booted yet: run by chroot as root, in a mount namespace of its own, with
# neither the disk nor its firmware there. Leaves in /boot what is later written to the disk outside the root file system.
#
#   ROOT_UUID    UUID of the root file system, an ext4 on a GPT
#   ROOT_NUMBER  number of its partition
#   DISK         the guest's name of its disk, below /dev
#   GRUB_TARGET  GRUB's name of the platform (grub-install --target)
#   GRUB_DISK    GRUB's module for disks there
#   DEBCONF      what the boot loader's packages ask, for debconf-set-selections
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
    modules=/usr/lib/grub/$GRUB_TARGET
    [ -d "$modules" ] || fail "no $modules here: does the package of the boot loader bring it?"
    mkdir -p "$grub/$GRUB_TARGET" "$grub/fonts" "$grub/locale"
    for file in "$modules"/*.mod "$modules"/*.o "$modules"/*.lst "$modules"/modinfo.sh "$modules"/boot.img; do
        [ ! -e "$file" ] || cp "$file" "$grub/$GRUB_TARGET/"
    done
    [ ! -e /usr/share/grub/unicode.pf2 ] || cp /usr/share/grub/unicode.pf2 "$grub/fonts/"
    for file in /usr/share/locale/*/LC_MESSAGES/grub.mo; do
        [ -e "$file" ] || continue
        language=${file#/usr/share/locale/}
        cp "$file" "$grub/locale/${language%%/*}.mo"
    done
    [ -e "$grub/grubenv" ] || grub-editenv "$grub/grubenv" create
}

make_core() {
    grub-mkimage --format="$GRUB_TARGET" --directory="/usr/lib/grub/$GRUB_TARGET" --prefix="(,gpt$ROOT_NUMBER)$grub" \
        --output="$grub/$GRUB_TARGET/core.img" ext2 part_gpt "$GRUB_DISK"
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
copy_modules
make_core
make_menu
