//! Sizes and durations as a user writes them (`50G`, `15m`) and as people read them (`1.4 GiB`, `2m 05s`).
//! Knows nothing of manifests or disks.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. Suffixes are those of `qemu-img`: powers of 1024, `50G` is 50 GiB.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// One kibibyte, in bytes.
pub const KIB: u64 = 1024;
/// One mebibyte, in bytes.
pub const MIB: u64 = 1024 * KIB;
/// One gibibyte, in bytes.
pub const GIB: u64 = 1024 * MIB;
/// One tebibyte, in bytes.
pub const TIB: u64 = 1024 * GIB;

/// Why a size or a duration could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not `<number><suffix>`.
    #[error("`{0}` is not a size; write a number and K, M, G or T, as in {example}", example = example(.0))]
    Size(String),
    /// The number does not fit 64 bits of bytes.
    #[error("`{0}` is larger than any disk")]
    TooLarge(String),
    /// Not `<number><unit>`.
    #[error("`{0}` is not a duration; write a number and s, m, h or d, as in \"90s\" or \"15m\"")]
    Duration(String),
}

/// What was most likely meant by this.
fn example(text: &str) -> String {
    let number: String = text.chars().take_while(char::is_ascii_digit).collect();
    let unit = text
        .chars()
        .map(|c| c.to_ascii_uppercase())
        .find(|c| "KMGT".contains(*c));
    match (number.as_str(), unit.unwrap_or('G')) {
        ("", _) => "\"50G\" (50 GiB)".to_owned(),
        (number, unit) => format!("\"{number}{unit}\" ({number} {unit}iB)"),
    }
}

/// Reads a size that a table has as text.
///
/// # Errors
/// It is no size.
pub fn from_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let bad = || SizeError::Size(text.to_owned());
        let digits = text.len()
            - text
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len();
        let (number, suffix) = text.split_at(digits);
        let unit = match suffix {
            "" | "B" => 1,
            "K" | "k" | "KiB" => KIB,
            "M" | "m" | "MiB" => MIB,
            "G" | "g" | "GiB" => GIB,
            "T" | "t" | "TiB" => TIB,
            _ => return Err(bad()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.len() > 6 || fraction.contains('.') {
            return Err(bad());
        }
        let too_large = || SizeError::TooLarge(text.to_owned());
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let scale = 10u64.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
        let fraction: u64 = fraction.parse().map_err(|_| bad())?;
        let part = u128::from(fraction) * u128::from(unit) / u128::from(scale);
        let total = u128::from(whole) * u128::from(unit) + part;
        u64::try_from(total).map(Self).map_err(|_| too_large())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let (unit, name) = match bytes {
            0..KIB => return write!(f, "{bytes} B"),
            KIB..MIB => (KIB, "KiB"),
            MIB..GIB => (MIB, "MiB"),
            GIB..TIB => (GIB, "GiB"),
            _ => (TIB, "TiB"),
        };
        if bytes.is_multiple_of(unit) {
            write!(f, "{} {name}", bytes / unit)
        } else {
            #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
            let value = bytes as f64 / unit as f64;
            write!(f, "{value:.1} {name}")
        }
    }
}

/// Reads a duration: `90s`, `15m`, `2h`, `30d`, or a sum of those (`1h30m`).
///
/// # Errors
/// [`SizeError::Duration`] when the text is anything else.
pub fn parse_duration(text: &str) -> Result<Duration, SizeError> {
    let bad = || SizeError::Duration(text.to_owned());
    let (mut total, mut number) = (0u64, None::<u64>);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            let so_far = number.unwrap_or(0);
            number = Some(
                so_far
                    .checked_mul(10)
                    .and_then(|n| n.checked_add(digit.into()))
                    .ok_or_else(bad)?,
            );
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return Err(bad()),
        };
        let part = number.take().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)?;
        total = total.checked_add(part).ok_or_else(bad)?;
    }
    if number.is_some() || text.is_empty() {
        Err(bad())
    } else {
        Ok(Duration::from_secs(total))
    }
}

/// A duration in whole seconds as [`parse_duration`] reads it: `90s` is `1m30s`.
pub fn write_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [
        (seconds / 3600, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let parts = units.iter().filter(|(number, _)| *number > 0);
    let text: String = parts.map(|(number, unit)| format!("{number}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A duration for people: `0.4s`, `12s`, `2m 05s`, `1h 02m`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The same for seconds as events have them.
pub fn show_seconds(seconds: f64) -> String {
    show_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_qemu_img_reads_them() {
        assert_eq!("50G".parse(), Ok(ByteSize(50 * GIB)));
        assert_eq!("50000M".parse(), Ok(ByteSize(50_000 * MIB)));
        assert_eq!("1.5G".parse(), Ok(ByteSize(1536 * MIB)));
        assert_eq!("512".parse(), Ok(ByteSize(512)));
        for bad in ["", "G", "50 G", "50X", "-1G", "1.G", ".5G", "1.2.3G"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        for (bad, example) in [
            ("3GB", "\"3G\" (3 GiB)"),
            ("20 tb", "\"20T\""),
            ("much", "\"50G\""),
        ] {
            let error = bad.parse::<ByteSize>().unwrap_err().to_string();
            assert!(error.contains(example), "{error}");
        }
        assert_eq!(
            "99999999T".parse::<ByteSize>(),
            Err(SizeError::TooLarge("99999999T".into()))
        );
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(ByteSize(3 * GIB).to_string(), "3 GiB");
        assert_eq!(ByteSize(1_500 * MIB).to_string(), "1.5 GiB");
        assert_eq!(ByteSize(12).to_string(), "12 B");
    }

    #[test]
    fn durations_both_ways() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "5", "m", "5x", "-1s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for text in ["0s", "45s", "1m30s", "5m", "2h", "1h30m"] {
            assert_eq!(write_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(show_duration(Duration::from_millis(420)), "0.4s");
        assert_eq!(show_duration(Duration::from_secs(125)), "2m 05s");
    }
}
