//! From a [`MachineSpec`] to qemu's command line. Pure: same input, same words.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::door;
use super::firmware::Firmware;
use super::spec::{Accel, Board, Boot, Disk, DiskMode, Forward, MachineSpec};
use crate::host::process::shell_quote;
use crate::platform::Emulator;
use crate::size::MIB;

/// Boot order of the first medium: qemu gives 0 to a kernel that it loads itself.
const FIRST_BOOT: usize = 1;

/// Unix sockets on which we listen and to which qemu connects. That way round nothing that the guest says first can
/// be lost, and nothing has to be polled for.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Serial console.
    pub console: PathBuf,
    /// Machine protocol.
    pub qmp: PathBuf,
}

/// What a machine has of its own in addition to disks.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Its firmware, where that is not the emulator's own.
    pub firmware: Option<Firmware>,
    /// The socket of its TPM.
    pub tpm: Option<PathBuf>,
}

/// Whether qemu locks itself into a system call filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Filtered.
    On,
    /// For a qemu that was built without the filter.
    Off,
}

/// The arguments for qemu (without the program's name).
pub fn argv(spec: &MachineSpec, parts: &Parts, sockets: &Sockets, sandbox: Sandbox) -> Vec<OsString> {
    let emulator = spec.emulator();
    let mut args = Words(Vec::new());
    args.option(
        "-name",
        Value::new("guest=").escaped(format!("pipeline-{}", spec.name)),
    );
    args.words(&["-nodefaults", "-no-user-config"]);
    let secure = emulator.uefi.as_ref().filter(|_| spec.computer.secure_boot);
    let options = [
        (spec.board == Board::Workbench).then_some(emulator.serial_firmware),
        secure.map(|uefi| uefi.secure_machine),
    ];
    let options = options.into_iter().flatten().filter(|option| !option.is_empty());
    let machine: Vec<_> = std::iter::once(emulator.machine).chain(options).collect();
    args.words(&["-machine", &machine.join(",")]);
    args.words(secure.map_or(&[][..], |uefi| uefi.secure));
    let (accelerator, cpu) = match spec.accel {
        Accel::Kvm => ("kvm", "host"),
        Accel::Tcg => ("tcg,thread=multi", emulator.emulated_cpu),
    };
    args.words(&["-accel", accelerator, "-cpu", cpu]);
    args.words(&["-smp", &spec.cpus.to_string()]);
    args.words(&["-m", &format!("{}M", spec.memory.0.div_ceil(MIB))]);
    args.words(emulator.screen);
    args.words(&["-boot", "strict=on"]);
    if spec.vnc {
        // From port 5900 on, the first one that is free. No client gets in before a password is set.
        args.words(&["-vnc", "127.0.0.1:0,to=999,password=on"]);
    }
    firmware(&mut args, parts, emulator);
    network(&mut args, spec);
    disks(&mut args, spec);
    boot(&mut args, &spec.boot);
    match spec.board {
        Board::Workbench => args.words(&["-device", "virtio-rng-pci", "-device", emulator.panic_device]),
        Board::Orchestrator => args.words(&["-device", "virtio-balloon-pci"]),
    }
    for (name, value) in &spec.credentials {
        let value_of = format!("io.systemd.credential:{name}={value}");
        args.option("-smbios", Value::new("type=11,value=").escaped(value_of));
    }
    if let Some(clock) = spec.clock {
        args.words(&["-rtc", &clock.strftime("base=%Y-%m-%dT%H:%M:%S").to_string()]);
    }
    // A panicked guest stays as it is, so that its screen can be kept.
    args.words(&["-action", "panic=pause"]);
    if spec.no_reboot {
        args.words(&["-no-reboot"]);
    }
    for (id, path) in [("console", &sockets.console), ("qmp", &sockets.qmp)] {
        args.option(
            "-chardev",
            Value::new(format!("socket,id={id},path=")).escaped(path),
        );
    }
    if spec.board == Board::Workbench {
        args.words(&["-serial", "chardev:console"]);
    }
    args.words(&["-mon", "chardev=qmp,mode=control"]);
    if sandbox == Sandbox::On {
        // For a door qemu starts processes, each in a session of its own, and setsid(2) is among what
        // `elevateprivileges=deny` (and `children` too) forbids. Set-uid programs give a machine nothing in any case: it
        // is started without new privileges (prctl(2)).
        let (privileges, spawn) = match spec.door {
            Some(_) => ("allow", "allow"),
            None => ("deny", "deny"),
        };
        let filter =
            format!("on,obsolete=deny,elevateprivileges={privileges},spawn={spawn},resourcecontrol=deny");
        args.words(&["-sandbox", &filter]);
    }
    args.0
}

