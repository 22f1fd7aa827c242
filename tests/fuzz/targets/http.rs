//! What a guest sends to its HTTP door: read in one piece and in small ones, then answered by a real door on its socket.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pipeline::internals::host::serve::request::{Bounds, read};
use pipeline::internals::machine::door::{Content, Door};

const BOUNDS: Bounds = Bounds {
    body: 64 * 1024,
    time: Duration::from_secs(60),
};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(
        &mut Guest {
            bytes,
            piece: usize::MAX,
        },
        BOUNDS,
    );
    let pieces = read(&mut Guest { bytes, piece: 7 }, BOUNDS);
    assert_eq!(whole, pieces, "it depends on how the bytes arrive");

    let bench = tempfile::tempdir().expect("there is room for a folder");
    let (served, received) = (bench.path().join("served"), bench.path().join("received"));
    fs::create_dir(&served).expect("there is room for a folder");
    fs::write(served.join("a"), "a file").expect("there is room for a file");
    fs::write(bench.path().join("secret"), "kept secret").expect("there is room for a file");
    let content = Content {
        files: BTreeMap::from([("vm-bootstrap".to_owned(), b"#!/bin/sh\n".to_vec())]),
        folder: Some(served),
        received: Some(received),
    };
    let door = Door::open(content, |visit| {
        let _ = visit.to_string();
    })
    .expect("a door can be opened");
    let answer = ask(&door, bytes).unwrap_or_default();
    let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.1 ");
    assert!(is_http, "answered {:?}", String::from_utf8_lossy(&answer));
    assert!(
        !String::from_utf8_lossy(&answer).contains("kept secret"),
        "a path led out"
    );
    drop(door);
    let mut there: Vec<_> = fs::read_dir(bench.path())
        .expect("the folder is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "received")
        .collect();
    there.sort();
    assert_eq!(there, ["secret", "served"], "a path led out");
});

/// The answer; an error when the door closed before it had all, which it may.
fn ask(door: &Door, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(door.socket())?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Bytes that arrive in pieces.
struct Guest<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Read for Guest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.piece);
        self.bytes.read(&mut buffer[..most])
    }
}

impl Write for Guest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
