//! Times as Go writes them: layouts of points in time, and durations.

use std::time::Duration;

use jiff::tz::TimeZone;

/// The layout of times that have none.
pub const RFC3339: &str = "2006-01-02T15:04:05Z";

/// A time in Go's layout, in UTC, and how date(1) would say it.
pub fn time(now: i64, layout: &str) -> (String, String) {
    const LAYOUTS: [(&str, &str); 17] = [
        ("2006", "%Y"),
        ("January", "%B"),
        ("Monday", "%A"),
        ("Jan", "%b"),
        ("Mon", "%a"),
        ("MST", "UTC"),
        ("-0700", "+0000"),
        ("Z07:00", "Z"),
        ("15", "%H"),
        ("01", "%m"),
        ("02", "%d"),
        ("03", "%I"),
        ("04", "%M"),
        ("05", "%S"),
        ("06", "%y"),
        ("PM", "%p"),
        ("%", "%%"),
    ];
    let (mut format, mut rest) = (String::new(), layout);
    while let Some(c) = rest.chars().next() {
        match LAYOUTS.iter().find(|(go, _)| rest.starts_with(go)) {
            Some((go, ours)) => {
                format.push_str(ours);
                rest = &rest[go.len()..];
            }
            None => {
                format.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    let now = jiff::Timestamp::from_second(now).map(|now| now.to_zoned(TimeZone::UTC));
    let text = now.map(|now| now.strftime(&format).to_string());
    (text.unwrap_or_default(), format)
}

/// A point in time by its text (RFC 3339), in seconds since 1970.
pub fn seconds(text: &str) -> Result<i64, String> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_second)
        .map_err(|_| format!("`{text}` is no time"))
}

/// Go's duration in seconds, perhaps a negative one.
pub fn signed(text: &str) -> Result<i64, String> {
    let size = duration(text.trim_start_matches('-')).and_then(|size| i64::try_from(size.as_secs()).ok());
    let size = size.ok_or_else(|| format!("`{text}` is no duration"))?;
    Ok(if text.starts_with('-') { -size } else { size })
}

/// Go's duration (`1m30s`, `500ms`, `1.5h`); a bare number is seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ms", 0.001),
            ("us", 0.000_001),
            ("ns", 0.000_000_001),
            ("h", 3600.0),
            ("m", 60.0),
            ("s", 1.0),
        ];
        let unit = units.iter().find(|(unit, _)| rest.starts_with(unit));
        let (unit, factor) = unit.or((rest.is_empty() && total == 0.0).then_some(&("", 1.0)))?;
        total += number * factor;
        rest = &rest[unit.len()..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_parts() {
        let seconds = |text| duration(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("1h1m1.5s"), Some(3661.5));
        assert_eq!(
            (seconds("10"), seconds("x"), seconds("5x")),
            (Some(10.0), None, None)
        );
    }
}
