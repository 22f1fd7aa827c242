//! What cloud-init did in a disk image because of the template's own user-data, beyond letting Packer in.

use std::sync::Arc;

use super::build::Build;
use super::feed;
use crate::import::node::Node;
use crate::import::yaml;

/// Keys that leave nothing in the image that sealing does not take out, or that the build's own seed says.
const HARMLESS: [&str; 11] = [
    "disable_root",
    "fqdn",
    "hostname",
    "manage_etc_hosts",
    "package_update",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_genkeytypes",
    "ssh_quiet_keygen",
];

/// Stops the build where user-data changed the image.
pub fn check(build: &Build<'_>) {
    let Some(found) = feed::user_data(build) else {
        return;
    };
    let text = build.resolve(&found.text);
    let did = match yaml::read(&Arc::from(found.shown.as_str()), &text) {
        Ok(root) if text.starts_with("#cloud-config") => did(build, &root),
        _ => vec!["a script, or what is no `#cloud-config`".to_owned()],
    };
    if !did.is_empty() {
        let text = format!(
            "did more in the image than to let Packer in ({}), and the build has a seed of its own: write as steps what of this the \
             image needs",
            did.join(", ")
        );
        build.stop("user-data", &text);
    }
}

fn did(build: &Build<'_>, root: &Node) -> Vec<String> {
    let login = build.text("ssh_username").unwrap_or_default();
    let mut did = Vec::new();
    for (key, node) in root.entries() {
        match key.as_str() {
            "users" => {
                for user in node.items() {
                    let name = user.text_of("name").or_else(|| user.text()).unwrap_or_default();
                    let has_password = ["passwd", "hashed_passwd", "plain_text_passwd"]
                        .iter()
                        .any(|key| user.get(key).is_some());
                    if name != login && name != "default" {
                        did.push(format!("user {name}"));
                    } else if has_password {
                        did.push(format!("password of {name}"));
                    }
                }
            }
            "ssh_pwauth" | "package_upgrade" if !node.is_true() => {}
            key if HARMLESS.contains(&key) => {}
            key => did.push(key.to_owned()),
        }
    }
    did
}
