//! TLS on loopback: a server with a certificate of a private authority that wants one of ours.

use std::process::Command;

use super::reference::{configure, server};
use super::webdav::nginx;
use super::{SMALL, bench, listed, says, well};
use crate::support::daemon::Daemon;
use crate::support::{Bench, tool};

/// An authority, a server certificate for 127.0.0.1 and a client certificate; and an authority that signed neither.
fn certificates(bench: &Bench) {
    let script = r#"
set -e
authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 36500 -subj "/CN=$1" -keyout "$1.key" -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}
signed() {
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
  printf '%s\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 \
    -extfile "$1.ext" -out "$1.pem"
}
authority authority
authority stranger
signed server 'subjectAltName=IP:127.0.0.1'
signed client 'extendedKeyUsage=clientAuth'
"#;
    tool("sh", &["-c", script], &bench.path(""));
}

/// Adds TLS keys for both services.
fn with_tls(config: &str, ca: &str, own: Option<(&str, &str)>) -> String {
    let mut tls = String::new();
    for service in ["shacache", "shadir"] {
        let (cert, key) = own.unwrap_or_default();
        tls +=
            &format!("{service}-ca-file = {ca}\n{service}-cert-file = {cert}\n{service}-key-file = {key}\n");
    }
    config.replace("[networkcache]\n", &format!("[networkcache]\n{tls}"))
}

#[test]
fn the_client_certificate_lets_us_in_and_anything_else_is_refused_clearly() {
    let bench = bench("[publish.shacache]\nconfig = \"shacache.cfg\"\n", 200_000);
    certificates(&bench);
    let behind = server(&bench);
    let front = nginx(
        &bench,
        &format!(
            "server {{\nlisten 127.0.0.1:PORT ssl;\nssl_certificate FOLDER/server.pem;\n\
             ssl_certificate_key FOLDER/server.key;\nssl_client_certificate FOLDER/authority.pem;\n\
             ssl_verify_client on;\nlocation / {{ proxy_pass http://127.0.0.1:{}; }}\n}}",
            behind.port
        ),
    );
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", front.port);
    configure(&bench, &url("/shacache"), &url("/shadir"), 2048);
    let plain = bench.read("shacache.cfg");
    let upload = |config: &str| {
        bench.write("shacache.cfg", config);
        bench.run(&["upload", "m.toml", "--size", "3G"])
    };

    let wrong_authority = upload(&with_tls(
        &plain,
        "stranger.pem",
        Some(("client.pem", "client.key")),
    ));
    assert_eq!(wrong_authority.code, 1, "{}", wrong_authority.all());
    says(
        &wrong_authority,
        &[
            "no safe connection to 127.0.0.1",
            "authority that",
            "shacache-ca-file",
        ],
    );
    let host_authorities = upload(&plain);
    assert_eq!(host_authorities.code, 1, "{}", host_authorities.all());
    says(&host_authorities, &["no safe connection to 127.0.0.1"]);
    let no_certificate = upload(&with_tls(&plain, "authority.pem", None));
    assert_eq!(no_certificate.code, 1, "{}", no_certificate.all());
    says(
        &no_certificate,
        &["does not let us (HTTP 400", "certificate", "shacache-cert-file"],
    );
    assert!(!bench.path("tree/shacache").exists() && listed(&bench).is_empty());

    let unreadable = upload(&with_tls(
        &plain,
        "authority.pem",
        Some(("client.pem", "none.key")),
    ));
    assert_eq!(unreadable.code, 2, "{}", unreadable.all());
    says(&unreadable, &["none.key cannot be read", "nothing was started"]);

    well(&upload(&with_tls(
        &plain,
        "authority.pem",
        Some(("client.pem", "client.key")),
    )));
    assert_eq!(listed(&bench), [SMALL]);
    assert!(bench.read("out/URL.txt").contains("  https://127.0.0.1:"));
    well(&bench.run(&["check-urls", "m.toml", "--size", "3G"]));
}

/// A server that ends the handshake itself instead of answering.
#[test]
fn a_handshake_that_is_refused_is_told_as_that() {
    let bench = bench("[publish.shacache]\nconfig = \"shacache.cfg\"\n", 1000);
    certificates(&bench);
    let strict = Daemon::start(&bench.path("s_server.log"), |port| {
        let mut command = Command::new("openssl");
        command
            .args([
                "s_server",
                "-www",
                "-quiet",
                "-Verify",
                "1",
                "-verify_return_error",
                "-CAfile",
                "authority.pem",
            ])
            .args([
                "-cert",
                "server.pem",
                "-key",
                "server.key",
                "-accept",
                &port.to_string(),
            ])
            .current_dir(bench.path(""));
        command
    });
    let url = format!("https://127.0.0.1:{}", strict.port);
    configure(&bench, &url, &url, 2048);
    let plain = bench.read("shacache.cfg");
    bench.write("shacache.cfg", with_tls(&plain, "authority.pem", None));
    let ran = bench.run(&["upload", "m.toml", "--size", "3G"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(&ran, &["it wants a client certificate", "CertificateRequired"]);
}
