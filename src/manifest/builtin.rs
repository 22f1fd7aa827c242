//! What is compiled into the program: guest scripts and answer templates.
//!
//! To add one, put its name and an `include_str!` of it into the table. Knows nothing of what they do.

/// A script with the library that it uses in front of it.
macro_rules! with_library {
    ($name:literal) => {
        concat!(
            include_str!("../../guest/lib.sh"),
            include_str!(concat!("../../guest/", $name, ".sh"))
        )
    };
}

/// Scripts that run inside a guest, by the name that a manifest gives: `guest/update.sh`.
pub const SCRIPTS: &[(&str, &str)] = &[
    ("guest/cleanup.sh", with_library!("cleanup")),
    ("guest/grub.sh", with_library!("grub")),
    ("guest/locale.sh", with_library!("locale")),
    ("guest/network.sh", with_library!("network")),
    ("guest/packages.sh", with_library!("packages")),
    ("guest/update.sh", with_library!("update")),
];

/// Answer templates, by the name that a manifest or another template gives: `bootstrap-debian.sh.j2`.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("bootstrap.sh.j2", include_str!("../../templates/bootstrap.sh.j2")),
    (
        "bootstrap-debian.sh.j2",
        include_str!("../../templates/bootstrap-debian.sh.j2"),
    ),
    (
        "bootstrap-ubuntu.sh.j2",
        include_str!("../../templates/bootstrap-ubuntu.sh.j2"),
    ),
    ("agama.json.j2", include_str!("../../templates/agama.json.j2")),
    ("autoyast.xml.j2", include_str!("../../templates/autoyast.xml.j2")),
    (
        "autoinstall-ubuntu.yaml.j2",
        include_str!("../../templates/autoinstall-ubuntu.yaml.j2"),
    ),
    (
        "kickstart.cfg.j2",
        include_str!("../../templates/kickstart.cfg.j2"),
    ),
    (
        "preseed-ubuntu.cfg.j2",
        include_str!("../../templates/preseed-ubuntu.cfg.j2"),
    ),
    (
        "preseed-debian.cfg.j2",
        include_str!("../../templates/preseed-debian.cfg.j2"),
    ),
    (
        "cloud-init-meta-data.yaml.j2",
        include_str!("../../templates/cloud-init-meta-data.yaml.j2"),
    ),
    (
        "cloud-init-user-data.yaml.j2",
        include_str!("../../templates/cloud-init-user-data.yaml.j2"),
    ),
];

/// A built-in script.
pub fn script(name: &str) -> Option<&'static str> {
    find(SCRIPTS, name)
}

/// A built-in template.
pub fn template(name: &str) -> Option<&'static str> {
    find(TEMPLATES, name)
}

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(key, _)| *key == name).map(|(_, text)| *text)
}
