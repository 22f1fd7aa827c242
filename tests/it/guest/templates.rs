//! The templates that configure fresh roots and cloud images, judged by other people's tools.

use std::path::Path;

use pipeline::internals::manifest::context::Context;
use pipeline::internals::manifest::model::Template;
use pipeline::internals::manifest::template::{render, render_builtin};
use pipeline::internals::platform::Platform;
use serde_json::json;

use super::BUILD_KEY;
use crate::support::{Bench, tool};

/// What the program knows of a build, and these values.
fn facts(more: serde_json::Value) -> Context {
    let known = json!({
        "distro": "debian12", "family": "debian", "version": "12", "suite": "bookworm",
        "components": ["main", "contrib"], "mirror": "http://127.0.0.1/debian", "security_mirror": "",
        "platform": Platform::Amd64Bios.hardware(), "hostname": "vm", "root_uuid": "6b1d5f1c-0e35-4f0e-9d3f-6f7b3f0a2a11", "build_key": BUILD_KEY, "user": "ann",
    });
    [known, more]
        .iter()
        .flat_map(|values| values.as_object().unwrap().clone())
        .collect()
}

type Render<'a> = &'a dyn Fn(&Context) -> String;

#[test]
fn fresh_roots_are_configured_by_clean_scripts_that_a_template_can_override() {
    let own = Template {
        name: "own.sh.j2".to_owned(),
        text: "{% extends 'bootstrap-debian.sh.j2' %}{% block extra %}\necho mine\n{% endblock %}".to_owned(),
    };
    let bench = Bench::new();
    let builtin = |name| move |facts: &Context| render_builtin(name, facts).unwrap();
    let (debian, ubuntu) = (
        builtin("bootstrap-debian.sh.j2"),
        builtin("bootstrap-ubuntu.sh.j2"),
    );
    let mine = |facts: &Context| render(&own, facts).unwrap();
    let all: [(&str, Render<'_>); 3] = [("debian", &debian), ("ubuntu", &ubuntu), ("own", &mine)];
    for (name, template) in all {
        let vars = json!({ "keymap": "fr", "locale": "en_US.UTF-8", "timezone": "Europe/Paris", "kernel_args": "quiet" });
        for more in [json!({}), vars] {
            let text = template(&facts(more));
            assert!(text.starts_with("#!/bin/sh\n"), "{name}:\n{text}");
            let path = bench.write("setup.sh", &text);
            tool("shellcheck", &[path.to_str().unwrap()], Path::new("/"));
            tool("dash", &["-n", path.to_str().unwrap()], Path::new("/"));
            assert_eq!(text.contains("echo mine"), name == "own");
            assert!(
                text.contains("\nUUID=6b1d5f1c-0e35-4f0e-9d3f-6f7b3f0a2a11  /  ext4 "),
                "{text}"
            );
            assert!(text.contains(&format!("\n{BUILD_KEY}\n")), "{text}");
        }
    }
}

#[test]
fn cloud_init_accepts_the_seed_that_lets_the_build_in() {
    let bench = Bench::new();
    for user in ["root", "ann"] {
        let facts = facts(json!({ "user": user }));
        let text = render_builtin("cloud-init-user-data.yaml.j2", &facts).unwrap();
        assert!(
            text.starts_with("#cloud-config\n") && text.contains(BUILD_KEY),
            "{text}"
        );
        let path = bench.write("user-data", text);
        let said = tool(
            "cloud-init",
            &["schema", "--config-file", path.to_str().unwrap()],
            Path::new("/"),
        );
        assert!(said.contains("Valid"), "{said}");
        let meta = render_builtin("cloud-init-meta-data.yaml.j2", &facts).unwrap();
        assert!(
            meta.contains("instance-id: \"build-vm\"\nlocal-hostname: \"vm\""),
            "{meta}"
        );
    }
}
