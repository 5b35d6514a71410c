//! Pure: the parts of a time as they are parsed, and the time that they make.

use jiff::civil::Date;
use jiff::tz::Offset;

use super::Time;
use super::layout::{MONTHS, OffsetForm, Token, WEEKDAYS, abbreviation};

/// The parts of a time that have been parsed.
///
/// What a layout does not have keeps its default: the year 0, the first of January, midnight, UTC. `half` is true for
/// `PM`.
#[derive(Default)]
pub(super) struct Parts {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    half: Option<bool>,
    minute: i8,
    second: i8,
    nanosecond: i32,
    /// The offset that stands in the text as a number.
    offset: Option<Offset>,
    /// The abbreviation of a zone that stands in the text.
    zone: Option<String>,
    /// `Z` or `UTC` stands in the text. That wins over an offset and an abbreviation.
    is_utc: bool,
}

/// A number of at least and at most so many digits, and the text after it.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let length = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    (length >= least).then_some(())?;
    let (number, after) = text.split_at_checked(length)?;
    Some((number.parse().ok()?, after))
}

/// True if the next character is a digit.
pub(super) fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// The text without its first blanks, of which at most so many are left out.
fn without_blanks(text: &str, most: usize) -> &str {
    (0..most).fold(text, |text, _| text.strip_prefix(' ').unwrap_or(text))
}

/// How many bytes of a text are the abbreviation of a zone, by `parseTimeZone` of `format.go`: three capitals, four or
/// five that end in `T`, an offset such as `+03`, which some zones have for a name, or `GMT` with an offset.
fn zone_length(text: &str) -> Option<usize> {
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(after) = text.strip_prefix("GMT") {
        return Some(3 + signed_hours(after).unwrap_or(0));
    }
    if text.len() >= 3 && text.starts_with(['+', '-']) {
        return signed_hours(text);
    }
    let capitals = text.bytes().take_while(u8::is_ascii_uppercase).count();
    let ends_in_t = |at: usize| text.as_bytes().get(at) == Some(&b'T');
    match capitals {
        3 => Some(3),
        4 if ends_in_t(3) || text.starts_with("WITA") => Some(4),
        5 if ends_in_t(4) => Some(5),
        _ => None,
    }
}

/// How many bytes a sign and a number of hours up to 23 have.
fn signed_hours(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['+', '-'])?;
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    let hours: u64 = digits.strip_suffix(rest)?.parse().ok()?;
    (hours <= 23).then_some(text.len() - rest.len())
}

/// `January` or `Jan`.
#[derive(Clone, Copy)]
enum NameForm {
    Long,
    Short,
}

/// The index of the name that a text begins with, in any case, and the text after it.
fn name<'t>(text: &'t str, names: &[&str], form: NameForm) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = match form {
            NameForm::Long => name,
            NameForm::Short => abbreviation(name),
        };
        let (start, after) = text.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some((index, after))
    })
}

