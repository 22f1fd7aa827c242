//! Stories about downloads, with a real server on loopback: what arrives, what is asked for again after a cut,
//! and what the user reads when it fails. Here is what they share.

mod arrive;
mod network;
mod words;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use pipeline::internals::digest::{Algorithm, Digest, Hasher};
use pipeline::internals::event::{Emitter, Event, What};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::http::{Client, Limits, Proxies};
use pipeline::internals::stage::fetch::{FetchError, Fetched, Fetcher, Spec};

const MIB: usize = 1024 * 1024;

/// Bytes without any pattern that a fault could leave intact (xorshift64).
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut all: Vec<u8> = std::iter::repeat_with(next)
        .take(count / 8 + 1)
        .flatten()
        .collect();
    all.truncate(count);
    all
}

fn sha256(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    hasher.finish()
}

/// Impatient, with no proxies but those given.
fn fetcher(proxies: &[(&str, String)]) -> Fetcher {
    Fetcher {
        client: Client {
            limits: Limits {
                connect: Duration::from_secs(5),
                silence: Duration::from_secs(4),
                ..Limits::default()
            },
            proxies: Proxies::from_lookup(|name| {
                let found = proxies.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| value.clone())
            }),
            ..Client::default()
        },
        attempts: 3,
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(200),
        ..Fetcher::default()
    }
}

/// What came of a fetch.
struct Attempt {
    result: Result<Fetched, FetchError>,
    events: Vec<Event>,
}

impl Attempt {
    fn ok(&self) -> &Fetched {
        self.result.as_ref().unwrap_or_else(|e| panic!("{e}"))
    }

    /// The error's text, ports taken out.
    fn error(&self) -> String {
        without_ports(&self.result.as_ref().unwrap_err().to_string())
    }

    fn warnings(&self) -> Vec<String> {
        let warning = |event: &Event| match &event.what {
            What::Warning { text } => Some(without_ports(text)),
            _ => None,
        };
        self.events.iter().filter_map(warning).collect()
    }

    /// Everything a user or a log could see.
    fn everything(&self) -> String {
        let events = serde_json::to_string(&self.events).unwrap();
        format!(
            "{events}\n{:?}\n{}",
            self.result,
            self.result
                .as_ref()
                .map_or_else(ToString::to_string, |_| String::new())
        )
    }
}

fn without_ports(text: &str) -> String {
    let mut pieces = text.split("127.0.0.1:");
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean += "127.0.0.1:[PORT]";
        clean += piece.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    clean
}

fn fetch_with(fetcher: &Fetcher, urls: &[String], digest: &Digest, part: &Path) -> Attempt {
    let (sender, events) = mpsc::channel();
    let spec = Spec {
        urls: urls.to_vec(),
        digest: digest.clone(),
    };
    let emit = Emitter::new(sender).for_node("fetch/test");
    let result = fetcher.fetch(&spec, part, &Cancel::default(), &emit);
    drop(emit);
    Attempt {
        result,
        events: events.iter().collect(),
    }
}

fn fetch(urls: &[String], digest: &Digest, part: &Path) -> Attempt {
    fetch_with(&fetcher(&[]), urls, digest, part)
}

/// Not a story of its own: the process that other stories start, kill, and give another environment.
#[test]
#[ignore = "is started by other stories as a process of its own"]
fn a_process_of_its_own() {
    let var = |name: &str| std::env::var(name).expect("only other stories start this");
    let part = var("STORY_PART");
    let digest = var("STORY_DIGEST").parse().unwrap();
    let settings = Fetcher {
        client: Client {
            proxies: Proxies::from_env(),
            ..fetcher(&[]).client
        },
        ..fetcher(&[])
    };
    let fetched = fetch_with(&settings, &[var("STORY_URL")], &digest, Path::new(&part));
    let outcome = fetched
        .result
        .map_or_else(|e| without_ports(&e.to_string()), |_| "fetched".to_owned());
    std::fs::write(format!("{part}.outcome"), outcome).unwrap();
}

fn process(url: &str, digest: &Digest, part: &Path, env: &[(&str, &Path)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "fetch::a_process_of_its_own"]);
    command
        .env_clear()
        .env("STORY_URL", url)
        .env("STORY_PART", part)
        .env("STORY_DIGEST", digest.to_string());
    command.envs(env.iter().copied());
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
