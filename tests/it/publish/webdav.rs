//! A real WebDAV server: nginx with `dav_methods PUT`, a password, and a line that breaks.

use std::path::Path;
use std::process::Command;

use super::{LARGE, SMALL, bench, catalog, file, listed, noise, says, well};
use crate::support::Bench;
use crate::support::daemon::{Daemon, free_port};
use crate::support::relay::Relay;

/// Starts nginx with this `server` block (`PORT` stands for its port); its files are in `www`.
pub(super) fn nginx(bench: &Bench, server: &str) -> Daemon {
    for folder in ["www", "tmp"] {
        std::fs::create_dir_all(bench.path(folder)).unwrap();
    }
    let folder = bench.path("").display().to_string();
    let folder = folder.trim_end_matches('/').to_owned();
    Daemon::start(&bench.path("nginx.log"), |port| {
        let config = format!(
            "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.error;\nevents {{}}\n\
             http {{\naccess_log {folder}/access.log;\nclient_max_body_size 0;\nclient_body_temp_path {folder}/tmp;\n\
             proxy_temp_path {folder}/tmp;\nfastcgi_temp_path {folder}/tmp;\nuwsgi_temp_path {folder}/tmp;\n\
             scgi_temp_path {folder}/tmp;\n{}\n}}\n",
            server
                .replace("PORT", &port.to_string())
                .replace("FOLDER", &folder)
        );
        let path = bench.write("nginx.conf", config);
        let mut command = Command::new(program());
        command
            .arg("-e")
            .arg(bench.path("nginx.error"))
            .arg("-c")
            .arg(path);
        command
    })
}

/// Debian has it in sbin, where a plain user's `PATH` does not lead.
fn program() -> &'static str {
    ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("nginx")
}

#[test]
fn files_go_to_a_webdav_server_by_password_over_a_line_that_breaks() {
    const BYTES: usize = 8 << 20;
    // The port of the relay must be known before the bench is made: it stands in the manifest.
    let target = "[publish.http]\nurl = \"http://placeholder.invalid\"\nuser = \"builder\"\npassword = { env = \"IMAGES_PASSWORD\" }\n";
    let bench = bench(target, BYTES);
    let hash = crate::support::tool("openssl", &["passwd", "-apr1", "s3cr3t"], &bench.path(""));
    bench.write("users", format!("builder:{hash}"));
    let nginx = nginx(
        &bench,
        "server {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\nlocation / {\ndav_methods PUT;\n\
         create_full_put_path on;\nauth_basic images;\nauth_basic_user_file FOLDER/users;\n}\n}",
    );
    let relay = Relay::to(nginx.port);
    let text = bench
        .read("m.toml")
        .replace("http://placeholder.invalid", &relay.url("/images"));
    bench.write("m.toml", text);
    let upload = |password: &str| {
        let mut command = bench.command(&["upload", "m.toml", "--jobs", "1"]);
        command.env("IMAGES_PASSWORD", password);
        bench.finish(command)
    };
    let wrong = upload("wrong");
    assert_eq!(wrong.code, 1, "{}", wrong.all());
    says(&wrong, &["does not let us (HTTP 401", "check the credentials"]);
    assert!(listed(&bench).is_empty());

    relay.cut(1, 3 << 20);
    let first = upload("s3cr3t");
    well(&first);
    says(&first, &["hung up after", "trying again in"]);
    for (id, seed) in [(SMALL, 1), (LARGE, 2)] {
        let there = std::fs::read(bench.path(&format!("www/images/{}", file(id)))).unwrap();
        assert!(there == noise(BYTES, seed), "{id}");
    }
    assert_eq!(listed(&bench), [SMALL, LARGE]);
    assert_eq!(
        catalog(&bench)[0]["urls"]["http"]["url"],
        relay.url(&format!("/images/{}", file(SMALL)))
    );

    let (sent, log) = (relay.sent(), bench.read("access.log").lines().count());
    let again = upload("s3cr3t");
    well(&again);
    says(&again, &["nothing to do"]);
    assert!(relay.sent() - sent < 4096, "only heads");
    assert_eq!(
        bench.read("access.log").lines().count() - log,
        2,
        "a HEAD for each"
    );

    let mut command = bench.command(&["check-urls", "m.toml"]);
    command.env("IMAGES_PASSWORD", "s3cr3t");
    well(&bench.finish(command));
}

#[test]
fn a_server_that_is_not_there_is_told_after_some_patience() {
    let port = free_port();
    let bench = bench(
        &format!("[publish.http]\nurl = \"http://127.0.0.1:{port}/images\"\n"),
        1000,
    );
    let ran = bench.run(&["upload", "m.toml", "--size", "3G"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(
        &ran,
        &[
            "refused the connection",
            "attempt 4 of 4",
            "check that the server runs",
        ],
    );
}