fn firmware(args: &mut Words, parts: &Parts, emulator: &Emulator) {
    if let Some(Firmware { code, variables }) = &parts.firmware {
        for (unit, flash, mode) in [(0, code, "readonly=on,"), (1, variables, "")] {
            let format = flash.format.name();
            let drive = format!("if=pflash,unit={unit},format={format},{mode}file=");
            args.option("-drive", Value::new(drive).escaped(&flash.path));
        }
    }
    if let Some(socket) = &parts.tpm {
        args.option("-chardev", Value::new("socket,id=tpm,path=").escaped(socket));
        args.words(&["-tpmdev", "emulator,id=tpm0,chardev=tpm"]);
        args.words(&["-device", &format!("{},tpmdev=tpm0", emulator.tpm_device)]);
    }
}

fn network(args: &mut Words, spec: &MachineSpec) {
    let ssh = spec.ssh.then_some(Forward { host: 0, guest: 22 });
    let mut net = "user,id=net0".to_owned();
    for Forward { host, guest } in ssh.iter().chain(&spec.forwards) {
        // Port 0: the kernel chooses; `info usernet` tells which (seen to work with qemu 7.2 and 10.0).
        net += &format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
    }
    let mut net = Value::new(net);
    if let Some(words) = &spec.door {
        // qemu splits the command as a shell would (g_shell_parse_argv).
        let quoted = words.iter().map(|word| shell_quote(&word.to_string_lossy()));
        let command = quoted.collect::<Vec<_>>().join(" ");
        let (address, port) = (door::ADDRESS, door::PORT);
        net.0.push(format!(",guestfwd=tcp:{address}:{port}-cmd:"));
        net = net.escaped(command);
    }
    args.option("-netdev", net);
    let emulator = spec.emulator();
    let card = |net: &str, slot: &str| format!("virtio-net-pci,netdev={net},addr={slot},romfile=");
    // By its slot, so that the guest's name for the card (`ens3`) is the one that it will have at the user's. An empty
    // romfile: never boot from the network.
    args.words(&["-device", &card("net0", emulator.first_network_slot)]);
    if spec.board == Board::Orchestrator {
        // A cable that is plugged in, with no device at the other end.
        args.words(&["-netdev", "hubport,id=net1,hubid=1"]);
        args.words(&["-device", &card("net1", emulator.second_network_slot)]);
    }
}

fn disks(args: &mut Words, spec: &MachineSpec) {
    let from_cd = spec.boot == Boot::Cdrom;
    let emulator = spec.emulator();
    let bus = emulator.disk_device;
    for (n, disk) in spec.disks.iter().enumerate() {
        args.option("-drive", drive(&format!("disk{n}"), disk, spec.disk_mode));
        let bootindex = FIRST_BOOT + n + usize::from(from_cd);
        args.words(&["-device", &format!("{bus},drive=disk{n},bootindex={bootindex}")]);
    }
    if let Some(seed) = &spec.seed {
        let media = Value::new("if=none,id=seed,format=raw,readonly=on,file=").escaped(seed);
        args.option("-drive", media);
        args.words(&["-device", &format!("{bus},drive=seed")]);
    }
    for (n, path) in spec.cdroms.iter().enumerate() {
        let media = Value::new(format!(
            "if=none,id=cd{n},media=cdrom,format=raw,readonly=on,file="
        ));
        args.option("-drive", media.escaped(path));
        let bootindex = match (from_cd, n) {
            (true, 0) => format!(",bootindex={FIRST_BOOT}"),
            _ => String::new(),
        };
        args.words(&["-device", &format!("{},drive=cd{n}{bootindex}", emulator.cdrom)]);
    }
}

fn drive(id: &str, disk: &Disk, mode: DiskMode) -> Value {
    let tuning = match (disk.read_only, mode) {
        (true, _) => ",readonly=on",
        (false, DiskMode::Scratch) => ",cache=unsafe,discard=unmap,detect-zeroes=unmap",
        (false, DiskMode::Plain) => "",
    };
    let format = disk.format.name();
    Value::new(format!("if=none,id={id},format={format}{tuning},file=")).escaped(&disk.path)
}

