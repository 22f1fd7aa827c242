//! A client for the QEMU Machine Protocol (docs/interop/qmp-spec in qemu's source): commands, answers, events.
//! Knows nothing of machines; unknown events are passed on like any other.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Longest message; a qemu that a guest has taken over might send others.
const MESSAGE: u64 = 16 << 20;
/// How long the greeting and the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// Why a command gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// qemu said no.
    #[error("qemu refused `{command}`: {reason}")]
    Refused {
        command: String,
        /// In qemu's words.
        reason: String,
    },
    /// No answer in time.
    #[error("qemu did not answer `{command}` within {}", crate::size::show_duration(*.limit))]
    Slow { command: String, limit: Duration },
    /// The connection has ended; most often because qemu has.
    #[error("qemu closed its control socket before it answered `{command}`")]
    Closed { command: String },
}

/// Something that happened in qemu.
#[derive(Clone, Debug)]
pub struct QmpEvent {
    /// `RESET`, `SHUTDOWN`, `GUEST_PANICKED`, …
    pub name: String,
    /// Its details.
    pub data: Value,
}

/// A connection. Commands may be sent from several threads.
#[derive(Debug)]
pub struct Qmp {
    writer: Mutex<UnixStream>,
    pending: Arc<Mutex<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    closed: bool,
    last_id: u64,
    answers: BTreeMap<u64, mpsc::Sender<Value>>,
}

impl Qmp {
    /// Takes over a connected socket and shakes hands; events go to the receiver from then on.
    ///
    /// # Errors
    /// Every [`QmpError`], for the command `qmp_capabilities`.
    pub fn connect(stream: UnixStream) -> Result<(Self, mpsc::Receiver<QmpEvent>), QmpError> {
        let closed = || QmpError::Closed {
            command: "qmp_capabilities".to_owned(),
        };
        let reader = BufReader::new(stream.try_clone().map_err(|_| closed())?);
        let pending = Arc::<Mutex<Pending>>::default();
        let (sender, events) = mpsc::channel();
        let shared = Arc::clone(&pending);
        thread::spawn(move || read(reader, &shared, &sender));
        let qmp = Self {
            writer: Mutex::new(stream),
            pending,
        };
        // qemu sends its greeting unasked and answers what is already waiting: no need to read it first.
        qmp.command("qmp_capabilities", json!({}), HANDSHAKE)?;
        Ok((qmp, events))
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// Every [`QmpError`].
    pub fn command(&self, name: &str, arguments: Value, limit: Duration) -> Result<Value, QmpError> {
        let command = || name.to_owned();
        let (sender, answer) = mpsc::channel();
        let id = {
            let mut pending = lock(&self.pending);
            if pending.closed {
                return Err(QmpError::Closed { command: command() });
            }
            pending.last_id += 1;
            let id = pending.last_id;
            pending.answers.insert(id, sender);
            id
        };
        let line = json!({ "execute": name, "arguments": arguments, "id": id }).to_string() + "\n";
        let sent = lock(&self.writer).write_all(line.as_bytes());
        let answer = match sent {
            Ok(()) => answer.recv_timeout(limit),
            Err(_) => Err(mpsc::RecvTimeoutError::Disconnected),
        };
        lock(&self.pending).answers.remove(&id);
        match answer {
            Ok(mut answer) => match answer.get_mut("return") {
                Some(value) => Ok(value.take()),
                None => Err(QmpError::Refused {
                    command: command(),
                    reason: answer["error"]["desc"]
                        .as_str()
                        .unwrap_or("no reason given")
                        .to_owned(),
                }),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => Err(QmpError::Slow {
                command: command(),
                limit,
            }),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(QmpError::Closed { command: command() }),
        }
    }

    /// Has the human monitor run a command (`info usernet`), and gives what it printed.
    ///
    /// # Errors
    /// Every [`QmpError`].
    pub fn human_monitor(&self, line: &str, limit: Duration) -> Result<String, QmpError> {
        let answer = self.command("human-monitor-command", json!({ "command-line": line }), limit)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }
}

/// Sorts what qemu says into answers and events until the socket ends.
fn read(mut reader: BufReader<UnixStream>, pending: &Mutex<Pending>, events: &mpsc::Sender<QmpEvent>) {
    let mut line = Vec::new();
    while matches!((&mut reader).take(MESSAGE).read_until(b'\n', &mut line), Ok(1..)) {
        if let Ok(mut message) = serde_json::from_slice::<Value>(&line) {
            if let Some(id) = message["id"].as_u64() {
                if let Some(waiting) = lock(pending).answers.remove(&id) {
                    // Whoever asked may have given up meanwhile.
                    drop(waiting.send(message));
                }
            } else if let Some(name) = message["event"].as_str() {
                let name = name.to_owned();
                let data = message["data"].take();
                drop(events.send(QmpEvent { name, data }));
            }
        }
        line.clear();
    }
    let mut pending = lock(pending);
    pending.closed = true;
    // Dropping the senders wakes everyone who waits.
    pending.answers.clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end of the socket: answers as the closure says, line for line.
    fn peer(answers: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writeln!(writer, "{}", json!({ "QMP": { "version": {} } })).unwrap();
            for line in BufReader::new(theirs).lines() {
                let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
                for answer in answers(&request) {
                    writeln!(writer, "{answer}").unwrap();
                }
                if request["execute"] == "quit" {
                    return;
                }
            }
        });
        ours
    }

    #[test]
    fn answers_find_their_command_and_events_do_not_get_in_the_way() {
        let stream = peer(|request| {
            let id = &request["id"];
            match request["execute"].as_str().unwrap() {
                "bad" => {
                    vec![json!({ "id": id, "error": { "class": "GenericError", "desc": "no such thing" } })]
                }
                "mute" | "quit" => vec![],
                _ => vec![
                    json!({ "event": "SOMETHING_NEW", "data": { "a": 1 } }),
                    json!({ "id": id, "return": request["arguments"] }),
                ],
            }
        });
        let (qmp, events) = Qmp::connect(stream).unwrap();
        let limit = Duration::from_secs(10);
        assert_eq!(
            qmp.command("echo", json!({ "x": 2 }), limit).unwrap(),
            json!({ "x": 2 })
        );
        assert_eq!(events.recv().unwrap().name, "SOMETHING_NEW");
        let refused = qmp.command("bad", json!({}), limit).unwrap_err();
        assert_eq!(refused.to_string(), "qemu refused `bad`: no such thing");
        let slow = qmp
            .command("mute", json!({}), Duration::from_millis(20))
            .unwrap_err();
        assert!(matches!(slow, QmpError::Slow { .. }), "{slow}");
        let closed = qmp.command("quit", json!({}), limit).unwrap_err();
        assert!(matches!(closed, QmpError::Closed { .. }), "{closed}");
        assert!(qmp.command("echo", json!({}), limit).is_err());
    }
}
