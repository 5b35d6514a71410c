//! Pure: the parts of a time as they are parsed, and the time that they make.

use jiff::tz::Offset;

use super::Time;
use super::layout::{MONTHS, OffsetForm, Token, WEEKDAYS, abbreviation};

/// The parts of a time that have been parsed.
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
    let (number, after) = text.split_at_checked(length)?;
    Some((number.parse().ok()?, after))
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
    pub(super) fn take<'t>(&mut self, token: Token, text: &'t str) -> Option<&'t str> {
        let small = |value: i64| i8::try_from(value).ok();
        let (value, rest) = match token {
            Token::LongMonth | Token::Month => {
                let form = match token {
                    Token::Month => NameForm::Short,
                    _ => NameForm::Long,
                };
                let (index, rest) = name(text, &MONTHS, form)?;
                self.month = i8::try_from(index + 1).ok();
                return Some(rest);
            }
            Token::LongWeekday => {
                return name(text, &WEEKDAYS, NameForm::Long).map(|(_, rest)| rest);
            }
            Token::Weekday => {
                return name(text, &WEEKDAYS, NameForm::Short).map(|(_, rest)| rest);
            }
            Token::UpperHalf | Token::LowerHalf => {
                let (half, rest) = text.split_at_checked(2)?;
                self.half = Some(half.eq_ignore_ascii_case("pm"));
                return (half.eq_ignore_ascii_case("am") || half.eq_ignore_ascii_case("pm"))
                    .then_some(rest);
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

    pub(super) fn fraction<'t>(&mut self, text: &'t str) -> &'t str {
        let end = text.find(|c: char| !c.is_ascii_digit());
        let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
        let padded = format!("{:0<9}", digits.get(..9).unwrap_or(digits));
        self.nanosecond = padded.parse().unwrap_or(0);
        rest
    }

    fn zone_name<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let length = text
            .bytes()
            .take_while(u8::is_ascii_uppercase)
            .count()
            .min(5);
        (length >= 3).then_some(())?;
        let (zone, rest) = text.split_at_checked(length)?;
        // An abbreviation has no offset; Go gives the time an offset of zero with that name.
        self.zone = Some(zone.to_owned());
        self.offset.get_or_insert(Offset::UTC);
        Some(rest)
    }

    fn offset<'t>(&mut self, text: &'t str, form: OffsetForm, z: bool) -> Option<&'t str> {
        if z && let Some(rest) = text.strip_prefix('Z') {
            self.offset = Some(Offset::UTC);
            self.zone = Some("UTC".to_owned());
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

    pub(super) fn time(self) -> Option<Time> {
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
