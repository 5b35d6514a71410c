//! Pure: Go's number literals: `0x1F`, `1_000`, `1e3`, `'c'`, and the types that they fit.
//!
//! The rules are those of `newNumber` in `text/template/parse/node.go`, and of `ParseInt` and `ParseFloat` of
//! `strconv` with base 0. The same functions read numbers in texts for sprig's conversions. Complex numbers are not
//! there: no function takes any.

/// A literal, as all that it can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    /// The value as an `int`, if it is whole and fits into 64 bits: `1e3` is a whole number.
    pub(crate) int: Option<i64>,
    /// The value as a `float64`, rounded.
    pub(crate) float: Option<f64>,
    /// Used where any type will do, it is a float.
    pub(crate) looks_like_float: bool,
}

/// Reads a number.
///
/// A literal with an optional sign; nothing if Go's lexer would call it bad syntax.
pub(crate) fn parse(text: &str) -> Option<Number> {
    if let Some(int) = parse_int(text) {
        #[expect(clippy::cast_precision_loss, reason = "as Go converts a constant")]
        let float = int as f64;
        return Some(Number {
            int: Some(int),
            float: Some(float),
            looks_like_float: false,
        });
    }
    let float = parse_float(text)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "integral and small enough, just checked"
    )]
    let int = (float.fract() == 0.0 && float.abs() < 9.2e18).then_some(float as i64);
    let is_hex = text.contains("0x") || text.contains("0X");
    let exponents: &[char] = if is_hex {
        &['.', 'p', 'P']
    } else {
        &['.', 'e', 'E']
    };
    Some(Number {
        int,
        float: Some(float),
        looks_like_float: text.contains(exponents),
    })
}

/// The number of a character constant.
pub(crate) fn of_character(character: char) -> Number {
    let code = u32::from(character);
    Number {
        int: Some(i64::from(code)),
        float: Some(f64::from(code)),
        looks_like_float: false,
    }
}

/// An integer with its base before it, and underscores between digits (`strconv.ParseInt(text, 0, 64)`).
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        (8, rest)
    } else {
        (10, &*lower)
    };
    let digits = without_underscores(digits, base != 10)?;
    let magnitude = i128::from_str_radix(&digits, base).ok()?;
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// Digits without their underscores, which may stand between digits alone, and after a base.
fn without_underscores(digits: &str, after_base: bool) -> Option<String> {
    let misplaced = digits.is_empty()
        || digits.ends_with('_')
        || digits.contains("__")
        || (digits.starts_with('_') && !after_base);
    (!misplaced).then(|| digits.replace('_', ""))
}

/// A float in Go's syntax, hexadecimal ones included.
///
/// `strconv.ParseFloat`, without the words for infinity and not-a-number.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.trim_start_matches(['+', '-']);
    if lower.len() - unsigned.len() > 1 {
        return None;
    }
    let magnitude = if let Some(hex) = unsigned.strip_prefix("0x") {
        parse_hex_float(hex)?
    } else {
        let valid = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-' | '_'))
            && unsigned.contains(|c: char| c.is_ascii_digit());
        if !valid {
            return None;
        }
        without_underscores(unsigned, false)?.parse().ok()?
    };
    Some(if lower.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

/// `1.8p3`, after its `0x`. The exponent is a power of two and must be there.
fn parse_hex_float(hex: &str) -> Option<f64> {
    let (mantissa, exponent) = hex.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let value = u64::from_str_radix(&digits, 16).ok()?;
    let places = i32::try_from(fraction.len()).ok()? * 4;
    #[expect(clippy::cast_precision_loss, reason = "as far as a float reaches")]
    Some(value as f64 * f64::powi(2.0, exponent - places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        let int = |text: &str| parse(text).and_then(|number| number.int);
        assert_eq!(int("0x1F"), Some(31));
        assert_eq!(int("1_000"), Some(1000));
        assert_eq!(int("010"), Some(8));
        assert_eq!(int("-3"), Some(-3));
        assert_eq!(int("2.0"), Some(2));
        assert_eq!(int("3.5"), None);
        assert_eq!(int("08"), Some(8));
        for bad in ["", "_1", "1_", "0x", "1e", "e3", "--1", "1.2.3", "0b2"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        assert_eq!(parse("0x1p4").and_then(|number| number.float), Some(16.0));
    }
}
