//! Pure: functions on numbers, with the conversions of the cast library.
//!
//! They are those of sprig's `numeric.go` and `functions.go`. All of them take any value and convert it first, by the
//! rules of github.com/spf13/cast: what is no number counts as 0, without an error. A whole number of a text may be
//! hexadecimal, octal or binary by its prefix, so `int "010"` is 8 and `int "08"` is 0.

use super::decimal::Decimal;
use super::strings::below;
use crate::error::{Outcome, fault};
use crate::machine::Machine;
use crate::number;
use crate::signature::{Row, any, int, text};
use crate::value::Value;

/// What may surprise:
///
/// - Whole numbers are an `int64`, except of `int` and `atoi`, and wrap around at their ends as Go's do.
/// - `div` and `mod` cut towards zero: `mod -7 3` is -1. Division by zero is an error.
/// - `addf`, `subf`, `mulf` and `divf` calculate with decimals, so that 0.1 + 0.2 is 0.3.
/// - `toDecimal` reads an octal number, as the mode of a file is written.
/// - `seq` gives a text, and `until` and `untilStep` give lists of `int`.
/// - `atoi` takes decimal digits alone, and `0x1` is 0 to it.
pub(crate) const ROWS: &[Row] = &[
    ("atoi", "s", |_, v| {
        let text = text(v, 0);
        let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
        let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Value::Int(if valid {
            text.parse().unwrap_or(0)
        } else {
            0
        }))
    }),
    ("int", "a", |_, v| Ok(Value::Int(to_int(any(v, 0))))),
    ("int64", "a", |_, v| Ok(Value::Int64(to_int(any(v, 0))))),
    ("float64", "a", |_, v| {
        Ok(Value::Float64(to_float(any(v, 0))))
    }),
    ("toDecimal", "a", |_, v| {
        let text = String::from_utf8_lossy(&crate::printf::to_text(any(v, 0))).into_owned();
        Ok(Value::Int64(i64::from_str_radix(&text, 8).unwrap_or(0)))
    }),
    ("add", "a*", |_, v| {
        Ok(Value::Int64(
            v.iter().map(to_int).fold(0, i64::wrapping_add),
        ))
    }),
    ("add1", "a", |_, v| {
        Ok(Value::Int64(to_int(any(v, 0)).wrapping_add(1)))
    }),
    ("sub", "aa", |_, v| {
        Ok(Value::Int64(to_int(&v[0]).wrapping_sub(to_int(&v[1]))))
    }),
    ("mul", "aa*", |_, v| {
        Ok(Value::Int64(
            v.iter().map(to_int).fold(1, i64::wrapping_mul),
        ))
    }),
    ("div", "aa", |_, v| divided(v, i64::wrapping_div)),
    ("mod", "aa", |_, v| divided(v, i64::wrapping_rem)),
    ("addf", "a*", |_, v| {
        decimals(&Decimal::of(0.0), v, Decimal::add)
    }),
    ("add1f", "a", |_, v| {
        decimals(
            &Decimal::of(to_float(any(v, 0))),
            &[Value::Int(1)],
            Decimal::add,
        )
    }),
    ("subf", "aa*", |_, v| {
        decimals(&Decimal::of(to_float(&v[0])), &v[1..], Decimal::subtract)
    }),
    ("mulf", "aa*", |_, v| {
        decimals(&Decimal::of(to_float(&v[0])), &v[1..], Decimal::multiply)
    }),
    ("divf", "aa*", |_, v| {
        if v[1..]
            .iter()
            .any(|value| Decimal::of(to_float(value)).is_zero())
        {
            return fault("decimal division by 0");
        }
        decimals(&Decimal::of(to_float(&v[0])), &v[1..], Decimal::divide)
    }),
    ("max", "aa*", |_, v| {
        Ok(Value::Int64(v.iter().map(to_int).max().unwrap_or(0)))
    }),
    ("biggest", "aa*", |_, v| {
        Ok(Value::Int64(v.iter().map(to_int).max().unwrap_or(0)))
    }),
    ("min", "aa*", |_, v| {
        Ok(Value::Int64(v.iter().map(to_int).min().unwrap_or(0)))
    }),
    ("maxf", "aa*", |_, v| {
        Ok(Value::Float64(
            v.iter().map(to_float).fold(f64::NEG_INFINITY, f64::max),
        ))
    }),
    ("minf", "aa*", |_, v| {
        Ok(Value::Float64(
            v.iter().map(to_float).fold(f64::INFINITY, f64::min),
        ))
    }),
    ("ceil", "a", |_, v| {
        Ok(Value::Float64(to_float(any(v, 0)).ceil()))
    }),
    ("floor", "a", |_, v| {
        Ok(Value::Float64(to_float(any(v, 0)).floor()))
    }),
    ("round", "aif*", |_, v| {
        let on = match v.get(2) {
            Some(Value::Float64(on)) => *on,
            _ => 0.5,
        };
        Ok(Value::Float64(round(to_float(&v[0]), int(v, 1), on)))
    }),
    ("until", "i", |machine, v| {
        let count = int(v, 0);
        steps(machine, 0, count, if count < 0 { -1 } else { 1 }).map(Value::ints)
    }),
    ("untilStep", "iii", |machine, v| {
        steps(machine, int(v, 0), int(v, 1), int(v, 2)).map(Value::ints)
    }),
    ("seq", "i*", sequence),
    ("randInt", "ii", |machine, v| {
        let (low, high) = (int(v, 0), int(v, 1));
        match high
            .checked_sub(low)
            .and_then(|span| usize::try_from(span).ok())
        {
            Some(span) if span > 0 => {
                let offset = i64::try_from(below(machine, span)).unwrap_or(0);
                Ok(Value::Int(low + offset))
            }
            _ => fault("invalid argument to Intn"),
        }
    }),
];

