//! What can go wrong with a request, distinguished so that each has its remedy. Messages name hosts, never credentials.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use rustls::CertificateError;

use crate::size::{ByteSize, show_duration};
use crate::verdict::Verdict;

/// Whom we talk to: the server of the URL, or the proxy that stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host` or `host:port`.
    pub place: String,
    /// The environment variable that names it, when it is a proxy.
    pub proxy: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            None => f.write_str(&self.place),
            Some(variable) => write!(f, "the proxy {} (from {variable})", self.place),
        }
    }
}

/// Why a server's certificate was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// No authority that we trust signed it.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not come (or our clock is wrong).
    NotYetValid,
    /// It is for another name.
    WrongName,
    /// It does not let us in: it wants another certificate of ours, or one at all.
    NotLetIn(String),
    /// It speaks no TLS there.
    PlainHttp,
    /// This host trusts no server: it has no certificates of authorities.
    NoRoots,
    /// Something else, in rustls' words.
    Other(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str(
                "its certificate is signed by an authority that this host does not trust; \
                 if it is yours, point SSL_CERT_FILE at a PEM file with it",
            ),
            Self::Expired => f.write_str(
                "its certificate has expired; if it has not, this host's clock is wrong, else tell the server's \
                 owner and use another mirror",
            ),
            Self::NotYetValid => {
                f.write_str("its certificate is not valid yet; look whether this host's clock is right")
            }
            Self::WrongName => f.write_str(
                "its certificate is for another name; write the URL with the name that the certificate carries",
            ),
            Self::NotLetIn(alert) => write!(
                f,
                "it wants a client certificate that it trusts, and says {alert}; check which certificate is shown to it"
            ),
            Self::PlainHttp => f.write_str(
                "it speaks plain HTTP there; write http:// instead of https://, or the port of its TLS",
            ),
            Self::NoRoots => f.write_str(
                "this host has no certificates of authorities; install the package ca-certificates, or point \
                 SSL_CERT_FILE at a PEM file",
            ),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("stopped")]
    Cancelled,
    /// The server (or the network) ended the transfer early; what arrived is kept.
    #[error("the connection was cut after {} of {}; run again to fetch the rest", ByteSize(*.got), total_text(.want))]
    Cut {
        /// Bytes of this response's body that arrived.
        got: u64,
        /// Bytes announced, when they were.
        want: Option<u64>,
    },
    /// The name does not resolve.
    #[error("{peer} was not found ({detail}); check the name, and that this host's DNS works")]
    Dns {
        peer: Peer,
        /// The resolver's words.
        detail: String,
    },
    /// Any other failure of the operating system.
    #[error("lost {peer} ({detail}); try again later or use another mirror")]
    Io { peer: Peer, detail: String },
    /// What came back is not HTTP.
    #[error("{peer} does not speak HTTP ({detail}); check the port and whether it should be https://")]
    Protocol {
        peer: Peer,
        /// What was wrong.
        detail: String,
    },
    /// The proxy would not open a tunnel.
    #[error("{peer} would not connect to {target} ({detail}); {}", proxy_remedy(*.status))]
    ProxyRefused {
        /// The proxy.
        peer: Peer,
        /// What it was asked for.
        target: String,
        /// Its status, when it gave one.
        status: Option<u16>,
        /// Its answer.
        detail: String,
    },
    /// The proxy variable holds something else than a URL.
    #[error("{variable} is not the URL of a proxy; write it as http://host:port, or unset it")]
    ProxyUrl { variable: String },
    /// Too many redirects, or a circle of them.
    #[error("redirected more than {limit} times, last to {last}; use the URL of the file itself")]
    Redirects {
        limit: u32,
        /// Where the last one led.
        last: String,
    },
    /// Nothing listens.
    #[error("{peer} refused the connection; check that the server runs and the port is right")]
    Refused { peer: Peer },
    /// The server (or the network) hung up while we sent.
    #[error("{peer} hung up after {} of {} were sent; it may refuse what it gets, or have no room for it",
        ByteSize(*.sent), ByteSize(*.length))]
    SendCut {
        peer: Peer,
        /// Bytes handed over.
        sent: u64,
        /// Bytes to send.
        length: u64,
    },
    /// Nothing came for too long.
    #[error("{peer} sent nothing for {}; try again later or use another mirror", show_duration(*.after))]
    Silent { peer: Peer, after: Duration },
    /// It moves, but so slowly that it is of no use.
    #[error("{peer} is too slow: {} in {}; try again later or use another one", ByteSize(*.bytes), show_duration(*.within))]
    Slow {
        peer: Peer,
        /// What moved.
        bytes: u64,
        within: Duration,
    },
    /// What was to be sent could not be read.
    #[error("what was to be sent cannot be read ({detail}); check the disk that holds it")]
    Source { detail: String },
    /// A status that is not what was asked for.
    #[error("{} (HTTP {status}{}){}", status_text(*.status), moved_text(.moved_to), status_remedy(*.status))]
    Status {
        status: u16,
        /// The URL that gave it, when it is not the one asked for.
        moved_to: Option<String>,
        /// How long the server wants us to wait.
        retry_after: Option<Duration>,
    },
    /// The server's certificate or its TLS is not acceptable.
    #[error("no safe connection to {peer}: {fault}")]
    Tls { peer: Peer, fault: TlsFault },
    /// No connection within the limit.
    #[error("{peer} did not answer within {}; check the network, or whether a proxy is needed (https_proxy)", show_duration(*.after))]
    Unanswered {
        peer: Peer,
        /// The limit.
        after: Duration,
    },
    /// No way to the host.
    #[error(
        "{peer} cannot be reached ({detail}); check the network, or whether a proxy is needed (https_proxy)"
    )]
    Unreachable { peer: Peer, detail: String },
    /// Not a URL that can be asked for.
    #[error("`{url}` is not a URL that can be fetched: {why}")]
    Url {
        /// The URL, without secrets.
        url: String,
        why: String,
    },
}

