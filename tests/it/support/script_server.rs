//! An HTTP server on loopback that plays the hypervisor's side of the boot-time agent: one script, or none, or half of it.
//! It knows nothing of the agent.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What the server says to the next requests.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with this script.
    Script(String),
    /// 404.
    Absent,
    /// 200 with nothing in it.
    Empty,
    /// 200 and this script, but the connection ends before the promised length.
    CutShort(String),
}

/// Serves until the test process ends.
pub struct ScriptServer {
    /// Where the agent shall ask.
    pub url: String,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
}

impl ScriptServer {
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/vm-bootstrap", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(AtomicUsize::new(0));
        let (said, counted) = (Arc::clone(&answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = said.lock().unwrap().clone();
                // A client that went away is the client's affair.
                let _gone = reply(&stream.unwrap(), &answer);
            }
        });
        Self {
            url,
            answer,
            requests,
        }
    }

    pub fn say(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn reply(mut stream: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, body, promised) = match answer {
        Answer::Script(text) => ("200 OK", text.as_str(), text.len()),
        Answer::Absent => ("404 Not Found", "not here\n", 9),
        Answer::Empty => ("200 OK", "", 0),
        Answer::CutShort(text) => ("200 OK", text.as_str(), text.len() + 100),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {promised}\r\nConnection: close\r\n\r\n{body}"
    )?;
    stream.shutdown(std::net::Shutdown::Write)
}
