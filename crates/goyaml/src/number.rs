//! Pure: numbers as go-yaml reads them and as Go's `strconv` prints them.

/// A parsed number: an integer of up to 64 bits, or a float.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

/// Reads a number: underscores are dropped, `0x`, `0o`, `0b` and a leading zero choose the base.
pub(crate) fn parse_number(text: &str) -> Option<Number> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Number::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Number::Float(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Number::Float(f64::NAN)),
        _ => {}
    }
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let owned;
    let digits = if text.contains('_') && first != b'.' {
        owned = text.replace('_', "");
        &owned
    } else {
        text
    };
    if let Some(value) = parse_int(digits) {
        return Some(Number::Int(value));
    }
    if !is_float(digits) {
        return None;
    }
    // Go's ParseFloat fails for what no float can hold, and go-yaml then takes the text for a string.
    let value: f64 = digits.parse().ok()?;
    value.is_finite().then_some(Number::Float(value))
}

fn parse_int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own; Go's does not, after a prefix.
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&value)
        .then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let without_digits = |text| str::trim_start_matches(text, |c: char| c.is_ascii_digit());
    let after_whole = without_digits(rest);
    let has_whole = after_whole.len() < rest.len();
    let mut rest = after_whole;
    if let Some(after) = rest.strip_prefix('.') {
        rest = without_digits(after);
        if !has_whole && rest.len() == after.len() {
            return false;
        }
    } else if !has_whole {
        return false;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else {
        return rest.is_empty();
    };
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    !exponent.is_empty() && without_digits(exponent).is_empty()
}

/// The shortest digits that read back as the float, as `1.5e3`. Of two that are as near, Go takes the even one.
pub fn shortest(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    // A tie takes as many digits as a float can tell apart.
    if mantissa.len() < 16 {
        return text;
    }
    let exact = format!("{value:.40e}");
    let (down, rest) = exact.split_at(mantissa.len());
    let is_tie = rest
        .split('e')
        .next()
        .is_some_and(|rest| rest.trim_end_matches('0') == "5");
    let down = format!("{down}e{exponent}");
    let is_even = mantissa.bytes().last().is_some_and(|digit| digit % 2 == 0);
    if is_tie && !is_even && down.parse() == Ok(value) {
        return down;
    }
    text
}

/// A finite float as Go's `strconv.FormatFloat(value, 'g', -1, 64)` prints it: the shortest digits
/// that read back, with an exponent if that is below -4 or at least 6.
pub fn format_float(value: f64) -> String {
    let scientific = shortest(value);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_strconv_prints_them() {
        for (value, text) in [
            (123_456.789, "123456.789"),
            (1_234_567.891, "1.234567891e+06"),
            (12_345_678_901.5, "1.23456789015e+10"),
            (0.0001, "0.0001"),
            (0.000_000_01, "1e-08"),
            (1.5e300, "1.5e+300"),
            (1e20, "1e+20"),
            (0.5, "0.5"),
            (-2.25, "-2.25"),
            (199_863_559_207_703.13, "1.9986355920770312e+14"),
        ] {
            assert_eq!(format_float(value), text);
        }
    }

    #[test]
    fn bases_and_underscores() {
        assert_eq!(parse_number("0644"), Some(Number::Int(420)));
        assert_eq!(parse_number("-0x10"), Some(Number::Int(-16)));
        assert_eq!(parse_number("1_000"), Some(Number::Int(1000)));
        assert_eq!(parse_number("0899"), Some(Number::Float(899.0)));
        assert_eq!(
            parse_number("12345678901234567890"),
            Some(Number::Int(12_345_678_901_234_567_890))
        );
        assert_eq!(parse_number("83e2010"), None);
        assert_eq!(parse_number("-1e999"), None);
        assert_eq!(parse_number("1e-999"), Some(Number::Float(0.0)));
        assert_eq!(parse_number("0x"), None);
        assert_eq!(parse_number("+-1"), None);
    }
}
