//! One disk for the computers of today and of yesterday.

use std::fs;

use crate::support::inside::partition;
use crate::support::tool;
use crate::support::vm::story;

/// One image file starts by BIOS, by UEFI that has never seen it, and by UEFI that takes only what is signed, with a TPM; two
/// sizes of it are made without a boot. What started it is asked inside.
#[test]
fn one_image_starts_by_bios_by_uefi_and_by_secure_boot_with_a_tpm() {
    let story = story(1);
    let bench = &story.bench;
    bench.write(
        "firmware.toml",
        r#"
[pipeline]
name = "firmware"
output = "out"

[distros.debian12]
family      = "debian"
version     = "12"
cpus        = 1
firmware    = "bios+uefi"
secure_boot = true
tpm         = true
source      = { bootstrap = { suite = "bookworm" } }

[flavors.plain]
steps = []

[[images]]
distro   = "debian12"
flavor   = "plain"
sizes    = ["3G", "4G"]
firmware = ["bios", "uefi", "secure-boot"]

[[checks]]
images      = "*-3G-*"
login_prompt = true

[[checks]]
images    = "*-3G-*"
root_size = true

[publish]
compress = "none"
format   = "raw"
"#,
    );
    let ran = bench.run(&["run", "firmware.toml", "--verbose"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    // Each computer is reported by the kernel of the guest in it.
    for check in [
        "started-by",
        "started-by (uefi)",
        "started-by (secure-boot)",
        "login-prompt (secure-boot)",
        "tpm (secure-boot)",
    ] {
        assert!(ran.stderr.contains(check), "no `{check}` in\n{}", ran.all());
    }
    assert!(ran.stderr.contains("12 checks passed"), "{}", ran.all());
    let console = |boot: &str| {
        let logs = bench.path("store/runs");
        let run = logs.read_dir().unwrap().next().unwrap().unwrap().path();
        // What firmware draws is no text.
        let said = fs::read(run.join(format!("check-debian12-3G-plain/{boot}/console.log"))).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    };
    let said = "secureboot: Secure boot enabled";
    assert!(console("first-secure-boot-boot").contains(said));
    assert!(!console("first-uefi-boot").contains(said));

    for (size, gib) in [("3G", 3_u64), ("4G", 4)] {
        let raw = format!("out/debian12-{size}-plain/debian12-{size}-plain.raw");
        assert_eq!(fs::metadata(bench.path(&raw)).unwrap().len(), gib << 30);
        let verified = tool("sgdisk", &["-v", "-p", &raw], &bench.path(""));
        assert!(verified.contains("No problems found"), "{verified}");
        // Of the program that firmware starts, and of the loader behind it, the bytes that the distribution signed.
        let esp = format!("{raw}@@2M");
        for (program, package) in [
            ("BOOTX64.EFI", "/usr/lib/shim/shimx64.efi.signed"),
            (
                "grubx64.efi",
                "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
            ),
        ] {
            let copied = format!("{size}-{program}");
            tool(
                "mcopy",
                &["-i", &esp, &format!("::/EFI/BOOT/{program}"), &copied],
                &bench.path(""),
            );
            let original = format!("{copied}.original");
            let root = format!("{raw}?offset={}", partition(&bench.path(&raw)));
            let request = format!("dump {package} {original}");
            tool("debugfs", &["-R", &request, &root], &bench.path(""));
            assert!(fs::read(bench.path(&copied)).unwrap() == fs::read(bench.path(&original)).unwrap());
        }
    }
}