impl HttpError {
    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Cut { .. }
            | Self::SendCut { .. }
            | Self::Io { .. }
            | Self::Silent { .. }
            | Self::Slow { .. }
            | Self::Refused { .. } => true,
            Self::Unanswered { .. } | Self::Unreachable { .. } | Self::Protocol { .. } => true,
            // EAI_AGAIN (getaddrinfo(3)): the name server did not answer, which says nothing about the name.
            Self::Dns { detail, .. } => detail.contains("emporary failure"),
            // 507 says that the disk is full: a moment will not change that.
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=506 | 508..=599),
            Self::ProxyRefused { status, .. } => status.is_none_or(|s| s >= 500),
            Self::Cancelled | Self::ProxyUrl { .. } | Self::Redirects { .. } => false,
            Self::Tls { .. } | Self::Url { .. } | Self::Source { .. } => false,
        }
    }

    /// The kind of failure.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Dns { .. } | Self::Refused { .. } | Self::Unanswered { .. } | Self::Unreachable { .. } => {
                Verdict::ServerUnreachable
            }
            Self::ProxyRefused { .. } | Self::ProxyUrl { .. } | Self::Status { status: 407, .. } => {
                Verdict::Proxy
            }
            Self::Status {
                status: 401 | 403, ..
            } => Verdict::AccessDenied,
            Self::Status {
                status: 404 | 410, ..
            } => Verdict::NotFound,
            Self::Tls {
                fault: TlsFault::PlainHttp,
                ..
            } => Verdict::PlainHttp,
            Self::Tls { .. } => Verdict::Tls,
            Self::Cancelled | Self::Source { .. } | Self::Url { .. } => Verdict::Other,
            Self::Cut { .. }
            | Self::SendCut { .. }
            | Self::Io { .. }
            | Self::Silent { .. }
            | Self::Slow { .. }
            | Self::Protocol { .. }
            | Self::Redirects { .. }
            | Self::Status { .. } => Verdict::ServerError,
        }
    }

    /// The cause without the remedy, in one line.
    pub fn brief(&self) -> String {
        let text = self.to_string();
        text.split("; ").next().unwrap_or_default().to_owned()
    }

    /// How long the server asked us to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Makes sense of what ureq reports. `target` is the server of the URL where `peer` is a proxy.
    pub(super) fn from_ureq(error: ureq::Error, peer: Peer, target: &str, limits: &super::Limits) -> Self {
        match error {
            ureq::Error::Io(e) => Self::from_io(&e, peer),
            ureq::Error::HostNotFound => Self::Dns {
                peer,
                detail: "no address".to_owned(),
            },
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Self::Unanswered {
                peer,
                after: limits.connect,
            },
            ureq::Error::Timeout(_) => Self::Silent {
                peer,
                after: limits.silence,
            },
            ureq::Error::Rustls(e) => Self::Tls {
                peer,
                fault: tls_fault(&e),
            },
            ureq::Error::Tls(text) => Self::Tls {
                peer,
                fault: TlsFault::Other(text.to_owned()),
            },
            ureq::Error::ConnectProxyFailed(said) => {
                let status = proxy_status(&said);
                Self::ProxyRefused {
                    status,
                    target: target.to_owned(),
                    peer,
                    detail: status.map_or(said, |status| format!("HTTP {status}")),
                }
            }
            ureq::Error::InvalidProxyUrl => Self::ProxyUrl {
                variable: peer.proxy.unwrap_or(peer.place),
            },
            ureq::Error::BadUri(why) => Self::Url {
                url: target.to_owned(),
                why,
            },
            other => Self::Protocol {
                peer,
                detail: other.to_string(),
            },
        }
    }

    fn from_io(error: &std::io::Error, peer: Peer) -> Self {
        if let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            return Self::Tls {
                peer,
                fault: tls_fault(tls),
            };
        }
        let detail = error.to_string();
        // std gives name errors no kind of their own, only this text before that of gai_strerror(3).
        if let Some((_, said)) = detail.split_once("failed to lookup address information: ") {
            return Self::Dns {
                peer,
                detail: said.to_owned(),
            };
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused { peer },
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                Self::Unreachable { peer, detail }
            }
            ErrorKind::UnexpectedEof => Self::Io {
                peer,
                detail: "it closed the connection without an answer".to_owned(),
            },
            _ => Self::Io { peer, detail },
        }
    }
}

