//! Pure: durations as Go's `time` package reads and prints them.
//!
//! A duration is a number of nanoseconds in an `i64`, as `time.Duration` is.

use std::fmt;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
/// The magnitude of the smallest duration, which is one more than that of the largest.
const MAX_MAGNITUDE: u64 = 1 << 63;

/// Why a text is no duration. The messages are Go's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DurationError {
    /// A text without digits, or a duration that has more than 64 bits.
    Invalid(String),
    /// A number without a unit. Only `0` needs none.
    MissingUnit(String),
    /// A unit other than `ns`, `us`, `µs`, `ms`, `s`, `m` and `h`; days do not exist.
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

impl fmt::Display for DurationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => write!(formatter, "time: invalid duration {}", quoted(text)),
            Self::MissingUnit(text) => {
                write!(formatter, "time: missing unit in duration {}", quoted(text))
            }
            Self::UnknownUnit { unit, text } => {
                let (unit, text) = (quoted(unit), quoted(text));
                write!(formatter, "time: unknown unit {unit} in duration {text}")
            }
        }
    }
}

/// Go's `time` package has a quotation of its own, which prints the bytes of all that is not printable ASCII.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=0x7F => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

impl std::error::Error for DurationError {}

/// Parses a duration as `time.ParseDuration` does: an optional sign, then decimal numbers with units (`1h30m`, `-1.5s`,
/// `.5µs`). The result is in nanoseconds; what is smaller is cut off.
///
/// # Errors
/// The error that Go gives.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut magnitude = 0_u64;
    while !rest.is_empty() {
        let (part, after) = parse_part(text, rest)?;
        magnitude = magnitude
            .checked_add(part)
            .filter(|sum| *sum <= MAX_MAGNITUDE)
            .ok_or_else(invalid)?;
        rest = after;
    }
    let sum = i128::from(magnitude);
    i64::try_from(if is_negative { -sum } else { sum }).map_err(|_| invalid())
}

/// Parses a number with its unit from the start of `rest`. Gives its nanoseconds and the text after it.
fn parse_part<'t>(text: &str, rest: &'t str) -> Result<(u64, &'t str), DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (whole_digits, after) = split_digits(rest);
    let (fraction_digits, after) = match after.strip_prefix('.') {
        Some(after) => split_digits(after),
        None => ("", after),
    };
    if whole_digits.is_empty() && fraction_digits.is_empty() {
        return Err(invalid());
    }
    let whole = match whole_digits {
        "" => Some(0),
        digits => digits.parse().ok().filter(|whole| *whole <= MAX_MAGNITUDE),
    };
    let whole: u64 = whole.ok_or_else(invalid)?;
    let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit());
    let (unit_name, after) = after.split_at(unit_end.unwrap_or(after.len()));
    if unit_name.is_empty() {
        return Err(DurationError::MissingUnit(text.to_owned()));
    }
    let unit = unit_nanoseconds(unit_name).ok_or_else(|| DurationError::UnknownUnit {
        unit: unit_name.to_owned(),
        text: text.to_owned(),
    })?;
    let whole = whole.checked_mul(unit).filter(|sum| *sum <= MAX_MAGNITUDE);
    let sum = whole.and_then(|whole| whole.checked_add(fraction(fraction_digits, unit)));
    let sum = sum.filter(|sum| *sum <= MAX_MAGNITUDE);
    Ok((sum.ok_or_else(invalid)?, after))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        // The micro sign and the Greek letter mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(NANOSECONDS_PER_SECOND),
        "m" => Some(60 * NANOSECONDS_PER_SECOND),
        "h" => Some(3600 * NANOSECONDS_PER_SECOND),
        _ => None,
    }
}

/// The nanoseconds of a fraction of a unit. Go calculates with floats here, so the last digit may be one too small.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as Go converts; the result is less than an hour"
)]
fn fraction(digits: &str, unit: u64) -> u64 {
    let mut value = 0_u64;
    let mut scale = 1.0_f64;
    for digit in digits.bytes() {
        // Go ignores the digits that no longer fit into 63 bits.
        let Some(larger) = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .filter(|larger| *larger <= MAX_MAGNITUDE)
        else {
            break;
        };
        value = larger;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Prints a duration in nanoseconds as `Duration.String` does: `1h2m3.5s`, `-1m30s`, `1.5µs`, `0s`.
pub fn print(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let magnitude = nanoseconds.unsigned_abs();
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(magnitude, 3)),
        1_000_000..NANOSECONDS_PER_SECOND => format!("{sign}{}ms", decimal(magnitude, 6)),
        _ => {
            let whole_minutes = magnitude / (60 * NANOSECONDS_PER_SECOND);
            let seconds = decimal(magnitude % (60 * NANOSECONDS_PER_SECOND), 9);
            match (whole_minutes / 60, whole_minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// A number with a decimal point before its last digits, without zeros at the end.
fn decimal(number: u64, digits: u32) -> String {
    let unit = 10_u64.pow(digits);
    let width = usize::try_from(digits).unwrap_or_default();
    let text = format!("{}.{:0width$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
