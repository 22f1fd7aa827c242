#!/bin/sh
# Captures what README and docs/failures.md show, from a terminal of 80 columns and 24 lines: tests/screens.sh PROGRAM FOLDER
# FOLDER gets the manifests and a file for each screen; in the caller's store an image is built and checked, and a step fails.
set -eu
mkdir -p "$2"
ln -sf "$(realpath "$1")" "$2/pipeline"
cd "$2"
PATH="$PWD:$PATH"
number=0

# start COMMAND…: in a terminal of its own.
start() {
    number=$((number + 1))
    terminal="screens-$$-$number"
    tmux -L "$terminal" new-session -d -x 80 -y 24 "PS1='$ ' NO_COLOR=1 exec sh"
    tmux -L "$terminal" send-keys "clear; $*" Enter
}

# screen NAME WORDS: what is there when these are.
screen() {
    until tmux -L "$terminal" capture-pane -p | grep -q -e "$2"; do sleep 0.5; done
    tmux -L "$terminal" capture-pane -p | sed 's/ *$//' > "$1.txt"
}

stop() {
    tmux -L "$terminal" kill-server
}

[ -e images.toml ] || pipeline init
start pipeline run images.toml
screen check 'first boot'
screen built 'checks passed'
stop

# A step that fails; three images depend on it.
{
    sed '/^\[flavors/,$d' images.toml
    cat <<'TOML'
[flavors.web]
steps = [
  { inline = "echo web > /etc/role", name = "role" },
  { inline = "apt-get update && apt-get install -y nginxx", name = "nginx" },
]

[[images]]
distro = ["debian12"]
flavor = "web"
sizes  = ["3G", "20G", "50G"]
TOML
} > web.toml
start pipeline run web.toml
screen step 'fix the cause'
stop

# Three hundred images whose mirror is gone.
all=
for distro in 0 1 2 3 4 5 6 7 8 9; do
    all="$all\"debian$distro\", "
    printf '[distros.debian%s]\nfamily = "debian"\nversion = "12"\n' "$distro"
    printf 'source = { bootstrap = { suite = "bookworm", mirror = "http://127.0.0.1:9/debian" } }\n'
done > fleet.toml
for flavor in base web db ci gpu desk; do
    printf '[flavors.%s]\nsteps = [{ inline = "true" }]\n[[images]]\n' "$flavor"
    printf 'distro = [%s]\n' "${all%, }"
    printf 'flavor = "%s"\nsizes = ["3G", "4G", "5G", "6G", "7G"]\n' "$flavor"
done >> fleet.toml
start pipeline run fleet.toml
screen fleet 'fix the cause'
stop
start pipeline ls fleet.toml
screen matrix '0 current'
stop
