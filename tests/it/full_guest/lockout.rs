//! Debian guests that are lost: what a flavor's steps or a disk of the user's own can break, and how soon it is known.

use crate::support::inside::{read, replace};
use crate::support::tool;
use crate::support::vm::{SMALL, booted_quickstart, raw_disk, variant};
use crate::survive::lockout::{End, ended_soon_as};

/// Flavors whose only step does this before a restart. A restored guest has shown its login prompt before it was saved: the
/// first one shows it once more, as a guest without one is given all of the time that services may take to stop.
const STEPS: &[(&str, &str, End)] = &[
    (
        "stays",
        "ln -sf /bin/true /usr/local/sbin/reboot; systemctl restart serial-getty@ttyS0",
        ("no_reboot", "the guest did not restart when it was asked to: "),
    ),
    (
        "hungry",
        "tail /dev/zero",
        (
            "guest_out_of_memory",
            "the guest ran out of memory; give the machine more: ",
        ),
    ),
];

/// A disk whose root is not where its boot loader says.
const ROOTLESS: End = ("rescue_shell", "the guest dropped to a rescue shell: ");

#[test]
fn guests_that_do_not_restart_run_out_of_memory_or_lack_their_root_are_told_apart_and_soon() {
    let story = booted_quickstart(2);
    let bench = &story.bench;
    let text = variant("lockout", "");
    let (head, _) = text.split_once("[[images]]").unwrap();
    let mut text = format!("{head}[resources]\njobs = 2\ncpus = 2\n");
    for (name, step, _) in STEPS {
        text += &format!(
            "[flavors.{name}]\nsteps = [{{ inline = \"{step}\", name = \"break\" }}, {{ reboot = true }}]\n\
             [[images]]\ndistro = \"debian12\"\nflavor = \"{name}\"\nsizes = [\"2G\"]\n"
        );
    }
    let raw = bench.path("rootless.raw");
    raw_disk(bench, SMALL, &raw);
    let menu = "/boot/grub/grub.cfg";
    let good = read(&raw, menu, bench);
    let broken = good.replace("root=UUID=", "rootdelay=3 root=UUID=not-");
    assert_ne!(good, broken);
    replace(&raw, menu, &broken, bench);
    let key = ["-q", "-t", "ed25519", "-N", "", "-f", "key"];
    tool("ssh-keygen", &key, &bench.path(""));
    text += "[flavors.base]\nsteps = [{ inline = \"true\", name = \"never\" }]\n\
             [distros.rootless]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"3G\"\ncpus = 1\n\
             source = { disk = { path = \"rootless.raw\", access = { key = \"key\" } } }\n\
             [[images]]\ndistro = \"rootless\"\nflavor = \"base\"\nsizes = [\"3G\"]\n";
    bench.write("lockout.toml", text);
    let ran = bench.run(&["run", "lockout.toml", "--format=json"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let mut expected: Vec<_> = STEPS
        .iter()
        .map(|(name, _, end)| (format!("provision/debian12-{name}"), *end))
        .collect();
    expected.push(("provision/rootless-base".to_owned(), ROOTLESS));
    ended_soon_as(&ran, &expected);
}
