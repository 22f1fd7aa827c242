//! What every key of Packer's qemu builder, of its provisioners and post-processors means, and what becomes of it.
//! A table for the report and the documentation; the keys marked as taken are read elsewhere.
//!
//! Keys and defaults: `builder/qemu/config.go` and `comm_config.go` of packer-plugin-qemu, `communicator/config.go` and
//! `shutdowncommand/config.go` of packer-plugin-sdk.

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the manifest: where.
    Taken(&'static str),
    /// The program does this itself, without being told: how.
    Ours(&'static str),
    /// It has no place: what it meant and what to do.
    Lost(&'static str),
}

use Fate::{Lost, Ours, Taken};

const ONE_KEY: &str =
    "who logs in, and how: every machine gets an SSH key of its own, that sealing takes out again";
const NO_HOPS: &str = "reached the guest through another host; here it is on this host's loopback";
const NO_WINRM: &str = "reached Windows guests; only guests with SSH can be built here";
const OWN_PORT: &str = "a range of ports; machines get theirs from the kernel, on loopback only";
const HARDWARE: &str = "fixed hardware of the machine (see docs/from-packer.md); what an image needs at run time is up to those \
                        who run it";
const UEFI: &str = "booted by UEFI; machines here boot by BIOS, and so do the images: not to be had yet";
const TPM: &str = "gave the machine a TPM; not to be had yet";
const SCREEN: &str = "a screen to watch; `pipeline boot` shows an image's, and a failed machine leaves a picture of its screen";

/// Keys of the builder `qemu`.
pub const BUILDER: &[(&str, Fate)] = &[
    // Source media.
    ("iso_url", Taken("`url` or `path` of the medium")),
    ("iso_urls", Taken("`urls` of the medium")),
    (
        "iso_checksum",
        Taken("`sha256`, `sha512`, `md5` or `checksums` of the medium"),
    ),
    (
        "iso_checksum_type",
        Taken("part of `iso_checksum` in older templates"),
    ),
    ("iso_checksum_url", Taken("`checksums` of the medium")),
    ("disk_image", Taken("`source.disk` instead of `source.iso`")),
    (
        "iso_target_path",
        Ours("where the download was kept; the store keeps it by its digest"),
    ),
    (
        "iso_target_extension",
        Ours("how the download was called; the store keeps it by its digest"),
    ),
    (
        "iso_skip_cache",
        Ours("qemu read the URL itself; media are fetched once, checked, and kept in the store"),
    ),
    // Disks and result.
    (
        "disk_size",
        Taken("`sizes` of the images, in MiB (`50000` is `50000M`)"),
    ),
    ("format", Taken("`publish.format`")),
    ("output_directory", Taken("`publish.file`")),
    ("vm_name", Taken("`publish.file`")),
    (
        "use_backing_file",
        Ours(
            "an overlay instead of a copy; builds work on overlays, published disks never have a backing file",
        ),
    ),
    (
        "disk_interface",
        Ours("machines have virtio disks; `virtio-scsi` and others would only matter to the guest's drivers"),
    ),
    (
        "disk_discard",
        Ours("disks are always mounted with discard=unmap"),
    ),
    ("disk_detect_zeroes", Ours("blocks of zeroes are always left out")),
    (
        "skip_compaction",
        Ours("disks are always compact: free blocks are punched out, qemu-img writes the result"),
    ),
    (
        "disk_compression",
        Lost("compressed inside the qcow2; `publish.compress` compresses the published file as a whole"),
    ),
    (
        "disk_additional_size",
        Lost("further empty disks; an image is one disk: partition it, or add disks where it runs"),
    ),
    (
        "disk_cache",
        Ours("qemu's cache mode; builds choose the quick and safe one for throw-away disks"),
    ),
    (
        "skip_resize_disk",
        Ours("kept a disk image at its size; `sizes` says what an image becomes, never smaller than it was"),
    ),
    (
        "cdrom_interface",
        Ours("media are attached in the way that the installer finds"),
    ),
    (
        "qemu_img_args",
        Lost("further arguments of qemu-img; the disks it writes are stand-alone and compact already"),
    ),
    // Machine.
    (
        "accelerator",
        Ours("KVM where it can be opened, else emulation, with a warning and longer limits"),
    ),
    ("memory", Taken("`memory` of the distro")),
    ("cpus", Taken("`cpus` of the distro")),
    ("sockets", Taken("`cpus` of the distro (the product)")),
    ("cores", Taken("`cpus` of the distro (the product)")),
    ("threads", Taken("`cpus` of the distro (the product)")),
    (
        "cpu_model",
        Ours("`host` with KVM, else the fullest that is emulated"),
    ),
    ("machine_type", Lost(HARDWARE)),
    (
        "qemu_binary",
        Ours("qemu for the guest's architecture, looked for in PATH; `pipeline doctor` says what is missing"),
    ),
    (
        "qemuargs",
        Lost("raw arguments of qemu; machines are described by the distro (`memory`, `cpus`, `disk`) alone"),
    ),
    ("net_device", Ours("a virtio network card")),
    (
        "net_bridge",
        Lost(
            "a bridge of the host; build machines have a NAT network of their own, without rights on the host",
        ),
    ),
    ("vga", Ours("a plain VGA card")),
    ("efi_boot", Lost(UEFI)),
    ("efi_firmware_code", Lost(UEFI)),
    ("efi_firmware_vars", Lost(UEFI)),
    ("efi_drop_efivars", Lost(UEFI)),
    ("firmware", Lost(UEFI)),
    ("use_pflash", Lost(UEFI)),
    ("vtpm", Lost(TPM)),
    ("use_tpm1", Lost(TPM)),
    ("tpm_device_type", Lost(TPM)),
    (
        "run_once",
        Ours("boots from the medium once; so do machines here"),
    ),
    // Display and control.
    (
        "headless",
        Ours("machines never open a window; a failed one leaves a picture of its screen"),
    ),
    ("display", Ours(SCREEN)),
    ("use_default_display", Ours(SCREEN)),
    ("vnc_bind_address", Ours(SCREEN)),
    ("vnc_port_min", Ours(SCREEN)),
    ("vnc_port_max", Ours(SCREEN)),
    ("vnc_use_password", Ours(SCREEN)),
    ("vnc_password", Ours(SCREEN)),
    ("disable_vnc", Ours(SCREEN)),
    (
        "qmp_enable",
        Ours("every machine is controlled by QMP, on a private socket"),
    ),
    (
        "qmp_socket_path",
        Ours("every machine is controlled by QMP, on a private socket"),
    ),
    // Typing.
    (
        "boot_command",
        Taken("the installer's kernel is started directly, or `boot_command` of the source"),
    ),
    (
        "boot_steps",
        Taken("as `boot_command`; the descriptions are reported"),
    ),
    (
        "boot_wait",
        Taken("nothing where the kernel is started directly, else a <wait…> in front of `boot_command`"),
    ),
    (
        "boot_key_interval",
        Ours("keys are pressed at a pace that guests can follow"),
    ),
    (
        "boot_keygroup_interval",
        Ours("keys are pressed at a pace that guests can follow"),
    ),
    // Feeding the installer.
    (
        "http_directory",
        Taken("the answer file in it becomes `answers`; nothing else is served"),
    ),
    (
        "http_content",
        Taken("the answer file in it becomes `answers`; nothing else is served"),
    ),
    ("cd_files", Taken("the answer file among them becomes `answers`")),
    ("cd_content", Taken("the answer file in it becomes `answers`")),
    (
        "cd_label",
        Ours("the seed has the label that the installer looks for"),
    ),
    (
        "floppy_files",
        Taken("the answer file among them becomes `answers`"),
    ),
    ("floppy_content", Taken("the answer file in it becomes `answers`")),
    (
        "floppy_dirs",
        Lost("folders on a floppy disk; `copy` steps bring files into the guest"),
    ),
    (
        "floppy_label",
        Ours("the seed has the label that the installer looks for"),
    ),
    ("http_port_min", Ours(OWN_PORT)),
    ("http_port_max", Ours(OWN_PORT)),
    (
        "http_bind_address",
        Ours("answers are served on loopback only, under a path that nobody can guess"),
    ),
    (
        "http_interface",
        Ours("answers are served on loopback only, under a path that nobody can guess"),
    ),
    (
        "http_network_protocol",
        Ours("answers are served on loopback only, under a path that nobody can guess"),
    ),
    // Communicator.
    (
        "communicator",
        Taken("SSH, always; `none` and `winrm` are reported"),
    ),
    (
        "ssh_username",
        Taken("`username` of the answers; `user` of a disk image"),
    ),
    (
        "ssh_password",
        Taken("`password` of the source, as a secret of the environment"),
    ),
    (
        "ssh_private_key_file",
        Taken("`access = { key = … }` of a disk image"),
    ),
    (
        "ssh_timeout",
        Ours(
            "an installer may take as long as it shows signs of life; then SSH is awaited with limits of its own",
        ),
    ),
    (
        "ssh_wait_timeout",
        Ours(
            "an installer may take as long as it shows signs of life; then SSH is awaited with limits of its own",
        ),
    ),
    ("ssh_port", Ours("the port of sshd in the guest: 22")),
    (
        "ssh_handshake_attempts",
        Ours("the guest is asked until it answers or has no time left"),
    ),
    (
        "pause_before_connecting",
        Ours("the installer has ended and the machine was started anew before anybody connects"),
    ),
    ("temporary_key_pair_type", Ours(ONE_KEY)),
    ("temporary_key_pair_bits", Ours(ONE_KEY)),
    ("temporary_key_pair_name", Ours(ONE_KEY)),
    (
        "ssh_clear_authorized_keys",
        Ours("sealing takes the build's key out, always"),
    ),
    ("host_port_min", Ours(OWN_PORT)),
    ("host_port_max", Ours(OWN_PORT)),
    ("ssh_host_port_min", Ours(OWN_PORT)),
    ("ssh_host_port_max", Ours(OWN_PORT)),
    (
        "skip_nat_mapping",
        Ours("the guest's sshd is reached through the machine's own NAT"),
    ),
    ("ssh_host", Ours("the guest is reached on loopback")),
    (
        "ssh_pty",
        Lost(
            "gave commands a terminal; steps have none: `Defaults requiretty` of sudo does not matter, as they run as root",
        ),
    ),
    ("ssh_agent_auth", Ours(ONE_KEY)),
    ("ssh_certificate_file", Ours(ONE_KEY)),
    ("ssh_keypair_name", Ours(ONE_KEY)),
    ("ssh_public_key", Ours(ONE_KEY)),
    ("ssh_private_key", Ours(ONE_KEY)),
    ("ssh_keep_alive_interval", Ours("connections are kept alive")),
    ("ssh_read_write_timeout", Ours("steps have a `timeout`")),
    (
        "ssh_file_transfer_method",
        Ours("files go through the one SSH connection, without scp or sftp"),
    ),
    (
        "ssh_disable_agent_forwarding",
        Ours("the host's agent is never forwarded"),
    ),
    ("ssh_ciphers", Ours("what OpenSSH's client takes")),
    ("ssh_key_exchange_algorithms", Ours("what OpenSSH's client takes")),
    (
        "ssh_local_tunnels",
        Lost("tunnels between guest and host; a guest reaches the network through NAT only"),
    ),
    (
        "ssh_remote_tunnels",
        Lost("tunnels between guest and host; a guest reaches the network through NAT only"),
    ),
    ("ssh_bastion_host", Lost(NO_HOPS)),
    ("ssh_bastion_port", Lost(NO_HOPS)),
    ("ssh_bastion_username", Lost(NO_HOPS)),
    ("ssh_bastion_password", Lost(NO_HOPS)),
    ("ssh_bastion_interactive", Lost(NO_HOPS)),
    ("ssh_bastion_private_key_file", Lost(NO_HOPS)),
    ("ssh_bastion_certificate_file", Lost(NO_HOPS)),
    ("ssh_bastion_agent_auth", Lost(NO_HOPS)),
    ("ssh_proxy_host", Lost(NO_HOPS)),
    ("ssh_proxy_port", Lost(NO_HOPS)),
    ("ssh_proxy_username", Lost(NO_HOPS)),
    ("ssh_proxy_password", Lost(NO_HOPS)),
    ("winrm_username", Lost(NO_WINRM)),
    ("winrm_password", Lost(NO_WINRM)),
    ("winrm_host", Lost(NO_WINRM)),
    ("winrm_port", Lost(NO_WINRM)),
    ("winrm_timeout", Lost(NO_WINRM)),
    ("winrm_use_ssl", Lost(NO_WINRM)),
    ("winrm_insecure", Lost(NO_WINRM)),
    ("winrm_use_ntlm", Lost(NO_WINRM)),
    ("winrm_no_proxy", Lost(NO_WINRM)),
    // Shutdown.
    (
        "shutdown_command",
        Ours("the guest is sealed and powers off by itself; nobody needs to know how"),
    ),
    (
        "shutdown_timeout",
        Ours("a guest that does not power off in time is ended, and that is an error"),
    ),
    (
        "disable_shutdown",
        Ours("the guest is sealed and powers off by itself"),
    ),
];

/// Keys that every provisioner takes, and those of `shell`, `file` and `ansible`.
pub const PROVISIONERS: &[(&str, &str, Fate)] = &[
    ("*", "only", Taken("steps of the builds it is for")),
    ("*", "except", Taken("steps of the builds it is for")),
    ("*", "override", Taken("steps of the build it is for")),
    (
        "*",
        "pause_before",
        Taken("a step that sleeps, unless it waited for a reboot: `reboot` waits by itself"),
    ),
    ("*", "max_retries", Taken("`retries`")),
    ("*", "timeout", Taken("`timeout`")),
    (
        "*",
        "continue_on_error",
        Lost("went on after a failure; a step that may fail says `|| true`, or has `exit_codes`"),
    ),
    ("shell", "inline", Taken("`inline`")),
    ("shell", "script", Taken("`run`")),
    ("shell", "scripts", Taken("`run`, one step a script")),
    ("shell", "environment_vars", Taken("`env`")),
    ("shell", "env", Taken("`env`")),
    (
        "shell",
        "execute_command",
        Taken("`interpreter` where it names one; steps run as root, so sudo is not needed"),
    ),
    (
        "shell",
        "inline_shebang",
        Taken("the script's first line, or `set -e`"),
    ),
    ("shell", "valid_exit_codes", Taken("`exit_codes`")),
    ("shell", "expect_disconnect", Taken("`reboot` after the step")),
    ("shell", "pause_after", Taken("a step that sleeps")),
    (
        "shell",
        "env_var_format",
        Ours("how variables were written into the command; they need no form here"),
    ),
    (
        "shell",
        "use_env_var_file",
        Ours("variables in a file of their own; they never stand on a command line here"),
    ),
    (
        "shell",
        "remote_folder",
        Ours("where the script was put; steps have a private place that is emptied"),
    ),
    (
        "shell",
        "remote_file",
        Ours("where the script was put; steps have a private place that is emptied"),
    ),
    (
        "shell",
        "remote_path",
        Ours("where the script was put; steps have a private place that is emptied"),
    ),
    (
        "shell",
        "skip_clean",
        Ours("left the script behind; steps leave nothing"),
    ),
    (
        "shell",
        "start_retry_timeout",
        Ours("waited for SSH; `reboot` waits by itself"),
    ),
    (
        "shell",
        "binary",
        Ours("kept line ends as they were; scripts are always sent as they are"),
    ),
    ("file", "source", Taken("`copy`")),
    ("file", "sources", Taken("`copy`, one step each")),
    ("file", "destination", Taken("`to`")),
    ("file", "content", Taken("an `inline` step that writes it")),
    ("file", "direction", Taken("uploads; downloads are reported")),
    (
        "file",
        "generated",
        Ours("said that the file is made during the build"),
    ),
    ("ansible", "playbook_file", Taken("`ansible`")),
    (
        "ansible",
        "extra_arguments",
        Taken("`args`; secrets among them are left out"),
    ),
    (
        "ansible",
        "user",
        Ours("Ansible logs in as the build does, and becomes root"),
    ),
    (
        "ansible",
        "use_proxy",
        Ours("Ansible talks to the guest's own sshd"),
    ),
    (
        "ansible",
        "ansible_env_vars",
        Lost("environment of Ansible; set it for the run, or in ansible.cfg beside the playbook"),
    ),
    (
        "ansible",
        "groups",
        Lost(
            "groups of the inventory; the one host here is called `guest` and is in no group: let plays say `hosts: all`",
        ),
    ),
    (
        "ansible",
        "host_alias",
        Lost("name of the host in the inventory; here it is `guest`: let plays say `hosts: all`"),
    ),
    (
        "ansible",
        "inventory_file",
        Lost("an inventory of its own; the one here has the guest alone"),
    ),
    (
        "ansible",
        "inventory_directory",
        Lost("an inventory of its own; the one here has the guest alone"),
    ),
    (
        "ansible",
        "galaxy_file",
        Lost("roles fetched before each build: install them once, beside the playbook"),
    ),
    (
        "ansible",
        "roles_path",
        Lost("where roles are: set it in ansible.cfg beside the playbook"),
    ),
    (
        "ansible",
        "collections_path",
        Lost("where collections are: set it in ansible.cfg beside the playbook"),
    ),
    (
        "ansible",
        "command",
        Lost("another program for ansible-playbook; the one in PATH is taken"),
    ),
    (
        "ansible",
        "local_port",
        Ours("Ansible talks to the guest's own sshd"),
    ),
    (
        "ansible",
        "keep_inventory_file",
        Ours("the inventory is a file of the build, gone with it"),
    ),
    (
        "ansible",
        "skip_version_check",
        Ours("`pipeline doctor` looks for Ansible"),
    ),
];

/// Post-processors as a whole.
pub const POST_PROCESSORS: &[(&str, Fate)] = &[
    ("compress", Taken("`publish.compress`, `publish.level`")),
    ("checksum", Taken("`publish.checksums`")),
    (
        "manifest",
        Ours("a list of what was built; `index.json` in the output folder lists what is published"),
    ),
    (
        "artifice",
        Lost("took other files for the result; the result here is the image itself"),
    ),
    (
        "shell-local",
        Lost("a command on this host, after the build; run it after `pipeline run`"),
    ),
    ("checksums", Lost("no post-processor of Packer's")),
    (
        "vagrant",
        Lost("made a Vagrant box; not to be had: make it of the published image"),
    ),
    (
        "provenance",
        Ours("what an image was built from; `index.json` in the output folder says so for what is published"),
    ),
];

/// The fate of a builder's key.
pub fn of_builder(key: &str) -> Option<Fate> {
    BUILDER
        .iter()
        .find(|(name, _)| *name == key)
        .map(|(_, fate)| *fate)
}

/// The fate of a provisioner's key.
pub fn of_provisioner(kind: &str, key: &str) -> Option<Fate> {
    let fits = |of: &str| of == "*" || of == kind;
    let found = PROVISIONERS.iter().find(|(of, name, _)| fits(of) && *name == key);
    found.map(|(.., fate)| *fate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_key() {
        let page = include_str!("../../../docs/from-packer.md");
        let keys = BUILDER.iter().map(|(key, _)| *key);
        let keys = keys.chain(PROVISIONERS.iter().map(|(_, key, _)| *key));
        let missing: Vec<_> = keys.filter(|key| !page.contains(&format!("`{key}`"))).collect();
        assert!(missing.is_empty(), "docs/from-packer.md lacks {missing:?}");
    }

    #[test]
    fn no_key_is_there_twice() {
        let mut keys: Vec<_> = BUILDER.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(count, keys.len());
    }
}
