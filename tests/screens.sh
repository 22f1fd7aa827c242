#!/bin/sh
# Captures what docs/failures.md shows, from terminals of 80 columns and 24 lines: tests/screens.sh PROGRAM FOLDER
# In FOLDER a quickstart is built where there is none, two guests boot, and a file is left for each screen.
set -eu
program=$(realpath "$1")
mkdir -p "$2"
cd "$2"
export PIPELINE_STORE="$PWD/store" NO_COLOR=1
here=$(dirname "$(realpath "$0")")

# screen NAME WAIT-FOR COMMAND…: the screen when it shows this.
screen() {
    name=$1 said=$2
    shift 2
    tmux -L "screens-$$" new-session -d -x 80 -y 24 -s "$name" "PS1='$ ' exec sh"
    tmux -L "screens-$$" send-keys -t "$name" "clear; $*" Enter
    until tmux -L "screens-$$" capture-pane -p -t "$name" | grep -q -e "$said"; do sleep 0.5; done
    tmux -L "screens-$$" capture-pane -p -t "$name" > "$name.txt"
    tmux -L "screens-$$" send-keys -t "$name" C-c
    until tmux -L "screens-$$" capture-pane -p -t "$name" | tail -n 3 | grep -q '^\$ *$'; do sleep 0.5; done
    tmux -L "screens-$$" kill-session -t "$name"
}

[ -e quickstart.toml ] || cp "$here/../pipelines/quickstart.toml" .
"$program" run quickstart.toml --no-check

# A step that fails; three images depend on it.
cat > web.toml <<'TOML'
[distros.debian12]
family  = "debian"
version = "12"
source  = { bootstrap = { suite = "bookworm", packages = ["sudo"] } }
disk    = "2G"

[flavors.web]
steps = [
  { inline = "echo web > /etc/role", name = "role" },
  { inline = "apt-get update && apt-get install -y nginxx", name = "nginx" },
]

[[images]]
distro = "debian12"
flavor = "web"
sizes  = ["3G", "20G", "50G"]
TOML
ln -sf "$program" pipeline
PATH="$PWD:$PATH"
screen step 'fix the cause' pipeline run web.toml

# Three hundred images whose mirror is gone.
all=
for number in 0 1 2 3 4 5 6 7 8 9; do
    all="$all\"debian$number\", "
    printf '[distros.debian%s]\nfamily = "debian"\nversion = "12"\n' "$number"
    printf 'source = { bootstrap = { suite = "bookworm", mirror = "http://127.0.0.1:9/debian" } }\n'
done > fleet.toml
for flavor in base web db ci gpu desk; do
    printf '[flavors.%s]\nsteps = [{ inline = "true" }]\n[[images]]\n' "$flavor"
    printf 'distro = [%s]\n' "${all%, }"
    printf 'flavor = "%s"\nsizes = ["3G", "4G", "5G", "6G", "7G"]\n' "$flavor"
done >> fleet.toml
screen fleet 'fix the cause' pipeline run fleet.toml
screen matrix '0 current' pipeline ls fleet.toml

# The first seconds of a check.
screen check "first boot" pipeline run quickstart.toml
ls -- *.txt
