//! What a request gets: a file, a place to write to, or a refusal that says why.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::form::NoForm;
use super::{BOOT_SCRIPT, Posted, REPORTS, Room, Visit, folder, form, lock, shown};
use crate::host::serve::request::Request;
use crate::host::serve::response;

/// Answers, and tells of it.
pub(super) fn answer(request: &Request, stream: &UnixStream, room: &Room) {
    let mut visit = Visit {
        method: shown(&request.method),
        path: shown(&request.path),
        query: request.query.clone(),
        status: 200,
        bytes: request.body.len() as u64,
        posted: None,
    };
    match request.method.as_str() {
        "GET" | "HEAD" => send(request, stream, room, &mut visit),
        "POST" => {
            take(request, room, &mut visit);
            if visit.status < 400 {
                // Before the answer: what the guest does next comes after it.
                (room.on_visit)(&visit);
                let _ = head(&mut &*stream, visit.status, 0);
                return;
            }
            refuse(&mut &*stream, visit.status);
        }
        _ => {
            visit.status = 405;
            refuse(&mut &*stream, visit.status);
        }
    }
    (room.on_visit)(&visit);
}

/// Sends the file that is asked for.
fn send(request: &Request, mut stream: &UnixStream, room: &Room, visit: &mut Visit) {
    visit.bytes = 0;
    let given = lock(&room.files).get(&request.path).cloned();
    let found: Option<(Box<dyn Read>, u64)> = match given {
        Some(bytes) => {
            let length = bytes.len() as u64;
            Some((Box::new(io::Cursor::new(bytes)), length))
        }
        None => [&room.received, &room.folder]
            .into_iter()
            .flatten()
            .find_map(|folder| folder::open(folder, &request.path))
            .map(|(file, length)| (Box::new(file) as Box<dyn Read>, length)),
    };
    let Some((file, length)) = found else {
        visit.status = 404;
        if request.method == "HEAD" {
            // RFC 9110 §9.3.2: no body, whatever the answer.
            let _ = head(&mut stream, 404, 0);
        } else {
            refuse(&mut stream, 404);
        }
        return;
    };
    if head(&mut stream, 200, length).is_err() || request.method == "HEAD" {
        return;
    }
    // No more than was promised, should the file grow meanwhile. A guest that goes away took less.
    let mut counted = Counted {
        inner: stream,
        count: 0,
    };
    let _ = io::copy(&mut file.take(length), &mut counted);
    visit.bytes = counted.count;
}

/// Takes what a POST brings.
fn take(request: &Request, room: &Room, visit: &mut Visit) {
    if request.path.starts_with(REPORTS) {
        visit.status = 204;
        visit.posted = Some(Posted::Report(request.body.clone()));
        return;
    }
    let written = match (form::read(&request.content_type, &request.body), &room.received) {
        (Err(NoForm::Type), _) => Err(415),
        (Err(NoForm::Fields), _) => Err(400),
        (Ok(_), None) => Err(403),
        // The boot script is what the user gave, or nothing: a guest does not write its own.
        (Ok(form), _) if form.path.trim_matches('/') == BOOT_SCRIPT => Err(403),
        (Ok(form), Some(folder)) => {
            let _alone = lock(&room.writing);
            visit.bytes = form.content.len() as u64;
            folder::write(folder, &form, &room.allowance)
        }
    };
    match written {
        Ok(place) => visit.posted = Some(Posted::File(place)),
        Err(status) => visit.status = status,
    }
}

/// Sends a refusal with its reason.
pub(super) fn refuse(stream: &mut impl Write, status: u16) {
    let why = match status {
        400 => "this is no request that is understood here\n",
        403 => "writing there is not allowed\n",
        404 => "there is no such file\n",
        405 => "only GET, HEAD and POST are answered\n",
        408 => "the request took too long\n",
        409 => "the path leads through a file or to a folder\n",
        411 => "say how long the body is (Content-Length)\n",
        413 => "the body is too long\n",
        415 => "post a form with the fields path, content and, to empty the file first, clear=1\n",
        431 => "the head of the request is too long\n",
        _ => "there is no room left\n",
    };
    // A guest that has gone needs no reason.
    let _ = head(stream, status, why.len() as u64).and_then(|()| stream.write_all(why.as_bytes()));
}

fn head(stream: &mut impl Write, status: u16, length: u64) -> io::Result<()> {
    response::head(stream, status, "application/octet-stream", length)
}

/// Counts what went through.
struct Counted<'a> {
    inner: &'a UnixStream,
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
