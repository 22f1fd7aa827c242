//! Moments and spans as tables show them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment, by the clock of this host.
pub(super) fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// How long ago something was: `12s`, `5m`, `3h`, `12d`.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = Duration::try_from(now.duration_since(at))
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