/// `cast.ToInt64`: a value that is no number is 0.
pub(crate) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "Go's conversion of what does not fit gives the smallest integer, too"
        )]
        Value::Float64(value) => {
            if value.abs() < 9.3e18 && (*value as i64 != i64::MAX) {
                *value as i64
            } else {
                i64::MIN
            }
        }
        Value::Str(text) => text_to_int(&String::from_utf8_lossy(text)),
        value => value.as_int().unwrap_or(0),
    }
}

/// A text with a fraction of digits loses it (`1.9` is 1), while an exponent makes it 0 (`1e3`).
fn text_to_int(text: &str) -> i64 {
    // A fraction is cut off, whatever it is.
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        Some(_) => return 0,
        None => text,
    };
    number::parse_int(whole).unwrap_or(0)
}

/// `cast.ToFloat64`: a value that is no number is 0.
#[expect(clippy::cast_precision_loss, reason = "as Go converts an integer")]
pub(crate) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Float64(value) => *value,
        Value::Str(text) => {
            let text = String::from_utf8_lossy(text);
            number::parse_float(&text.replace('_', "")).unwrap_or(0.0)
        }
        value => value.as_int().unwrap_or(0) as f64,
    }
}

/// Refuses a division by zero, and gives an `int64` else.
fn divided(values: &[Value], divide: fn(i64, i64) -> i64) -> Outcome<Value> {
    let (a, b) = (to_int(&values[0]), to_int(&values[1]));
    if b == 0 {
        return fault("runtime error: integer divide by zero");
    }
    Ok(Value::Int64(divide(a, b)))
}

/// Applies an operation from left to right, as `execDecimalOp` of sprig does.
fn decimals(
    first: &Decimal,
    others: &[Value],
    operation: fn(&Decimal, &Decimal) -> Decimal,
) -> Outcome<Value> {
    let mut result = first.clone();
    for other in others {
        let float = to_float(other);
        if !float.is_finite() {
            return fault("cannot create a Decimal from a number that is not finite");
        }
        result = operation(&result, &Decimal::of(float));
    }
    Ok(Value::Float64(result.to_float()))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "more places than a float has change nothing"
)]
/// `round` of sprig: up if the fraction is at least `on`, else down. The fraction of a negative number is negative,
/// so such a number is always rounded down: -1.2 becomes -2. Places may be negative.
fn round(value: f64, places: i64, on: f64) -> f64 {
    let power = 10_f64.powi(places.clamp(-400, 400) as i32);
    let digit = power * value;
    let rounded = if digit.fract() >= on {
        digit.ceil()
    } else {
        digit.floor()
    };
    rounded / power
}

/// `untilStep` of sprig: from `start` on and without `stop`. It is empty if the step leads away from `stop`. The length is charged first.
fn steps(machine: &mut Machine<'_>, start: i64, stop: i64, step: i64) -> Outcome<Vec<i64>> {
    if step == 0 || (stop < start) != (step < 0) {
        return Ok(Vec::new());
    }
    let span = (i128::from(stop) - i128::from(start)).unsigned_abs();
    let count = span.div_ceil(i128::from(step).unsigned_abs());
    /// A number, then a value of a list.
    const NUMBER_BYTES: usize = 40;
    let numbers = usize::try_from(count).unwrap_or(usize::MAX);
    machine.spend(numbers)?;
    machine.allocate(numbers.saturating_mul(NUMBER_BYTES))?;
    let mut numbers = Vec::new();
    let mut number = start;
    for _ in 0..count {
        numbers.push(number);
        number = number.wrapping_add(step);
    }
    Ok(numbers)
}

/// `seq` of sprig, which follows the program of that name: the last number is in it. One argument counts from 1, two
/// are first and last, three have the step between them.
fn sequence(machine: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let number = |index| int(values, index);
    let towards = |start: i64, end: i64| if end < start { -1 } else { 1 };
    let numbers = match values.len() {
        1 => {
            let step = towards(1, number(0));
            steps(machine, 1, number(0).wrapping_add(step), step)?
        }
        2 => {
            let step = towards(number(0), number(1));
            steps(machine, number(0), number(1).wrapping_add(step), step)?
        }
        3 => {
            let (start, step, end) = (number(0), number(1), number(2));
            let towards = towards(start, end);
            if towards < 0 && step > 0 {
                Vec::new()
            } else {
                steps(machine, start, end.wrapping_add(towards), step)?
            }
        }
        _ => Vec::new(),
    };
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    Ok(Value::str(texts.join(" ")))
}
