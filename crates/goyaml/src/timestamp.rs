//! Pure: the dates and times that go-yaml takes out of plain scalars.

/// The RFC 3339 form of a date or time, or nothing if the text is not one.
///
/// go-yaml accepts `2006-1-2`, and with a time after `T`, `t` or spaces: `15:4:5`, a fraction, and a zone.
pub(crate) fn parse_timestamp(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || bytes[4] != b'-' || !bytes[..4].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let year: u32 = text.get(..4)?.parse().ok()?;
    let mut rest = text.get(5..)?;
    let month = take_number(&mut rest)?;
    rest = rest.strip_prefix('-')?;
    let day = take_number(&mut rest)?;
    if !(1..=12).contains(&month) || !(1..=days(year, month)).contains(&day) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if rest.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let zoned = rest.starts_with(['T', 't']);
    let rest = rest.strip_prefix(if zoned { &['T', 't'][..] } else { &[' '][..] })?;
    Some(format!("{date}T{}", time(rest, zoned)?))
}

fn time(mut rest: &str, zoned: bool) -> Option<String> {
    let hour = take_number(&mut rest)?;
    rest = rest.strip_prefix(':')?;
    let minute = take_number(&mut rest)?;
    rest = rest.strip_prefix(':')?;
    let second = take_number(&mut rest)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        fraction = after.get(..digits.min(9))?.trim_end_matches('0');
        rest = after.get(digits..)?;
    }
    let zone = zone(rest, zoned)?;
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!(
        "{hour:02}:{minute:02}:{second:02}{dot}{fraction}{zone}"
    ))
}

/// Only the forms with a `T` have a zone, and they must.
fn zone(rest: &str, zoned: bool) -> Option<String> {
    if !zoned {
        return rest.is_empty().then(|| "Z".to_owned());
    }
    if rest == "Z" {
        return Some("Z".to_owned());
    }
    let (hours, minutes) = rest.strip_prefix(['+', '-'])?.split_once(':')?;
    let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let valid = two_digits(hours) && two_digits(minutes) && hours <= "23" && minutes <= "59";
    let zone = if hours == "00" && minutes == "00" {
        "Z"
    } else {
        rest
    };
    valid.then(|| zone.to_owned())
}

/// One or two digits.
fn take_number(rest: &mut &str) -> Option<u32> {
    let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at_checked(digits)?;
    *rest = after;
    number.parse().ok()
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_timestamp;

    #[test]
    fn dates_and_times() {
        for (text, expected) in [
            ("2020-01-01", Some("2020-01-01T00:00:00Z")),
            ("2001-1-1", Some("2001-01-01T00:00:00Z")),
            ("2001-12-14 21:59:43", Some("2001-12-14T21:59:43Z")),
            (
                "2001-12-14t21:59:43.10-05:00",
                Some("2001-12-14T21:59:43.1-05:00"),
            ),
            ("2001-12-14T21:59:43Z", Some("2001-12-14T21:59:43Z")),
            ("2001-12-14T21:59:43", None),
            ("2001-02-29", None),
            ("2020-01-01x", None),
            ("2024-01-01T10:00:00–12:00 x", None),
            ("2024-01-01T10:00:00+1é:00", None),
            ("2024-01-01T10:00:00+00:00", Some("2024-01-01T10:00:00Z")),
            ("2024-01-01T10:00:00+24:00", None),
            ("2024-01é1", None),
            ("2024-01-01 10:00:0é", None),
            ("20200101", None),
        ] {
            assert_eq!(parse_timestamp(text).as_deref(), expected, "{text}");
        }
    }
}
