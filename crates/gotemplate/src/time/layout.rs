//! Pure: the layouts of Go's times: the parts of the reference time, and how an offset is written.

use jiff::tz::Offset;

pub(super) const MONTHS: [&str; 12] = [
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
pub(super) const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A part of the reference time. The names are those of the constants `std…` in `format.go`: zero parts have leading
/// zeros, and underscore parts have leading blanks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token {
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
    /// `.000` or `,000`, which keeps its zeros, and `.999`, which drops zeros at the end.
    Fraction {
        digits: usize,
        trims: bool,
        separator: char,
    },
}

/// How an offset from UTC is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum OffsetForm {
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

pub(super) fn offset_text(offset: Offset, form: OffsetForm) -> String {
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

/// A piece of a layout.
pub(super) enum Piece {
    /// A part of the reference time.
    Token(Token),
    /// A letter that stands for itself.
    Letter(char),
}

/// The first piece of a layout and the layout after it, as `nextStdChunk` of Go's `time/format.go` finds them; nothing
/// at the end.
pub(super) fn next_piece(layout: &str) -> Option<(Piece, &str)> {
    if let Some((token, rest)) = next_token(layout) {
        return Some((Piece::Token(token), rest));
    }
    let mut letters = layout.chars();
    let letter = letters.next()?;
    Some((Piece::Letter(letter), letters.as_str()))
}

/// The token that a layout begins with, and the layout after it.
fn next_token(layout: &str) -> Option<(Token, &str)> {
    // `_2006` is an underscore and a year.
    if layout.starts_with("_2006") {
        return None;
    }
    let mut known = TOKENS.iter();
    let found = known.find_map(|(text, token)| Some((*token, layout.strip_prefix(text)?)));
    // `Janet` is no month.
    let is_word = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
    found
        .filter(|(token, rest)| *token != Token::Month || !is_word(rest))
        .or_else(|| fraction(layout))
}

/// The first token of a layout, after letters that stand for themselves.
pub(super) fn first_token(mut layout: &str) -> Option<Token> {
    loop {
        match next_piece(layout)? {
            (Piece::Token(token), _) => return Some(token),
            (Piece::Letter(_), rest) => layout = rest,
        }
    }
}

/// A point or a comma with zeros or nines after it.
fn fraction(layout: &str) -> Option<(Token, &str)> {
    let separator = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let after = layout.strip_prefix(separator)?;
    [('0', false), ('9', true)]
        .into_iter()
        .find_map(|(digit, trims)| {
            let rest = after.trim_start_matches(digit);
            let digits = after.len() - rest.len();
            let ends = !rest.starts_with(|c: char| c.is_ascii_digit());
            let token = Token::Fraction {
                digits,
                trims,
                separator,
            };
            (digits > 0 && ends).then_some((token, rest))
        })
}

/// The three letters of a month or a day of the week.
pub(super) fn abbreviation(name: &str) -> &str {
    // The names are ASCII and none is shorter.
    name.get(..3).unwrap_or(name)
}
