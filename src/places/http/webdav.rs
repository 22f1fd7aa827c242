//! Folders on a WebDAV server. Unlike most servers that take a PUT, one makes no folder by itself: a PUT below a folder
//! that is missing is refused (RFC 4918 §9.7.1), and the client makes each one by MKCOL (§9.3).

use crate::host::cancel::Cancel;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Client, Get};
use crate::places::UploadError;

/// The folders of a server.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    pub client: &'a Client,
    pub headers: &'a [(&'static str, String)],
    pub cancel: &'a Cancel,
}

impl Folders<'_> {
    /// Whether the server says that a folder is missing. Many servers say nothing about folders: then no.
    pub(super) fn lacks(&self, folder: &str) -> bool {
        let asked = Get {
            headers: self.headers,
            follow: false,
            ..Get::new(folder)
        };
        let head = self.client.head(&asked, self.cancel);
        head.is_ok_and(|head| matches!(head.status, 404 | 410))
    }

    /// Makes a folder and those above it that are missing. False: it was there, or the server makes no folders.
    /// # Errors
    /// [`UploadError`].
    pub fn make(&self, folder: &str) -> Result<bool, UploadError> {
        let answer = self.mkcol(folder)?;
        let (404 | 409, Some(above)) = (answer.head.status, folder_of(folder.trim_end_matches('/'))) else {
            return made(folder, answer);
        };
        if !self.make(above)? {
            return made(folder, answer);
        }
        made(folder, self.mkcol(folder)?)
    }

    fn mkcol(&self, folder: &str) -> Result<Answer, UploadError> {
        let outgoing = Outgoing {
            method: Method::MakeFolder,
            url: folder,
            headers: self.headers,
            length: 0,
            ask_first: false,
        };
        self.client
            .send(&outgoing, std::io::empty(), self.cancel, &mut |_| {})
            .map_err(|error| UploadError::request("make the folder", folder, error))
    }
}

fn made(folder: &str, answer: Answer) -> Result<bool, UploadError> {
    match answer.head.status {
        200 | 201 | 204 => Ok(true),
        // The answer for a folder that is there, also where another upload made it a moment ago, and of servers that
        // have no MKCOL.
        405 | 501 => Ok(false),
        _ => {
            let text = answer.text();
            Err(UploadError::refused(
                "make the folder",
                folder,
                answer.head,
                &text,
            ))
        }
    }
}

/// The URL of the folder that a URL lies in, with a slash at its end; none at the top of the server.
pub fn folder_of(url: &str) -> Option<&str> {
    let top = url.find("://")? + "://".len();
    let end = top + url[top..].rfind('/')?;
    (url[top..].find('/')? + top < url.len() - 1).then(|| &url[..=end])
}

#[cfg(test)]
mod tests {
    use super::folder_of;

    #[test]
    fn folders_end_at_the_top_of_the_server() {
        assert_eq!(folder_of("http://h/a/b/c"), Some("http://h/a/b/"));
        assert_eq!(folder_of("http://h/a"), Some("http://h/"));
        assert_eq!(folder_of("http://h/"), None);
        assert_eq!(folder_of("http://h"), None);
    }
}
