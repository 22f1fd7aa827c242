#!/bin/sh
# Stands before qemu in the PATH of a story. The first machine that it starts is the one that is saved: its words are
# written down. From then on, a machine of the same words whose disk is an untouched layer over the same disk is that
# guest again: it goes on where it was saved. Any other machine is started as it is.
set -eu
here=$(dirname "$0")
# Under its own name: whoever looks for a qemu among the processes goes by that.
PATH=${PATH#"$here:"}
# All but names and paths.
words=$(printf '%s\n' "$@" | sed -e 's#/[^,]*##g' -e '/^guest=/d')
if [ ! -e "$here/words" ]; then
    printf '%s\n' "$words" > "$here/words"
    exec qemu-system-x86_64 "$@"
fi
layer=$(printf '%s\n' "$@" | sed -n 's#^if=none,id=disk0,.*,file=\(/.*/layer-1\.qcow2\)$#\1#p')
if [ -z "$layer" ] || [ "$words" != "$(cat "$here/words")" ]; then
    exec qemu-system-x86_64 "$@"
fi
below=$(qemu-img info "$layer" | sed -n -e 's/ (actual path: .*)$//' -e 's/^backing file: \(.*[^ ]\)$/\1/p')
file() {
    stat -L -c %d:%i "$1"
}
# It names the one below by its name alone.
cd "$(dirname "$layer")"
if [ "$(file "$below")" = "$(file "$here/disk")" ] && [ "$(stat -c %s "$layer")" -lt 1000000 ]; then
    cp "$here/layer.qcow2" "$layer"
    qemu-img rebase -u -f qcow2 -F qcow2 -b "$below" "$layer"
    printf '%s\n' "$layer" >> "$here/restored"
    exec qemu-system-x86_64 "$@" -incoming "file:$here/state"
fi
exec qemu-system-x86_64 "$@"
