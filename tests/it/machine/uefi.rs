//! Machines with UEFI firmware and a TPM: the host's real firmware, with a program of some bytes to start; real swtpm.

use std::fs;
use std::path::{Path, PathBuf};

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::console::Trouble;
use pipeline::internals::machine::disk::{self, StartsBy, TableKind};
use pipeline::internals::machine::error::MachineError;
use pipeline::internals::machine::spec::{Accel, Disk, DiskFormat, MachineSpec};
use pipeline::internals::platform::{Computer, Platform};
use pipeline::internals::size::{ByteSize, MIB};

use super::{LONG, is_running, soon, start};
use crate::support::{Bench, Ran, tool};

/// An EFI program (UEFI specification, 2.1.1: a PE32+ image) that prints a text on COM1 and halts.
fn efi_program(text: &str) -> Vec<u8> {
    // lea rsi,[rip+28]; next: lodsb; test al,al; jz done; mov ah,al
    let mut code = vec![
        0x48, 0x8d, 0x35, 28, 0, 0, 0, 0xac, 0x84, 0xc0, 0x74, 0x14, 0x88, 0xc4,
    ];
    // wait: mov dx,0x3fd; in al,dx; test al,0x20; jz wait
    code.extend([0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xf7]);
    // mov al,ah; mov dx,0x3f8; out dx,al; jmp next; done: hlt; jmp done
    code.extend([
        0x88, 0xe0, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe7, 0xf4, 0xeb, 0xfd,
    ]);
    code.extend(text.bytes());
    let mut image = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    // Where the PE header is; x86-64, one section, an optional header of 240 bytes, executable.
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01");
    put(0x54, &[0xf0, 0, 0x22]);
    // PE32+; entry point and code at 0x1000; alignment of the section, of the file; sizes of image and headers.
    put(0x58, &[0x0b, 0x02]);
    put(0x69, &[0x10]);
    put(0x6d, &[0x10]);
    put(0x79, &[0x10]);
    put(0x7d, &[0x02]);
    put(0x91, &[0x20]);
    put(0x95, &[0x02]);
    // An EFI application, with sixteen data directories.
    put(0x9c, &[10]);
    put(0xc4, &[16]);
    // The section: its sizes, where it is in memory and in the file, code.
    put(0x148, b".text");
    put(0x151, &[0x02, 0, 0, 0, 0x10, 0, 0, 0, 0x02, 0, 0, 0, 0x02]);
    put(0x16c, &[0x20, 0, 0, 0x60]);
    put(0x200, &code);
    image
}

/// A disk that starts the program where removable disks have theirs.
fn efi_disk(bench: &Bench, text: &str) -> PathBuf {
    bench.write("esp/EFI/BOOT/BOOTX64.EFI", efi_program(text));
    bench.write("esp/EFI/a folder/a long name.txt", "hello\n");
    let (raw, cancel) = (bench.path("efi.raw"), Cancel::default());
    disk::create_raw(&raw, ByteSize(80 * MIB)).unwrap();
    let table = disk::write_root_table(&raw, TableKind::Gpt, StartsBy::BOTH, &cancel).unwrap();
    let esp = table.efi().unwrap();
    disk::make_esp(&raw, esp, 0x1234_abcd, &bench.path("esp")).unwrap();
    raw
}

fn spec(disk: &Path, secure_boot: bool) -> MachineSpec {
    let computer = Computer {
        platform: Platform::Amd64Uefi,
        secure_boot,
        tpm: true,
    };
    let disk = Disk::new(disk, DiskFormat::Raw);
    MachineSpec::with_disk("efi", computer, Accel::Tcg, ByteSize(256 * MIB), disk)
}

/// The process of the machine's TPM, and the socket in its private folder.
fn tpm(bench: &Bench) -> (u32, PathBuf) {
    let argv = bench.read("vm/qemu.argv");
    let socket = argv.split("id=tpm,path=").nth(1).unwrap();
    let socket = socket.split_whitespace().next().unwrap().to_owned();
    let has = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("swtpm\0") && line.contains(&socket)
    };
    let ids = fs::read_dir("/proc").unwrap().flatten();
    let mut ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    (ids.find(has).unwrap(), socket.into())
}