impl Parts {
    /// Takes what a part of the layout stands for from the start of the text, and gives the text after it.
    pub(super) fn take<'t>(&mut self, token: Token, text: &'t str) -> Option<&'t str> {
        match token {
            Token::LongMonth => self.month_name(text, NameForm::Long),
            Token::Month => self.month_name(text, NameForm::Short),
            // A day of the week must be there, and need not be that of the date.
            Token::LongWeekday => name(text, &WEEKDAYS, NameForm::Long).map(|(_, rest)| rest),
            Token::Weekday => name(text, &WEEKDAYS, NameForm::Short).map(|(_, rest)| rest),
            Token::UpperHalf | Token::LowerHalf => {
                let (half, rest) = text.split_at_checked(2)?;
                self.half = match (token, half) {
                    (Token::UpperHalf, "PM") | (Token::LowerHalf, "pm") => Some(true),
                    (Token::UpperHalf, "AM") | (Token::LowerHalf, "am") => Some(false),
                    _ => return None,
                };
                Some(rest)
            }
            Token::ZoneName => self.zone_name(text),
            Token::Offset { form, z } => self.offset(text, form, z),
            Token::Fraction { digits, trims, .. } => {
                let after = text.strip_prefix(['.', ',']);
                if trims {
                    return Some(match after.filter(|after| starts_with_digit(after)) {
                        Some(after) => self.fraction(after),
                        None => text,
                    });
                }
                let (fraction, rest) = after?.split_at_checked(digits)?;
                self.fraction(fraction).is_empty().then_some(rest)
            }
            _ => self.number(token, text),
        }
    }

    fn month_name<'t>(&mut self, text: &'t str, form: NameForm) -> Option<&'t str> {
        let (index, rest) = name(text, &MONTHS, form)?;
        self.month = i8::try_from(index + 1).ok();
        Some(rest)
    }

    /// A part that is a number, with as many digits as Go takes for it.
    fn number<'t>(&mut self, token: Token, text: &'t str) -> Option<&'t str> {
        let (value, rest) = match token {
            Token::LongYear => digits(text, 4, 4)?,
            Token::Year
            | Token::ZeroMonth
            | Token::ZeroDay
            | Token::ZeroHour12
            | Token::ZeroMinute
            | Token::ZeroSecond => digits(text, 2, 2)?,
            Token::ZeroYearDay => digits(text, 3, 3)?,
            Token::UnderDay => digits(without_blanks(text, 1), 1, 2)?,
            Token::UnderYearDay => digits(without_blanks(text, 2), 1, 3)?,
            _ => digits(text, 1, 2)?,
        };
        let small = |value: i64| i8::try_from(value).ok();
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
            Token::Hour12 | Token::ZeroHour12 if value > 12 => return None,
            Token::Hour | Token::Hour12 | Token::ZeroHour12 => self.hour = small(value)?,
            Token::Minute | Token::ZeroMinute => self.minute = small(value)?,
            _ => self.second = small(value)?,
        }
        Some(rest)
    }

    /// Digits after a point, of which the first nine count. They are the text's own number, whatever the layout has.
    pub(super) fn fraction<'t>(&mut self, text: &'t str) -> &'t str {
        let end = text.find(|c: char| !c.is_ascii_digit());
        let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
        let padded = format!("{:0<9}", digits.get(..9).unwrap_or(digits));
        self.nanosecond = padded.parse().unwrap_or(0);
        rest
    }

    /// An abbreviation such as `CEST`.
    fn zone_name<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        if let Some(rest) = text.strip_prefix("UTC") {
            self.is_utc = true;
            return Some(rest);
        }
        let (zone, rest) = text.split_at_checked(zone_length(text)?)?;
        self.zone = Some(zone.to_owned());
        Some(rest)
    }

    /// An offset in the form of the layout. With `z`, the letter `Z` stands for UTC.
    fn offset<'t>(&mut self, text: &'t str, form: OffsetForm, z: bool) -> Option<&'t str> {
        if z && let Some(rest) = text.strip_prefix('Z') {
            self.is_utc = true;
            return Some(rest);
        }
        let (sign, mut rest) = match text.strip_prefix('+') {
            Some(rest) => (1, rest),
            None => (-1, text.strip_prefix('-')?),
        };
        let (colon, parts) = match form {
            OffsetForm::Hours => ("", 1),
            OffsetForm::Minutes => ("", 2),
            OffsetForm::ColonMinutes => (":", 2),
            OffsetForm::Seconds => ("", 3),
            OffsetForm::ColonSeconds => (":", 3),
        };
        let mut seconds = 0;
        // Go lets 24 hours, 60 minutes and 60 seconds pass, which some people write.
        let units = [(3600, 24), (60, 60), (1, 60)];
        for (index, (unit, most)) in units.into_iter().take(parts).enumerate() {
            if index > 0 {
                rest = rest.strip_prefix(colon)?;
            }
            let (value, after) = digits(rest, 2, 2).filter(|(value, _)| *value <= most)?;
            seconds += value * unit;
            rest = after;
        }
        let offset = Offset::from_seconds(i32::try_from(sign * seconds).ok()?).ok()?;
        self.offset = Some(offset);
        Some(rest)
    }

    /// The offset and the name of the zone. An abbreviation alone has an offset of zero, as in a Go that knows no other zone
    /// than UTC, except that `GMT+3` names its hours.
    fn zone(&self) -> Option<(Offset, String)> {
        let utc = || (Offset::UTC, "UTC".to_owned());
        if self.is_utc {
            return Some(utc());
        }
        Some(match (self.offset, &self.zone) {
            (None | Some(Offset::UTC), None) => utc(),
            (Some(offset), zone) => (offset, zone.clone().unwrap_or_default()),
            (None, Some(zone)) => {
                let hours = zone
                    .strip_prefix("GMT")
                    .and_then(|hours| hours.parse().ok());
                (Offset::from_hours(hours.unwrap_or(0)).ok()?, zone.clone())
            }
        })
    }

    /// The date of the parts. A day of the year must agree with a month and a day, if there are some.
    fn date(&self) -> Option<Date> {
        let Some(day_of_year) = self.day_of_year else {
            return Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok();
        };
        let first = Date::new(self.year, 1, 1).ok()?;
        let date = first.with().day_of_year(day_of_year).build().ok()?;
        let agrees = self.month.is_none_or(|month| month == date.month())
            && self.day.is_none_or(|day| day == date.day());
        agrees.then_some(date)
    }

    /// The time of the parts; nothing for a date or an hour that does not exist.
    pub(super) fn time(self) -> Option<Time> {
        let hour = match (self.half, self.hour) {
            (Some(true), hour) if hour < 12 => hour + 12,
            (Some(false), 12) => 0,
            (_, hour) => hour,
        };
        let time = jiff::civil::Time::new(hour, self.minute, self.second, self.nanosecond).ok()?;
        let date = self.date()?;
        let (offset, zone) = self.zone()?;
        // The hours of `GMT+3` change how the time is shown, but not the moment, as in Go.
        let written_in = self.offset.filter(|_| !self.is_utc).unwrap_or(Offset::UTC);
        let moment = written_in.to_timestamp(date.to_datetime(time)).ok()?;
        Some(Time {
            moment,
            offset,
            zone,
            monotonic: false,
        })
    }
}