fn boot(args: &mut Words, boot: &Boot) {
    let Boot::Kernel {
        kernel,
        initrd,
        cmdline,
    } = boot
    else {
        return;
    };
    // These three are plain arguments: no commas to escape.
    args.option("-kernel", Value::new(kernel));
    if let Some(initrd) = initrd {
        args.option("-initrd", Value::new(initrd));
    }
    args.option("-append", Value::new(cmdline));
}

/// The words so far.
struct Words(Vec<OsString>);

impl Words {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(Into::into));
    }

    fn option(&mut self, name: &str, value: Value) {
        self.0.push(name.into());
        self.0.push(value.0);
    }
}

/// The value of one option.
struct Value(OsString);

impl Value {
    fn new(text: impl AsRef<OsStr>) -> Self {
        Self(text.as_ref().to_owned())
    }

    /// Appends text in which commas are doubled, as qemu's option parser wants them.
    fn escaped(self, text: impl AsRef<OsStr>) -> Self {
        let mut bytes = self.0.into_vec();
        for &byte in text.as_ref().as_bytes() {
            bytes.push(byte);
            if byte == b',' {
                bytes.push(b',');
            }
        }
        Self(OsString::from_vec(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::DiskFormat;
    use super::*;
    use crate::platform::{Computer, Platform};
    use crate::size::ByteSize;

    fn lines(spec: &MachineSpec) -> String {
        let sockets = Sockets {
            console: "/tmp/s/console".into(),
            qmp: "/tmp/s/qmp".into(),
        };
        let words = argv(spec, &Parts::default(), &sockets, Sandbox::On);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ").replace(" -", "\n-")
    }

    #[test]
    fn a_machine_that_boots_from_its_disk() {
        let disk = Disk::new("/images/odd,name.qcow2", DiskFormat::Qcow2);
        let mut spec = MachineSpec::with_disk(
            "debian12",
            Platform::Amd64Bios,
            Accel::Tcg,
            ByteSize(512 * MIB),
            disk,
        );
        spec.seed = Some("/run/seed.img".into());
        spec.credentials = vec![("ssh.authorized_keys.root".into(), "ssh-ed25519 AAAA check".into())];
        insta::assert_snapshot!(lines(&spec), @"
        -name guest=pipeline-debian12
        -nodefaults
        -no-user-config
        -machine pc,graphics=off
        -accel tcg,thread=multi
        -cpu max,la57=off,pku=off,smap=off
        -smp 1
        -m 512M
        -vga std
        -display none
        -boot strict=on
        -netdev user,id=net0,hostfwd=tcp:127.0.0.1:0-:22
        -device virtio-net-pci,netdev=net0,addr=0x3,romfile=
        -drive if=none,id=disk0,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=/images/odd,,name.qcow2
        -device virtio-blk-pci,drive=disk0,bootindex=1
        -drive if=none,id=seed,format=raw,readonly=on,file=/run/seed.img
        -device virtio-blk-pci,drive=seed
        -device virtio-rng-pci
        -device pvpanic
        -smbios type=11,value=io.systemd.credential:ssh.authorized_keys.root=ssh-ed25519 AAAA check
        -action panic=pause
        -chardev socket,id=console,path=/tmp/s/console
        -chardev socket,id=qmp,path=/tmp/s/qmp
        -serial chardev:console
        -mon chardev=qmp,mode=control
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
        ");
    }

    #[test]
    fn a_machine_that_gets_its_kernel_from_the_host() {
        let disk = Disk::new("/build/disk.raw", DiskFormat::Raw);
        let mut spec = MachineSpec::with_disk("install", Platform::Amd64Bios, Accel::Kvm, ByteSize(1), disk);
        spec.boot = Boot::Kernel {
            kernel: "/build/linux".into(),
            initrd: Some("/build/initrd.gz".into()),
            cmdline: "console=ttyS0 url=http://10.0.2.2/a,b".into(),
        };
        (spec.cpus, spec.ssh, spec.no_reboot) = (4, false, true);
        insta::assert_snapshot!(lines(&spec), @"
        -name guest=pipeline-install
        -nodefaults
        -no-user-config
        -machine pc,graphics=off
        -accel kvm
        -cpu host
        -smp 4
        -m 1M
        -vga std
        -display none
        -boot strict=on
        -netdev user,id=net0
        -device virtio-net-pci,netdev=net0,addr=0x3,romfile=
        -drive if=none,id=disk0,format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=/build/disk.raw
        -device virtio-blk-pci,drive=disk0,bootindex=1
        -kernel /build/linux
        -initrd /build/initrd.gz
        -append console=ttyS0 url=http://10.0.2.2/a,b
        -device virtio-rng-pci
        -device pvpanic
        -action panic=pause
        -no-reboot
        -chardev socket,id=console,path=/tmp/s/console
        -chardev socket,id=qmp,path=/tmp/s/qmp
        -serial chardev:console
        -mon chardev=qmp,mode=control
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
        ");
    }

    #[test]
    fn a_64_bit_arm_machine_with_secure_boot() {
        let disk = Disk::new("/build/disk.raw", DiskFormat::Raw);
        let computer = Computer {
            platform: Platform::Arm64Uefi,
            secure_boot: true,
            tpm: false,
        };
        let spec = MachineSpec::with_disk("arm", computer, Accel::Tcg, ByteSize(MIB), disk);
        let text = lines(&spec);
        for words in [
            "-machine virt,gic-version=max\n-accel tcg,thread=multi\n-cpu max,pauth-impdef=on\n",
            "-device virtio-net-pci,netdev=net0,addr=0x1,romfile=\n",
            "-device pvpanic-pci\n",
        ] {
            assert!(text.contains(words), "{text}");
        }
        let mut spec = spec;
        spec.computer.platform = Platform::Amd64Uefi;
        assert!(lines(&spec).contains("-machine q35,graphics=off,smm=on\n"));
    }

    #[test]
    fn a_cd_starts_before_the_disk_and_a_plain_disk_has_no_tuning() {
        let disk = Disk::new("/build/disk.raw", DiskFormat::Raw);
        let mut spec = MachineSpec::with_disk("cd", Platform::Amd64Bios, Accel::Tcg, ByteSize(MIB), disk);
        spec.disk_mode = DiskMode::Plain;
        spec.boot = Boot::Cdrom;
        spec.cdroms = vec!["/iso/install.iso".into()];
        let text = lines(&spec);
        assert!(
            text.contains("-drive if=none,id=disk0,format=raw,file=/build/disk.raw\n"),
            "{text}"
        );
        assert!(
            text.contains("drive=disk0,bootindex=2") && text.contains("drive=cd0,bootindex=1"),
            "{text}"
        );
    }

    #[test]
    fn a_machine_as_an_orchestrator_has_it_with_a_door_a_screen_and_forwards() {
        let disk = Disk::new("/run/overlay.qcow2", DiskFormat::Qcow2);
        let mut spec =
            MachineSpec::with_disk("try", Platform::Amd64Bios, Accel::Tcg, ByteSize(512 * MIB), disk);
        spec.board = Board::Orchestrator;
        spec.forwards = vec![Forward {
            host: 8080,
            guest: 80,
        }];
        spec.door = Some(
            ["/opt/my tools,new/pipeline", "door-relay", "/tmp/s/door"]
                .map(Into::into)
                .to_vec(),
        );
        spec.vnc = true;
        insta::assert_snapshot!(lines(&spec), @"
        -name guest=pipeline-try
        -nodefaults
        -no-user-config
        -machine pc
        -accel tcg,thread=multi
        -cpu max,la57=off,pku=off,smap=off
        -smp 1
        -m 512M
        -vga std
        -display none
        -boot strict=on
        -vnc 127.0.0.1:0,to=999,password=on
        -netdev user,id=net0,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:8080-:80,guestfwd=tcp:10.0.2.100:80-cmd:'/opt/my tools,,new/pipeline' door-relay /tmp/s/door
        -device virtio-net-pci,netdev=net0,addr=0x3,romfile=
        -netdev hubport,id=net1,hubid=1
        -device virtio-net-pci,netdev=net1,addr=0x4,romfile=
        -drive if=none,id=disk0,format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap,file=/run/overlay.qcow2
        -device virtio-blk-pci,drive=disk0,bootindex=1
        -device virtio-balloon-pci
        -action panic=pause
        -chardev socket,id=console,path=/tmp/s/console
        -chardev socket,id=qmp,path=/tmp/s/qmp
        -mon chardev=qmp,mode=control
        -sandbox on,obsolete=deny,elevateprivileges=allow,spawn=allow,resourcecontrol=deny
        ");
    }
}
