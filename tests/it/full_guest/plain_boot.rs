//! The images in a plain qemu, as a user would start it: from BIOS, with none of our own code around.

use std::time::Duration;

use crate::support::vm::{Guest, LARGE, SMALL, is_real, quickstart, unpack};

/// Longest time for a guest to do one thing, under emulation on a busy machine.
const GUEST: Duration = Duration::from_secs(600);

/// The script that the guests fetch and run as their boot script: it tells on the console what the host wants to know.
const PROBE: &str = r#"# The kernel's messages would come in between.
dmesg -n 1
sleep 1
{
echo "probe-root-bytes=$(df -B1 --output=size / | tail -n 1 | tr -d ' ')"
echo "probe-disk-bytes=$(($(cat /sys/block/vda/size) * 512))"
echo "probe-machine-id=$(cat /etc/machine-id)"
echo "probe-host-key=$(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)"
echo "probe-build-keys=$(cat /root/.ssh/authorized_keys 2>/dev/null | wc -l)"
echo "probe-cmdline=$(cat /proc/cmdline)"
echo "probe-failed=$(systemctl --failed --no-legend --plain | tr '\n' ';')"
echo "probe-sshd=$(ss -ltn 'sport = :22' | grep -c LISTEN)"
echo probe-end
} > /dev/ttyS0 2>&1
exit 0
"#;

#[test]
fn images_boot_from_bios_with_their_whole_root_and_an_identity_of_their_own() {
    let story = quickstart(1);
    let bench = &story.bench;
    // qemu starts this once a connection, with the connection as its standard input and output.
    let door = bench.write(
        "door.sh",
        format!(
            "#!/bin/sh\nwhile read -r line; do [ \"$line\" = \"$(printf '\\r')\" ] && break; done\n\
             printf 'HTTP/1.0 200 OK\\r\\nContent-Length: {}\\r\\n\\r\\n'\ncat <<'PROBE'\n{PROBE}PROBE\n",
            PROBE.len()
        ),
    );
    let forward = format!(
        "user,id=n0,guestfwd=tcp:10.0.2.100:80-cmd:/bin/sh {}",
        door.display()
    );
    let extra = [
        "-netdev".to_owned(),
        forward,
        "-device".to_owned(),
        "virtio-net-pci,netdev=n0".to_owned(),
    ];
    let mut identities: Vec<(String, String)> = Vec::new();
    // The other one is booted by its checks.
    let images: &[_] = if is_real() {
        &[(LARGE, 20u64), (SMALL, 3)]
    } else {
        &[(LARGE, 20)]
    };
    for &(id, gib) in images {
        let disk = bench.path(&unpack(bench, id));
        let mut guest = Guest::boot(&disk, &bench.path(&format!("{id}.console")), &extra);
        let shown = guest.wait_for("probe-end", GUEST);
        let fact = |name: &str| {
            let start = format!("probe-{name}=");
            let line = shown
                .split_once(&start)
                .and_then(|(_, rest)| rest.lines().next())
                .map(str::trim);
            line.unwrap_or_else(|| panic!("{id} did not tell {name}:\n{shown}"))
                .to_owned()
        };
        assert_eq!(fact("disk-bytes"), (gib << 30).to_string());
        let root: u64 = fact("root-bytes").parse().unwrap();
        // What ext4 keeps for itself (inode tables, journal) is some percent.
        assert!(root > (gib << 30) / 100 * 93, "{id}: root is only {root} bytes");
        assert_eq!(fact("build-keys"), "0", "{id}");
        assert_eq!(fact("failed"), "", "{id}");
        assert_ne!(fact("sshd"), "0", "{id}: nothing listens at port 22");
        assert!(
            fact("cmdline").contains("root=UUID="),
            "{id}: {}",
            fact("cmdline")
        );
        assert_eq!(fact("machine-id").len(), 32, "{id}");
        assert!(fact("host-key").len() > 40, "{id}");
        let identity = (fact("machine-id"), fact("host-key"));
        assert!(
            !identities
                .iter()
                .any(|(machine, key)| *machine == identity.0 || *key == identity.1)
        );
        identities.push(identity);
        guest.wait_for("login:", GUEST);
    }
}
