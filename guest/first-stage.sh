#!/bin/sh
# The half of a bootstrap that runs no program of the new system, for hosts that cannot run them. mmdebstrap starts it on the
# host as its extract hook: the essential packages are unpacked in the root folder then, and none is installed. What it
# leaves there is what second-stage.sh needs inside a machine.
#
#   SUITE     of the archive
#   ARCH      of the packages, as Debian names it
#   PACKAGES  what to install in addition to what every system has, separated by spaces
#   OUT       a folder of the host with what is to be in /second-stage; it gets `vmlinuz`, and in `installed` the size of all
#             packages in KiB
#
# usage: first-stage.sh ROOT
set -eu

root=$1
archives=$root/var/cache/apt/archives
stage=$root/second-stage

# As mmdebstrap selects them.
of_suite="?or(?archive(^$SUITE\$),?codename(^$SUITE\$)),?architecture($ARCH)"
essential="?narrow($of_suite,?essential)"
required="?narrow($of_suite,?and(?priority(required),?not(?essential)))"

# By the configuration that mmdebstrap has made for this root.
download() {
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --download-only install "$@"
}

cp -r "$OUT" "$stage"
chmod 755 "$stage/init"
for deb in $MMDEBSTRAP_ESSENTIAL; do
    echo "$deb"
done >"$stage/essential"

# The machine installs the rest by its own apt, of which only the files must be there for that.
download "$essential" apt mount
for deb in "$archives"/*.deb; do
    grep -qxF "${deb#"$root"}" "$stage/essential" ||
        dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" --keep-directory-symlink -x
done

# shellcheck disable=SC2086 # names of packages
download "$essential" "$required" $PACKAGES
{
    echo "$required"
    for package in $PACKAGES; do
        echo "$package"
    done
} >"$stage/packages"

for deb in "$archives"/linux-image-*.deb; do
    [ ! -e "$deb" ] || dpkg-deb --fsys-tarfile "$deb" | tar -x -O --wildcards './boot/vmlinuz-*' >"$OUT/vmlinuz" 2>/dev/null || :
    [ ! -s "$OUT/vmlinuz" ] || break
done
[ -s "$OUT/vmlinuz" ] || {
    echo "E: no package linux-image-* brings a kernel for the machine that configures the packages" >&2
    exit 1
}
for deb in "$archives"/*.deb; do
    dpkg-deb --field "$deb" Installed-Size
done | awk '{ sum += $1 } END { print sum }' >"$OUT/installed"