#[test]
fn a_program_without_a_signature_starts_by_uefi_and_is_refused_by_secure_boot() {
    let bench = Bench::new();
    let raw = efi_disk(&bench, "hello from an EFI program\r\n");
    let verified = tool("sgdisk", &["-v", raw.to_str().unwrap()], Path::new("/"));
    assert!(verified.contains("No problems found"), "{verified}");
    let at = format!("{}@@2M", raw.display());
    let listed = tool("mdir", &["-/", "-b", "-i", &at, "::/"], Path::new("/"));
    assert!(listed.contains("::/EFI/a folder/a long name.txt"), "{listed}");
    let label = tool("mdir", &["-i", &at, "::/"], Path::new("/"));
    assert!(
        label.contains("Volume in drive : is ESP") && label.contains("1234-ABCD"),
        "{label}"
    );

    let (machine, _events) = start(&bench, &spec(&raw, false));
    let mut machine = machine.unwrap();
    machine.wait_console("hello from an EFI program", LONG).unwrap();
    let (process, socket) = tpm(&bench);
    tool("kill", &["-KILL", &process.to_string()], Path::new("/"));
    let mut died = None;
    soon("the end of the TPM", || {
        died = machine.poll().err();
        died.is_some()
    });
    let died = died.unwrap();
    assert!(matches!(died, MachineError::Tpm { .. }), "{died}");
    let text = died.to_string();
    assert!(
        text.starts_with(
            "the machine's TPM failed: swtpm was killed by signal 9; run again, and reinstall swtpm"
        ),
        "{text}"
    );
    drop(machine);
    // Nothing that this machine was given stays for the next one.
    assert!(!socket.parent().unwrap().exists());

    let (machine, _events) = start(&bench, &spec(&raw, true));
    let mut machine = machine.unwrap();
    let refused = machine.wait_console("hello", LONG).unwrap_err();
    let is_so = |trouble: &Trouble| matches!(trouble, Trouble::NotBootable(_));
    assert!(
        matches!(&refused, MachineError::Trouble { trouble, .. } if is_so(trouble)),
        "{refused}"
    );
    assert!(refused.to_string().contains("Access Denied"), "{refused}");
    let (process, _) = tpm(&bench);
    drop(machine);
    soon("the end of the TPM", || !is_running(process));
}

/// What the program says, in one line, where the user's own descriptors stand for those of the host. Nothing starts.
fn refused(bench: &Bench, descriptors: &[(&str, &str)], args: &[&str]) -> String {
    let own = bench.path(".config/qemu/firmware");
    let _ = fs::remove_dir_all(&own);
    for entry in fs::read_dir("/usr/share/qemu/firmware").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        bench.write(&format!(".config/qemu/firmware/{name}"), "");
    }
    for (name, text) in descriptors {
        bench.write(&format!(".config/qemu/firmware/{name}"), text);
    }
    said(&bench.run(args))
}

