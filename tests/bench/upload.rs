//! Uploading one file to a loopback server, against `curl -T`: seconds, and peak memory. The server throws away what it
//! gets, so that the clients are what is measured.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pipeline::internals::digest::{Algorithm, Digest};
use pipeline::internals::event::Emitter;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::places::{
    Around, Destination, Http, Item, Login, Metadata, Policy, Target, Verify, upload,
};

use super::{Plan, median};

/// First argument of the process that is measured.
pub const CHILD: &str = "--upload";
/// Least ratio to `curl -T` that is good enough.
const WANTED: f64 = 0.9;
/// Most memory that is, in MiB.
const ALLOWED: u64 = 64;

/// Measures, and prints the table.
pub fn section(folder: &Path, plan: &Plan) {
    super::input::made(folder, plan);
    let disk = folder.join(super::input::NAME);
    let bytes = fs::metadata(&disk).unwrap().len();
    let port = serve();
    let url = format!("http://127.0.0.1:{port}");
    let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
    for round in 1..=plan.rounds {
        eprintln!("upload, round {round} of {}", plan.rounds);
        let output = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, &url])
            .arg(&disk)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (seconds, memory) = text.trim().split_once(' ').unwrap_or_else(|| {
            panic!(
                "the measured process failed: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        ours.push(Duration::from_secs_f64(seconds.parse().unwrap()));
        peak = peak.max(memory.parse::<u64>().unwrap());
        let output = Command::new("curl")
            .args(["-sS", "--fail", "-o", "/dev/null", "-w", "%{time_total}", "-T"])
            .arg(&disk)
            .arg(format!("{url}/curl"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let seconds = String::from_utf8(output.stdout).unwrap();
        theirs.push(Duration::from_secs_f64(seconds.parse().unwrap()));
    }
    let rate = |times: &[Duration]| (bytes >> 20) as f64 / median(times).as_secs_f64();
    let ratio = rate(&ours) / rate(&theirs);
    println!(
        "\nUpload of {} MiB to a loopback server, median of {} in turn; wanted: {WANTED} of curl, {ALLOWED} MiB at most\n",
        bytes >> 20,
        plan.rounds
    );
    println!("| what | MiB/s | against curl | peak MiB | |");
    println!("| --- | ---: | ---: | ---: | --- |");
    let verdict = super::verdict(ratio >= WANTED && peak < ALLOWED);
    println!(
        "| pipeline, PUT | {:.0} | {ratio:.2} x | {peak} | {verdict} |",
        rate(&ours)
    );
    println!("| curl -T | {:.0} | 1 x | | |", rate(&theirs));
}

/// Uploads, and prints the seconds that it took and the peak memory of this process in MiB.
pub fn child(args: &[String]) {
    let [url, path] = args else {
        panic!("{CHILD} URL FILE");
    };
    let path = PathBuf::from(path);
    let target = Target {
        name: "http".to_owned(),
        to: Destination::Http(Http {
            url: url.clone(),
            login: Login::Anonymous,
        }),
        verify: Verify::Head,
        public_url: None,
        versions: None,
        catalogs: Vec::new(),
    };
    let bytes = fs::metadata(&path).unwrap().len();
    let sha512 = Digest {
        algorithm: Algorithm::Sha512,
        hex: "0".repeat(128),
    };
    let metadata = Metadata::new();
    let item = Item {
        path: &path,
        name: Path::new("ours"),
        bytes,
        sha512: &sha512,
        metadata: &metadata,
        listed: true,
    };
    let (sender, _events) = std::sync::mpsc::channel();
    let around = Around {
        cancel: &Cancel::default(),
        emit: &Emitter::new(sender),
        state: Path::new(""),
        policy: Policy::default(),
    };
    let started = Instant::now();
    let uploaded = upload(&target, &item, None, &around).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    assert!(uploaded.sent, "it was not to be there yet");
    println!("{seconds} {}", super::memory::peak_mib());
}

/// A server that takes everything, and tells the size of what pipeline sent last, once: the next round finds nothing.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let size = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let size = Arc::clone(&size);
            std::thread::spawn(move || answer(&stream.unwrap(), &size));
        }
    });
    port
}

fn answer(mut stream: &TcpStream, size: &AtomicU64) {
    let mut reader = BufReader::with_capacity(1 << 18, stream);
    let (mut length, mut put, mut ours, mut expects) = (0, false, false, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        put |= line.starts_with("put ");
        ours |= line.starts_with("put /ours ");
        expects |= line.starts_with("expect:");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    if !put {
        let found = size.swap(0, Ordering::SeqCst);
        let status = if found > 0 { "200 OK" } else { "404 Not Found" };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {found}\r\n\r\n"
        )
        .unwrap();
        return;
    }
    if expects {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    let mut left: u64 = length;
    let mut buffer = vec![0; 1 << 18];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
        let count = reader.read(&mut buffer[..most]).unwrap();
        assert!(count > 0, "the client hung up");
        left -= count as u64;
    }
    if ours {
        size.store(length, Ordering::SeqCst);
    }
    stream
        .write_all(b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
}
