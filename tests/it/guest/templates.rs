//! The templates that configure fresh roots and cloud images, judged by other people's tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use minijinja::Environment;
use minijinja::UndefinedBehavior;
use minijinja::Value;
use minijinja::context;
use minijinja::syntax::SyntaxConfig;

use super::BUILD_KEY;
use super::repository;
use crate::support::Bench;
use crate::support::tool;

/// The templates as the program sets them up: strict, and block lines leave nothing behind.
fn templates() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .unwrap();
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for entry in fs::read_dir(repository("templates")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "j2") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            environment
                .add_template_owned(name, fs::read_to_string(&path).unwrap())
                .unwrap();
        }
    }
    environment
}

fn build_facts() -> Value {
    context! {
        distro => "debian12", family => "debian", version => "12", suite => "bookworm",
        components => ["main", "contrib"], mirror => "http://127.0.0.1/debian", security_mirror => "",
        hostname => "vm", root_uuid => "6b1d5f1c-0e35-4f0e-9d3f-6f7b3f0a2a11", build_key => BUILD_KEY, user => "ann",
    }
}

#[test]
fn fresh_roots_are_configured_by_clean_scripts_that_a_template_can_override() {
    let mut environment = templates();
    let own = "{% extends 'bootstrap-debian.sh.j2' %}{% block extra %}\necho mine\n{% endblock %}";
    environment.add_template("own.sh.j2", own).unwrap();
    let bench = Bench::new();
    for name in ["bootstrap-debian.sh.j2", "bootstrap-ubuntu.sh.j2", "own.sh.j2"] {
        let vars = context! { keymap => "fr", locale => "en_US.UTF-8", timezone => "Europe/Paris", kernel_args => "quiet" };
        for facts in [build_facts(), context! { ..build_facts(), ..vars }] {
            let text = environment.get_template(name).unwrap().render(facts).unwrap();
            assert!(text.starts_with("#!/bin/sh\n"), "{name}:\n{text}");
            let path = bench.write("setup.sh", &text);
            tool("shellcheck", &[path.to_str().unwrap()], Path::new("/"));
            tool("dash", &["-n", path.to_str().unwrap()], Path::new("/"));
            assert_eq!(text.contains("echo mine"), name.starts_with("own"));
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
    let environment = templates();
    let bench = Bench::new();
    for user in ["root", "ann"] {
        let facts = context! { user, ..build_facts() };
        let text = environment
            .get_template("cloud-init-user-data.yaml.j2")
            .unwrap()
            .render(&facts)
            .unwrap();
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
        let meta = environment
            .get_template("cloud-init-meta-data.yaml.j2")
            .unwrap()
            .render(&facts)
            .unwrap();
        assert!(
            meta.contains("instance-id: \"build-vm\"\nlocal-hostname: \"vm\""),
            "{meta}"
        );
    }
}

/// `[family]` and `[family.suite]` as the table's own first lines describe them.
#[test]
fn the_package_table_knows_every_suite() {
    let text = fs::read_to_string(repository("templates/families.toml")).unwrap();
    let table: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
        toml_edit::de::from_str(&text).unwrap();
    for (family, suites) in [
        ("debian", ["bullseye", "bookworm", "trixie"]),
        ("ubuntu", ["focal", "jammy", "noble"]),
    ] {
        let family = &table[family];
        assert!(family["kernel"].as_str().unwrap().starts_with("linux-image-"));
        assert!(
            family["packages"]
                .as_array()
                .unwrap()
                .iter()
                .all(serde_json::Value::is_string)
        );
        for suite in suites {
            assert!(family[suite]["packages"].is_array(), "{suite}");
        }
    }
}
