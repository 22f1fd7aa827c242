//! A disk image of another maker, as distros publish them for clouds: cloud-init in it, nothing of ours, and btrfs, which
//! grows only while it is mounted. Made without a guest, by Debian's own tools.

use std::fs;
use std::path::{Path, PathBuf};

use pipeline::internals::digest::sha256_hex;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::namespace;

use super::vm::is_real;
use super::{debian_mirror, tool};

const SCRIPT: &str = r#"set -eu
packages=btrfs-progs,ca-certificates,cloud-init,fdisk,grub-pc-bin,ifupdown,initramfs-tools,iproute2,isc-dhcp-client
packages=$packages,linux-image-cloud-amd64,openssh-server,procps,sudo,systemd-sysv,udev,zstd,dbus
mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" --aptopt='Acquire::Languages "none"' \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' bookworm root "deb $1 bookworm main"
uuid=5e1f0c64-9a3b-4c0e-8d57-2f6f4a1b7c9d
echo "UUID=$uuid / btrfs defaults 0 0" > root/etc/fstab
echo cloud > root/etc/hostname
# Without a seed cloud-init stays out of the way, and configures no network.
cat > root/etc/systemd/system/plain-network.service <<END
[Unit]
ConditionPathExists=/run/cloud-init/disabled
After=network-pre.target
[Service]
Type=forking
ExecStart=/sbin/dhclient eth0
[Install]
WantedBy=multi-user.target
END
chroot root systemctl enable plain-network.service
# A user of its maker, by key.
chroot root useradd -m -s /bin/bash ops
echo 'ops ALL=(ALL) NOPASSWD: ALL' > root/etc/sudoers.d/ops
mkdir -m 700 root/home/ops/.ssh
echo "$2" > root/home/ops/.ssh/authorized_keys
chroot root chown -R ops: /home/ops/.ssh
# An RSA key for each new seed would take the half of a minute without KVM.
echo 'ssh_genkeytypes: [ed25519]' > root/etc/cloud/cloud.cfg.d/90-keys.cfg
mkdir -p root/boot/grub
cat > root/boot/grub/grub.cfg <<END
linux /$(cd root && echo boot/vmlinuz-*) root=UUID=$uuid ro net.ifnames=0 console=ttyS0,115200
initrd /$(cd root && echo boot/initrd.img-*)
boot
END
grub-mkimage -O i386-pc -d root/usr/lib/grub/i386-pc -p '(hd0,msdos1)/boot/grub' -o core.img \
    biosdisk part_msdos btrfs normal linux
cp root/usr/lib/grub/i386-pc/boot.img .
truncate -s 2047M root.img
mkfs.btrfs --quiet --rootdir root -U "$uuid" root.img
rm -r root
truncate -s 2G theirs.raw
echo '2048,,L,*' | sfdisk -q theirs.raw
dd if=root.img of=theirs.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=boot.img of=theirs.raw bs=440 count=1 conv=notrunc status=none
dd if=core.img of=theirs.raw bs=512 seek=1 conv=notrunc status=none
zstd -q --rm theirs.raw
rm root.img core.img boot.img
"#;

/// `theirs.raw.zst` in this folder, of 2 GiB with one partition from the first MiB on, and `ops`, the private key that lets
/// its user of that name in. Both are kept from one test run to the next.
pub fn btrfs_with_cloud_init(folder: &Path) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud-image");
    let key = sha256_hex(format!("{SCRIPT}{}", debian_mirror()).as_bytes());
    let image = kept.join(&key[..16]);
    if is_real() || !image.exists() {
        let _ = fs::remove_dir_all(&kept);
        let draft = kept.join("draft");
        fs::create_dir_all(&draft).unwrap();
        let words = ["-q", "-t", "ed25519", "-N", "", "-f", "ops"];
        tool("ssh-keygen", &words, &draft);
        let public = fs::read_to_string(draft.join("ops.pub")).unwrap();
        let made = namespace::as_root("sh")
            .args(["-c", SCRIPT, "sh", &debian_mirror(), public.trim()])
            .folder(&draft)
            .read(&Cancel::default());
        made.unwrap();
        fs::rename(draft, &image).unwrap();
    }
    fs::copy(image.join("ops"), folder.join("ops")).unwrap();
    let disk = folder.join("theirs.raw.zst");
    fs::hard_link(image.join("theirs.raw.zst"), &disk).unwrap();
    disk
}
