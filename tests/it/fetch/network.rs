//! Proxies, certificates, and the archive that this host itself uses.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pipeline::internals::host::facts;

use super::{MIB, bytes, fetch_with, fetcher, process, sha256};
use crate::support::http::{DeadPort, Server};
use crate::support::{Bench, tool};

#[test]
fn proxies_are_used_as_the_environment_says() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let digest = sha256(&content);
    let proxy = Server::start(content.clone()).password("Basic am9lOnMzY3JldA==");
    let with_password = format!("http://joe:s3cret@127.0.0.1:{}", proxy.port());
    let url = ["http://mirror.invalid:8080/a?b=1".to_owned()];
    let through = fetcher(&[("http_proxy", with_password.clone())]);
    fetch_with(&through, &url, &digest, &bench.path("one")).ok();
    let asked = &proxy.asked()[0];
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "http://mirror.invalid:8080/a?b=1")
    );
    assert_eq!(asked.header("host"), Some("mirror.invalid:8080"));

    // Our own server is asked directly, and so is what no_proxy names.
    let direct = Server::start(content);
    fetch_with(&through, &[direct.url("/a")], &digest, &bench.path("two")).ok();
    assert_eq!((direct.asked().len(), proxy.asked().len()), (1, 1));
    let exempt = fetcher(&[
        ("http_proxy", with_password.clone()),
        ("no_proxy", "invalid".into()),
    ]);
    fetch_with(&exempt, &url, &digest, &bench.path("three")).error();
    assert_eq!(proxy.asked().len(), 1);

    let message = |variable: &str, proxy: &str, url: &str| {
        let fetched = fetch_with(
            &fetcher(&[(variable, proxy.to_owned())]),
            &[url.to_owned()],
            &digest,
            &bench.path("four"),
        );
        assert!(!fetched.everything().contains("s3cret"));
        fetched.error()
    };
    let (without, wrong) = (proxy.url(""), with_password.replace("joe", "ann"));
    insta::assert_snapshot!(message("http_proxy", &without, &url[0]), @"could not fetch http://mirror.invalid:8080/a?b=…: the proxy wants a user and password (HTTP 407); put them into the proxy variable as http://user:password@proxy:3128");
    insta::assert_snapshot!(message("https_proxy", &wrong, "https://mirror.invalid/a"), @"could not fetch https://mirror.invalid/a: the proxy 127.0.0.1:[PORT] (from https_proxy) would not connect to mirror.invalid (HTTP 407); give it a user and password, as in http://user:password@proxy:3128");
    let dead = DeadPort::new();
    insta::assert_snapshot!(message("all_proxy", &format!("http://127.0.0.1:{}", dead.port()), &url[0]), @"could not fetch http://mirror.invalid:8080/a?b=…: the proxy 127.0.0.1:[PORT] (from all_proxy) refused the connection; check that the server runs and the port is right");
    insta::assert_snapshot!(message("http_proxy", "nonsense://joe:s3cret@x", &url[0]), @"could not fetch http://mirror.invalid:8080/a?b=…: http_proxy is not the URL of a proxy; write it as http://host:port, or unset it");
}

/// A TLS server (of another make) with an authority made for this test.
struct Tls {
    child: Child,
    port: u16,
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Tls {
    fn authority(folder: &Path, name: &str) {
        let subject = format!("/CN={name}");
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let args = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ];
        tool(
            "openssl",
            &[&args[..], &["-subj", &subject, "-keyout", &key, "-out", &pem]].concat(),
            folder,
        );
    }

