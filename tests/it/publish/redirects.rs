//! A server that takes a file and keeps it elsewhere: reads are redirected, writes never are.

use super::webdav::{nginx, point};
use super::{SMALL, bench, file, listed, noise, says, well};
use crate::support::Bench;
use crate::support::daemon::Daemon;

/// Takes files below `/images` and sends readers to `/signed` under another name of this host, where a URL is signed for
/// GET alone and credentials of other places are refused, as object stores do it.
const STORE: &str = "server {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\n\
    location /images {\ndav_methods PUT;\ncreate_full_put_path on;\n\
    if ($http_authorization = '') { return 401; }\n\
    if ($request_method != PUT) { set $there $document_root$uri; set $moved 1; }\n\
    if (!-f $there) { set $moved ''; }\n\
    if ($moved) { return 302 http://localhost:PORT/signed$uri?signature=abc; }\n}\n\
    location /signed/ {\nalias FOLDER/www/;\n\
    if ($http_authorization) { return 400; }\nif ($request_method = HEAD) { return 403; }\n}\n}";

/// Takes files, and sends every reader to a page to log in at, which tells its size or does not.
const LOGIN: &str = "server {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\n\
    location /images {\ndav_methods PUT;\ncreate_full_put_path on;\n\
    if ($request_method != PUT) { return 302 /login; }\n}\n\
    location = /login {\ndefault_type text/html;\nALTER\nreturn 200 'who are you?';\n}\n}";

fn bench_at(server: &str, more: &str) -> (Bench, Daemon) {
    let bench = bench(
        &format!("[publish.http]\nurl = \"http://mirror.invalid\"\n{more}"),
        50_000,
    );
    let nginx = nginx(&bench, server);
    point(&bench, &nginx.url("/images"));
    (bench, nginx)
}

#[test]
fn what_a_server_keeps_elsewhere_is_read_there() {
    let (bench, _nginx) = bench_at(STORE, "token = { file = \"token\" }\n");
    bench.write("token", "s3cr3t");
    let upload = || bench.run(&["upload", "m.toml", "--size", "3G"]);
    well(&upload());
    assert_eq!(listed(&bench), [SMALL]);
    let asked = |what: &str| bench.read("access.log").matches(what).count();
    assert_eq!((asked("\"PUT "), asked("\"GET /signed/images")), (1, 2));
    let again = upload();
    well(&again);
    says(&again, &["nothing to do"]);
    assert_eq!(asked("\"PUT "), 1, "it is known where it is");
    well(&bench.run(&["check-urls", "m.toml"]));
    // Behind our back it becomes something else of the same size.
    bench.write(&format!("www/images/{}", file(SMALL)), noise(50_000, 9));
    let ran = bench.run(&["check-urls", "m.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
}

/// The size or the digest tells; `verify = "head"` reads what tells no size.
#[test]
fn a_login_page_is_never_taken_for_the_image() {
    for (alter, verify, said) in [
        ("", "full", "is not there, or not of the right size"),
        ("", "head", "is not there, or not of the right size"),
        ("sub_filter you us;", "full", "has other bytes than the image"),
        ("sub_filter you us;", "head", "has other bytes than the image"),
    ] {
        let (bench, _nginx) = bench_at(
            &LOGIN.replace("ALTER", alter),
            &format!("verify = \"{verify}\"\n"),
        );
        let ran = bench.run(&["upload", "m.toml", "--size", "3G"]);
        assert_eq!(ran.code, 1, "{alter} {verify}: {}", ran.all());
        says(&ran, &[said]);
        assert!(listed(&bench).is_empty(), "{alter} {verify}");
    }
}