fn said(ran: &Ran) -> String {
    assert_eq!(ran.code, 3, "{}", ran.all());
    let words = ran.stderr.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn firmware_that_is_absent_or_does_not_fit_is_told_before_anything_starts() {
    let bench = Bench::new();
    fs::rename(efi_disk(&bench, "never seen"), bench.path("any.raw")).unwrap();
    bench.write("code.fd", vec![0; 3_653_632]);
    bench.write("small.fd", vec![0; 131_072]);
    bench.write("whole.fd", vec![0; 540_672]);
    let descriptor = |variables: &str, features: &str| {
        format!(
            r#"{{ "interface-types": ["uefi"], "mapping": {{ "device": "flash",
                "executable": {{ "filename": "{0}/code.fd", "format": "raw" }},
                "nvram-template": {{ "filename": "{0}/{variables}", "format": "raw" }} }},
                "targets": [{{ "architecture": "x86_64", "machines": ["pc-q35-*"] }}], "features": [{features}], "tags": [] }}"#,
            bench.path("").display()
        )
    };
    let says = |said: &str, expected: &str| assert!(said.contains(expected), "{said}");
    bench.write(
        "m.toml",
        "[distros.x]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\nfirmware = \"uefi\"\n\
         source = { disk = { path = \"any.raw\" } }\n[flavors.f]\nsteps = []\n\
         [[images]]\ndistro = \"x\"\nflavor = \"f\"\nsizes = [\"80M\"]\n",
    );
    for command in [
        &["boot", "any.raw", "--detach", "--firmware=uefi"][..],
        &["check", "any.raw", "--firmware=uefi"],
        &["run", "m.toml"],
    ] {
        let none = refused(&bench, &[], command);
        says(
            &none,
            "no UEFI firmware for x86_64 is described in /usr/share/qemu/firmware, /etc/qemu/firmware, ",
        );
        says(&none, "install it: ovmf (Debian, Ubuntu)");
    }

    let plain = descriptor("small.fd", "");
    // Of another kind, as hosts have them for confidential guests.
    let other = r#"{ "interface-types": ["uefi"], "mapping": { "device": "memory", "filename": "x" }, "targets": [], "features": [], "tags": [] }"#;
    let files = [("10-other.json", other), ("60-plain.json", plain.as_str())];
    let boot = ["boot", "any.raw", "--detach"];
    let unfit = refused(&bench, &files, &[&boot[..], &["--firmware=uefi"]].concat());
    says(
        &unfit,
        "which are not of one build; reinstall its package, or correct the descriptor",
    );
    let insecure = refused(&bench, &files, &[&boot[..], &["--secure-boot"]].concat());
    says(
        &insecure,
        "no UEFI firmware with Secure Boot and enrolled keys for x86_64 is described in",
    );
    says(&insecure, "60-plain.json");
    // One that describes what is not there does not hide one that is.
    let (gone, whole) = (descriptor("gone.fd", ""), descriptor("whole.fd", ""));
    let files = [("50-gone.json", gone.as_str()), ("60-whole.json", whole.as_str())];
    let found = refused(
        &bench,
        &files,
        &[&boot[..], &["--firmware=uefi", "--memory=900T"]].concat(),
    );
    says(&found, "--memory asks for 900 TiB");
}

#[test]
fn a_host_without_the_programs_of_a_computer_is_told_their_packages() {
    let bench = Bench::new();
    bench.write("any.raw", vec![0; 1 << 20]);
    let boot = |programs: &[&str], args: &[&str]| {
        let bin = bench.path("bin");
        let _ = fs::remove_dir_all(&bin);
        fs::create_dir(&bin).unwrap();
        for program in programs {
            let at = tool("which", &[program], Path::new("/"));
            std::os::unix::fs::symlink(at.trim(), bin.join(program)).unwrap();
        }
        let mut command = bench.command(&[&["boot", "any.raw", "--detach"], args].concat());
        command.env("PATH", &bin).env("PIPELINE_SBIN", &bin);
        said(&bench.finish(command))
    };
    let says = |said: &str, expected: &str| assert!(said.contains(expected), "{said}");
    let tpm = boot(&["qemu-system-x86_64", "qemu-img"], &["--tpm"]);
    says(&tpm, "this host lacks swtpm");
    says(
        &tpm,
        "install it: swtpm (Debian, Ubuntu), swtpm (Fedora), swtpm (Arch); nothing was started",
    );
    for arch in ["arm64", "aarch64"] {
        let arm = boot(&["qemu-img"], &["--arch", arch]);
        says(&arm, "this host lacks qemu-system-aarch64");
        says(
            &arm,
            "install it: qemu-system-arm (Debian, Ubuntu), qemu-system-aarch64-core (Fedora), ",
        );
    }
    let ran = bench.run(&["boot", "any.raw", "--arch=arm64", "--firmware=bios"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr.contains("arm64 computers have no BIOS"),
        "{}",
        ran.all()
    );
}