    /// A certificate for `localhost` and `mirror.invalid`, by the authority `ca`.
    fn certificate(folder: &Path, name: &str, days: &str) {
        let (key, csr, pem) = (
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.pem"),
        );
        let args = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
        ];
        tool(
            "openssl",
            &[&args[..], &["-keyout", &key, "-out", &csr]].concat(),
            folder,
        );
        std::fs::write(
            folder.join("ext"),
            "subjectAltName=DNS:localhost,DNS:mirror.invalid",
        )
        .unwrap();
        let args = [
            "x509",
            "-req",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "ext",
        ];
        tool(
            "openssl",
            &[&args[..], &["-days", days, "-in", &csr, "-out", &pem]].concat(),
            folder,
        );
    }

    /// Serves the files of the folder.
    fn serve(folder: &Path, name: &str) -> Self {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        let mut child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-WWW",
                "-cert",
                &cert,
                "-key",
                &key,
            ])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .find_map(|line| line.unwrap().strip_prefix("ACCEPT ").map(str::to_owned))
            .unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let port = ready.rsplit(':').next().unwrap().parse().unwrap();
        Self { child, port }
    }
}

#[test]
fn certificates_are_checked_against_the_hosts_authorities() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let folder = bench.path("");
    bench.write("disk.img", &content);
    for name in ["ca", "stranger"] {
        Tls::authority(&folder, name);
    }
    Tls::certificate(&folder, "good", "2");
    Tls::certificate(&folder, "old", "-1");
    let (good, old) = (Tls::serve(&folder, "good"), Tls::serve(&folder, "old"));
    let digest = sha256(&content);
    let outcome = |host: &str, port: u16, authority: &str, env: &[(&str, &Path)]| {
        let part = bench.path("part");
        let authority = bench.path(authority);
        let env = [&[("SSL_CERT_FILE", authority.as_path())][..], env].concat();
        let url = format!("https://{host}:{port}/disk.img");
        assert!(process(&url, &digest, &part, &env).wait().unwrap().success());
        let _ = std::fs::remove_file(&part);
        bench.read("part.outcome").replace(&port.to_string(), "[PORT]")
    };
    assert_eq!(outcome("localhost", good.port, "ca.pem", &[]), "fetched");
    insta::assert_snapshot!(outcome("localhost", good.port, "stranger.pem", &[]), @"could not fetch https://localhost:[PORT]/disk.img: no safe connection to localhost:[PORT]: its certificate is signed by an authority that this host does not trust; if it is yours, point SSL_CERT_FILE at a PEM file with it");
    insta::assert_snapshot!(outcome("127.0.0.1", good.port, "ca.pem", &[]), @"could not fetch https://127.0.0.1:[PORT]/disk.img: no safe connection to 127.0.0.1:[PORT]: its certificate is for another name; write the URL with the name that the certificate carries");
    insta::assert_snapshot!(outcome("localhost", old.port, "ca.pem", &[]), @"could not fetch https://localhost:[PORT]/disk.img: no safe connection to localhost:[PORT]: its certificate has expired; if it has not, this host's clock is wrong, else tell the server's owner and use another mirror");
    insta::assert_snapshot!(outcome("localhost", good.port, "no-such.pem", &[]), @"could not fetch https://localhost:[PORT]/disk.img: no safe connection to localhost:[PORT]: this host has no certificates of authorities; install the package ca-certificates, or point SSL_CERT_FILE at a PEM file");

    // The same through a proxy, which sees where to, and not what.
    let proxy = Server::start(b"").tunnel(good.port);
    let through = proxy.url("");
    let env = [("https_proxy", Path::new(&through))];
    assert_eq!(outcome("mirror.invalid", good.port, "ca.pem", &env), "fetched");
    let asked = &proxy.asked()[0];
    assert_eq!(
        (asked.method.as_str(), asked.target.clone()),
        ("CONNECT", format!("mirror.invalid:{}", good.port))
    );
}

#[test]
fn this_hosts_own_archive_is_found_where_apt_has_one() {
    let os = facts::os_release();
    let apt = facts::AptSources::of_this_host();
    let source = apt.mirror(&os.id, &os.codename);
    let by_apt = matches!(os.id.as_str(), "debian" | "ubuntu");
    assert_eq!(source.is_some(), by_apt, "{os:?}: {source:?}");
    if let Some(source) = source {
        assert!(
            source.uri.contains("://") && !source.uri.ends_with('/'),
            "{source:?}"
        );
    }
    assert_eq!(apt.mirror("plan9", "fourth"), None);
}
