//! Pure: numbers as Go's `strconv` writes them.
//!
//! Rust's formatting gives the same digits, since both print the shortest text that reads back, or round exactly;
//! what differs is the form: exponents with a sign and two digits, and where an exponent begins.

/// `strconv.FormatUint` for a base from 2 to 36, without leading zeros.
pub(crate) fn in_base(mut number: u64, base: u32, upper: bool) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % u64::from(base)).unwrap_or(0);
        let digit = char::from_digit(digit, base).unwrap_or('0');
        digits.push(if upper {
            digit.to_ascii_uppercase()
        } else {
            digit
        });
        number /= u64::from(base);
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

/// `%e`: at least two digits in the exponent, always with a sign.
///
/// `precision` is the number of digits after the point.
pub(crate) fn exponential(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `%g`: as few digits as tell the number from others, or so many; in exponent form where that is shorter.
///
/// The precision counts all digits, and 0 counts as 1. An exponent is used below 10⁻⁴, and from 10 to the power of the
/// precision on; without a precision, from 10⁶ on.
pub(crate) fn shortest_or(number: f64, precision: Option<usize>) -> String {
    let Some(precision) = precision else {
        return goyaml::format_float(number);
    };
    let precision = precision.max(1);
    let rounded = format!("{number:.*e}", precision - 1);
    let (mantissa, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trimmed(&format!("{number:.decimals$}"))
}

/// `%x` of a float: `0x1.8p+01`
///
/// The number must not be negative; the sign is written by the caller.
pub(crate) fn hexadecimal(number: f64, precision: Option<usize>) -> String {
    if number == 0.0 || !number.is_finite() {
        let zeros = "0".repeat(precision.unwrap_or(0));
        let point = if zeros.is_empty() { "" } else { "." };
        return format!("0x0{point}{zeros}p+00");
    }
    let bits = number.to_bits();
    let mut exponent = i64::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1023;
    let mut mantissa = bits & ((1 << 52) - 1);
    if exponent == -1023 {
        // A subnormal number, shifted until it begins with 1.
        let shift = mantissa.leading_zeros() - 11;
        mantissa = mantissa << shift & ((1 << 52) - 1);
        exponent = -1022 - i64::from(shift);
    }
    mantissa |= 1 << 52;
    let digits = match precision {
        None => format!("{:013x}", mantissa & ((1 << 52) - 1))
            .trim_end_matches('0')
            .to_owned(),
        Some(precision) if precision >= 13 => {
            format!(
                "{:013x}{}",
                mantissa & ((1 << 52) - 1),
                "0".repeat(precision - 13)
            )
        }
        Some(precision) => {
            // Rounded half to even at the last digit that is shown.
            let drop = 52 - 4 * u32::try_from(precision).unwrap_or(0);
            let (kept, rest) = (mantissa >> drop, mantissa & ((1 << drop) - 1));
            let half = 1_u64 << (drop - 1);
            let up = rest > half || (rest == half && kept & 1 == 1);
            let mut kept = kept + u64::from(up);
            if kept >> (52 - drop) >= 2 {
                kept >>= 1;
                exponent += 1;
            }
            let fraction = kept & ((1 << (52 - drop)) - 1);
            if precision == 0 {
                String::new()
            } else {
                format!("{fraction:0precision$x}")
            }
        }
    };
    let point = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x1{point}{digits}p{sign}{:02}", exponent.abs())
}

/// `%b` of a float: its mantissa and the power of two.
pub(crate) fn binary(number: f64) -> String {
    let bits = number.to_bits();
    let exponent = i64::try_from(bits >> 52 & 0x7ff).unwrap_or(0);
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if exponent == 0 {
        (fraction, 1)
    } else {
        (fraction | 1 << 52, exponent)
    };
    format!("{mantissa}p{:+}", exponent - 1023 - 52)
}

/// `#`: always a decimal point, and for `%g` all the digits.
pub(crate) fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let (mantissa, exponent) = match text.find('e') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let mut mantissa = mantissa.to_owned();
    if !mantissa.contains('.') {
        mantissa.push('.');
    }
    if matches!(verb, 'g' | 'G' | 'v') {
        let digits = mantissa
            .chars()
            .filter(char::is_ascii_digit)
            .skip_while(|&digit| digit == '0')
            .count()
            .max(usize::from(
                mantissa.starts_with("0.") && mantissa.len() == 2,
            ));
        for _ in digits..precision.unwrap_or(6) {
            mantissa.push('0');
        }
    }
    format!("{mantissa}{exponent}")
}
