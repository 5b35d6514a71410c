//! Pure: the methods and fields of values that are no maps: times, durations, versions, certificates.
//!
//! Go's templates reach every exported method of a value by reflection. Here are those that a template can use to
//! some end; another name is an error, as one that Go does not have. `Month` and `Weekday` give texts, because they
//! print as such.

use std::rc::Rc;

use crate::error::{Outcome, fault};
use crate::time::Time;
use crate::value::Value;

/// Calls a method or reads a field. The result is nothing if the value has none of that name.
pub(crate) fn call(value: &Value, name: &str, arguments: &[Value]) -> Option<Outcome<Value>> {
    match value {
        Value::Time(_) => time(value, name, arguments),
        Value::Duration(nanoseconds) => duration(*nanoseconds, name, arguments),
        Value::Semver(version) => {
            let unsigned = |number: u64| Value::Int64(i64::try_from(number).unwrap_or(i64::MAX));
            match (name, arguments) {
                ("Major", []) => Some(Ok(unsigned(version.major()))),
                ("Minor", []) => Some(Ok(unsigned(version.minor()))),
                ("Patch", []) => Some(Ok(unsigned(version.patch()))),
                ("Prerelease", []) => Some(Ok(Value::str(version.prerelease()))),
                ("Metadata", []) => Some(Ok(Value::str(version.metadata()))),
                ("Original", []) => Some(Ok(Value::str(version.original()))),
                ("String", []) => Some(Ok(Value::str(version.to_string()))),
                ("Compare", [Value::Semver(other)]) => {
                    Some(Ok(Value::Int(version.compare(other) as i64)))
                }
                ("Equal", [Value::Semver(other)]) => {
                    Some(Ok(Value::Bool(version.compare(other).is_eq())))
                }
                ("LessThan", [Value::Semver(other)]) => {
                    Some(Ok(Value::Bool(version.compare(other).is_lt())))
                }
                ("GreaterThan", [Value::Semver(other)]) => {
                    Some(Ok(Value::Bool(version.compare(other).is_gt())))
                }
                ("Compare" | "Equal" | "LessThan" | "GreaterThan", _) => {
                    Some(fault(format!("{name} needs one version")))
                }
                _ => None,
            }
        }
        Value::Certificate(certificate) => match (name, arguments) {
            ("Cert", []) => Some(Ok(Value::str(&certificate.cert))),
            ("Key", []) => Some(Ok(Value::str(&certificate.key))),
            _ => None,
        },
        _ => None,
    }
}

fn time(value: &Value, name: &str, arguments: &[Value]) -> Option<Outcome<Value>> {
    let Value::Time(time) = value else {
        return None;
    };
    match arguments {
        [] => time_part(value, time, name),
        _ => time_method(time, name, arguments),
    }
}

/// The methods of a time that take no arguments.
fn time_part(value: &Value, time: &Time, name: &str) -> Option<Outcome<Value>> {
    let civil = time.civil();
    let int = |number: i64| Some(Ok(Value::Int(number)));
    match name {
        "Year" => int(i64::from(civil.year())),
        "Month" => Some(Ok(Value::str(time.format("January")))),
        "Day" => int(i64::from(civil.day())),
        "Hour" => int(i64::from(civil.hour())),
        "Minute" => int(i64::from(civil.minute())),
        "Second" => int(i64::from(civil.second())),
        "Nanosecond" => int(i64::from(civil.subsec_nanosecond())),
        "YearDay" => int(i64::from(civil.day_of_year())),
        "Weekday" => Some(Ok(Value::str(time.format("Monday")))),
        "Unix" => Some(Ok(Value::Int64(time.moment.as_second()))),
        "UnixMilli" => Some(Ok(Value::Int64(time.moment.as_millisecond()))),
        "UnixNano" => {
            let nanoseconds = i64::try_from(time.moment.as_nanosecond()).unwrap_or(i64::MAX);
            Some(Ok(Value::Int64(nanoseconds)))
        }
        "UTC" => Some(Ok(Value::Time(Rc::new(time.in_zone("UTC"))))),
        "Local" => Some(Ok(value.clone())),
        "String" => Some(Ok(Value::str(time.to_string()))),
        "IsZero" => Some(Ok(Value::Bool(time.moment == crate::time::zero().moment))),
        _ => time_method(time, name, &[]),
    }
}

/// The methods of a time that take arguments.
fn time_method(time: &Time, name: &str, arguments: &[Value]) -> Option<Outcome<Value>> {
    match (name, arguments) {
        ("Format", [Value::Str(layout)]) => {
            let layout = String::from_utf8_lossy(layout);
            Some(Ok(Value::str(time.format(&layout))))
        }
        ("Add", [Value::Duration(nanoseconds)]) => {
            Some(Ok(Value::Time(Rc::new(time.plus(*nanoseconds)))))
        }
        ("Sub", [Value::Time(other)]) => {
            let difference = time.moment.as_nanosecond() - other.moment.as_nanosecond();
            Some(Ok(Value::Duration(
                i64::try_from(difference).unwrap_or(i64::MAX),
            )))
        }
        ("Before", [Value::Time(other)]) => Some(Ok(Value::Bool(time.moment < other.moment))),
        ("After", [Value::Time(other)]) => Some(Ok(Value::Bool(time.moment > other.moment))),
        ("Equal", [Value::Time(other)]) => Some(Ok(Value::Bool(time.moment == other.moment))),
        ("AddDate", [years, months, days]) => {
            let span = jiff::Span::new()
                .try_years(years.as_int().unwrap_or(0))
                .and_then(|span| span.try_months(months.as_int().unwrap_or(0)))
                .and_then(|span| span.try_days(days.as_int().unwrap_or(0)));
            let moved = span
                .and_then(|span| time.civil().checked_add(span))
                .and_then(|civil| time.offset.to_timestamp(civil));
            Some(match moved {
                Ok(moment) => Ok(Value::Time(Rc::new(Time {
                    moment,
                    monotonic: false,
                    ..time.clone()
                }))),
                Err(_) => fault("the date is out of range"),
            })
        }
        ("Format" | "Add" | "Sub" | "Before" | "After" | "Equal" | "AddDate", _) => {
            Some(fault(format!("wrong arguments for method {name}")))
        }
        _ => None,
    }
}

/// `Hours`, `Minutes` and `Seconds` give a `float64`, the smaller units an `int64`.
fn duration(nanoseconds: i64, name: &str, arguments: &[Value]) -> Option<Outcome<Value>> {
    #[expect(clippy::cast_precision_loss, reason = "as Go converts a duration")]
    let float = |unit: f64| Some(Ok(Value::Float64(nanoseconds as f64 / unit)));
    match (name, arguments) {
        ("Hours", []) => float(3.6e12),
        ("Minutes", []) => float(6e10),
        ("Seconds", []) => float(1e9),
        ("Milliseconds", []) => Some(Ok(Value::Int64(nanoseconds / 1_000_000))),
        ("Nanoseconds", []) => Some(Ok(Value::Int64(nanoseconds))),
        ("String", []) => Some(Ok(Value::str(gocompat::duration::print(nanoseconds)))),
        _ => None,
    }
}
