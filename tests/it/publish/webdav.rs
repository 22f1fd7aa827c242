//! Real WebDAV servers: nginx with `dav_methods`, a password and a line that breaks; WsgiDAV, which makes no folders.

use std::path::Path;
use std::process::Command;

use super::{LARGE, SMALL, bench, catalog, file, listed, noise, says, well};
use crate::support::Bench;
use crate::support::daemon::{Daemon, free_port};
use crate::support::python::python;
use crate::support::relay::Relay;

/// Starts nginx with this `server` block (`PORT` stands for its port); its files are in `www`.
pub(crate) fn nginx(bench: &Bench, server: &str) -> Daemon {
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
    let target = "[publish.http]\nurl = \"http://mirror.invalid\"\nuser = \"builder\"\npassword = { env = \"IMAGES_PASSWORD\" }\n";
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
        .replace("http://mirror.invalid", &relay.url("/images"));
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

/// A server that makes no folder by itself: `MKCOL` for each one that is missing, and for no other.
#[test]
fn folders_are_made_on_a_webdav_server_where_they_are_missing() {
    let (bench, server) = wsgidav(50_000);
    // Two folders of the configured URL are missing as well.
    point(&bench, &server.url("/team/nightly"));
    well(&bench.run(&["upload", "m.toml", "--size", "3G", "--jobs", "1"]));
    well(&bench.run(&["upload", "m.toml", "--jobs", "1"]));
    for (id, seed) in [(SMALL, 1), (LARGE, 2)] {
        let there = std::fs::read(bench.path(&format!("www/team/nightly/{}", file(id)))).unwrap();
        assert!(there == noise(50_000, seed), "{id}");
    }
    let log = bench.read("wsgidav.log");
    let made = |path: &str| log.matches(&format!("\"MKCOL {path}\"")).count();
    let folders = ["/team/", "/team/nightly/"].map(made);
    assert_eq!(folders, [1, 2], "the second one once its folder is there\n{log}");
    let folders = [SMALL, LARGE].map(|id| made(&format!("/team/nightly/{id}/")));
    assert_eq!(
        folders,
        [2, 1],
        "once, and once more when its folder is there\n{log}"
    );
}

/// What takes long to send is not sent in vain: the folder is asked for first.
#[test]
fn a_large_image_is_sent_once_where_its_folder_is_missing() {
    const BYTES: usize = 2 << 20;
    let (bench, server) = wsgidav(BYTES);
    point(&bench, &server.url(""));
    well(&bench.run(&["upload", "m.toml", "--size", "3G"]));
    let log = bench.read("wsgidav.log");
    assert_eq!(log.matches("\"PUT ").count(), 1, "{log}");
    assert_eq!(log.matches("\"MKCOL ").count(), 1, "{log}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (bench, server) = wsgidav(50_000);
    point(&bench, &server.url("/team"));
    bench.write("www/team", "a file, where a folder is wanted");
    let ran = bench.run(&["upload", "m.toml", "--size", "3G"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let folder = server.url(&format!("/team/{SMALL}/"));
    says(&ran, &[&format!("could not make the folder {folder}: ")]);
    assert!(listed(&bench).is_empty());
}

/// nginx answers a PUT below a folder that is missing by 500.
#[test]
fn nginx_needs_no_option_of_its_own_for_folders() {
    let bench = bench("[publish.http]\nurl = \"http://mirror.invalid\"\n", 50_000);
    let block =
        "server {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\nlocation / {\ndav_methods PUT MKCOL;\n}\n}";
    let nginx = nginx(&bench, block);
    point(&bench, &nginx.url("/images"));
    well(&bench.run(&["upload", "m.toml", "--size", "3G"]));
    assert!(std::fs::read(bench.path(&format!("www/images/{}", file(SMALL)))).unwrap() == noise(50_000, 1));
}

/// A bench with images of this size that publishes to a WebDAV server, whose files are in `www`.
fn wsgidav(bytes: usize) -> (Bench, Daemon) {
    let bench = bench("[publish.http]\nurl = \"http://mirror.invalid\"\n", bytes);
    std::fs::create_dir_all(bench.path("www")).unwrap();
    let server = Daemon::start(&bench.path("wsgidav.log"), |port| {
        let mut command = python("wsgidav==4.3.3 cheroot==11.1.2");
        command
            .args([
                "-m",
                "wsgidav.server.server_cli",
                "--no-config",
                "--auth",
                "anonymous",
            ])
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--root"])
            .arg(bench.path("www"));
        command
    });
    (bench, server)
}

/// Puts the address of a server into the manifest.
pub(super) fn point(bench: &Bench, url: &str) {
    let text = bench.read("m.toml").replace("http://mirror.invalid", url);
    bench.write("m.toml", text);
}
