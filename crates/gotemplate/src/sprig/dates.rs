//! Pure: functions on times. The clock is an argument of the render.
//!
//! They are those of sprig's `date.go`. Go's local zone is UTC here, since the daemon runs in a container and its
//! output must not depend on the zone of a node. Zones come from the database that is compiled in.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the table of functions gives the signature"
)]

use std::rc::Rc;

use gocompat::duration;

use crate::error::{Fault, Outcome};
use crate::machine::Machine;
use crate::signature::{Row, any, text};
use crate::time::{Time, zero};
use crate::value::Value;

/// What may surprise:
///
/// - A time may be given as whole seconds since 1970 (`int` or `int64`). Any other value, such as a text, means
///   *now*, and makes the template volatile.
/// - A layout is Go's reference time: `2006-01-02 15:04:05`.
/// - `toDate` gives the zero time (year 1) for a text that does not fit its layout; `mustToDate` fails.
/// - `dateModify` gives the time as it was for a duration that is none; `mustDateModify` fails.
/// - `duration` takes seconds as an `int64` or a text; an `int`, as a literal is, counts as 0.
/// - `durationRound` shows the largest unit alone and no sign. A year has 365 days, and a month 30.
pub(crate) const ROWS: &[Row] = &[
    ("now", "", |machine, _| {
        Ok(time(Time {
            monotonic: true,
            ..now(machine)
        }))
    }),
    ("date", "sa", |machine, v| {
        let moment = moment(machine, &v[1]).in_zone("Local");
        Ok(Value::str(moment.format(&text(v, 0))))
    }),
    ("dateInZone", "sas", date_in_zone),
    ("date_in_zone", "sas", date_in_zone),
    ("htmlDate", "a", |machine, v| {
        let moment = moment(machine, any(v, 0)).in_zone("Local");
        Ok(Value::str(moment.format("2006-01-02")))
    }),
    ("htmlDateInZone", "as", |machine, v| {
        let moment = moment(machine, any(v, 0)).in_zone(&text(v, 1));
        Ok(Value::str(moment.format("2006-01-02")))
    }),
    ("dateModify", "st", modify),
    ("date_modify", "st", modify),
    ("mustDateModify", "st", must_modify),
    ("must_date_modify", "st", must_modify),
    ("toDate", "ss", |_, v| {
        Ok(time(
            Time::parse(&text(v, 0), &text(v, 1)).unwrap_or_else(zero),
        ))
    }),
    ("mustToDate", "ss", |_, v| {
        let parsed = Time::parse(&text(v, 0), &text(v, 1));
        parsed.map(time).ok_or_else(|| {
            Fault::hiding(
                format!("parsing time as `{}`: cannot parse", text(v, 0)),
                format!(
                    "parsing time {:?} as {:?}: cannot parse",
                    text(v, 1),
                    text(v, 0)
                ),
            )
        })
    }),
    ("unixEpoch", "t", |machine, v| {
        Ok(Value::str(
            moment(machine, any(v, 0)).moment.as_second().to_string(),
        ))
    }),
    ("ago", "a", |machine, v| {
        let difference =
            now(machine).moment.as_second() - moment(machine, any(v, 0)).moment.as_second();
        Ok(Value::str(duration::print(
            difference.saturating_mul(1_000_000_000),
        )))
    }),
    ("duration", "a", |_, v| {
        let seconds = match any(v, 0) {
            Value::Str(text) => String::from_utf8_lossy(text).parse().unwrap_or(0),
            Value::Int64(seconds) => *seconds,
            // sprig takes an int64 or a text, and nothing else.
            _ => 0,
        };
        Ok(Value::str(duration::print(i64::saturating_mul(
            seconds,
            1_000_000_000,
        ))))
    }),
    ("durationRound", "a", |machine, v| {
        Ok(Value::str(rounded(machine, any(v, 0))))
    }),
];

fn time(time: Time) -> Value {
    Value::Time(Rc::new(time))
}

fn now(machine: &Machine<'_>) -> Time {
    Time::utc(machine.time())
}

/// A time, or seconds since 1970; anything else means now.
fn moment(machine: &Machine<'_>, value: &Value) -> Time {
    match value {
        Value::Time(time) => (**time).clone(),
        Value::Int(second) | Value::Int64(second) => Time::of_unix(*second),
        _ => now(machine),
    }
}

/// A zone that is unknown counts as UTC.
fn date_in_zone(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let moment = moment(machine, &values[1]).in_zone(&text(values, 2));
    Ok(Value::str(moment.format(&text(values, 0))))
}

fn modify(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    match duration::parse(&text(values, 0)) {
        Ok(nanoseconds) => Ok(time(moment(machine, &values[1]).plus(nanoseconds))),
        Err(_) => Ok(values[1].clone()),
    }
}

/// The message does not show the duration, which may come from a value.
fn must_modify(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let shift = text(values, 0);
    match duration::parse(&shift) {
        Ok(nanoseconds) => Ok(time(moment(machine, &values[1]).plus(nanoseconds))),
        Err(error) => Err(Fault::hiding("time: invalid duration", error.to_string())),
    }
}

/// The largest unit that the duration exceeds.
fn rounded(machine: &Machine<'_>, value: &Value) -> String {
    let nanoseconds = match value {
        Value::Str(text) => duration::parse(&String::from_utf8_lossy(text)).unwrap_or(0),
        Value::Int64(nanoseconds) => *nanoseconds,
        Value::Time(then) => {
            let difference = now(machine).moment.as_nanosecond() - then.moment.as_nanosecond();
            i64::try_from(difference).unwrap_or(i64::MAX)
        }
        _ => 0,
    };
    let seconds = nanoseconds.unsigned_abs() / 1_000_000_000;
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    let units = [
        (DAY * 365, "y"),
        (DAY * 30, "mo"),
        (DAY, "d"),
        (HOUR, "h"),
        (60, "m"),
        (1, "s"),
    ];
    let exceeds = |unit: u64| nanoseconds.unsigned_abs() > unit * 1_000_000_000;
    let unit = units.iter().find(|(unit, _)| exceeds(*unit));
    unit.map_or_else(
        || "0s".to_owned(),
        |(unit, name)| format!("{}{name}", seconds / unit),
    )
}