fn tls_fault(error: &rustls::Error) -> TlsFault {
    use rustls::AlertDescription as Alert;
    if let rustls::Error::AlertReceived(
        alert @ (Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied),
    ) = error
    {
        return TlsFault::NotLetIn(format!("{alert:?}"));
    }
    // What a server says in plain text is no record of TLS (RFC 8446, 5.1).
    if matches!(
        error,
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)
    ) {
        return TlsFault::PlainHttp;
    }
    let rustls::Error::InvalidCertificate(certificate) = error else {
        let text = error.to_string();
        return if text.contains("No CA certificates") {
            TlsFault::NoRoots
        } else {
            TlsFault::Other(text)
        };
    };
    match certificate {
        CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYetValid,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::WrongName
        }
        other => TlsFault::Other(format!("its certificate is not acceptable: {other}")),
    }
}

/// ureq has the proxy's status in a text only: `proxy server responded 407/407`.
fn proxy_status(detail: &str) -> Option<u16> {
    let number = detail.split_once("responded ")?.1.split('/').next()?;
    number.parse().ok()
}

fn proxy_remedy(status: Option<u16>) -> &'static str {
    match status {
        Some(407) => "give it a user and password, as in http://user:password@proxy:3128",
        Some(403) => "its rules forbid this host or port; ask its owner, or exempt the host with no_proxy",
        _ => "check the proxy, or exempt the host with no_proxy",
    }
}

fn total_text(want: &Option<u64>) -> String {
    want.map_or_else(|| "an unknown size".to_owned(), |n| ByteSize(n).to_string())
}

fn moved_text(moved_to: &Option<String>) -> String {
    moved_to
        .as_ref()
        .map_or_else(String::new, |url| format!(" from {url}"))
}

fn status_text(status: u16) -> &'static str {
    match status {
        401 => "the server wants a user and password",
        403 => "access is forbidden",
        404 => "not found",
        407 => "the proxy wants a user and password",
        410 => "gone for good",
        413 => {
            "; it takes no file of this size in one request: raise its limit (nginx: client_max_body_size)"
        }
        416 => "the server refuses the range asked for",
        429 => "the server says that we ask too often",
        500..=599 => "the server has a problem of its own",
        _ => "the server gave an unexpected answer",
    }
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        401 => "; put them into the URL as https://user:password@host/…",
        403 => "; the URL may need credentials or may have expired",
        404 | 410 => "; check the URL: files move when a new release comes out",
        407 => "; put them into the proxy variable as http://user:password@proxy:3128",
        416 => "; it may hold a shorter file than its mirrors do",
        429 | 500..=599 => "; try again later or use another mirror",
        _ => "",
    }
}
