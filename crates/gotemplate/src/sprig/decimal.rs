//! Pure: decimal numbers of arbitrary size, as far as `addf` and its kin need them.
//!
//! They give what github.com/shopspring/decimal gives for floats: exact sums and products, and quotients of 16 places
//! (`DivisionPrecision`). Sizes stay small, since each number comes from a float and goes back to one.

use num_bigint::BigInt;

/// `coefficient × 10^exponent`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    coefficient: BigInt,
    exponent: i32,
}

/// How many decimal places a division keeps.
const DIVISION_PLACES: i32 = 16;

impl Decimal {
    /// The shortest decimal that reads back as the float.
    pub(crate) fn of(float: f64) -> Self {
        let text = format!("{float:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let places = mantissa.split_once('.').map_or(0, |(_, part)| part.len());
        let digits = mantissa.replace('.', "");
        Self {
            coefficient: digits.parse().unwrap_or_default(),
            exponent: exponent.parse::<i32>().unwrap_or(0) - i32::try_from(places).unwrap_or(0),
        }
    }

    /// The float that is nearest to the number.
    pub(crate) fn to_float(&self) -> f64 {
        format!("{}e{}", self.coefficient, self.exponent)
            .parse()
            .unwrap_or(0.0)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.coefficient == BigInt::ZERO
    }

    /// The same number with a smaller exponent.
    ///
    /// The coefficient that belongs to this smaller exponent.
    fn scaled(&self, exponent: i32) -> BigInt {
        let places = u32::try_from(self.exponent - exponent).unwrap_or(0);
        &self.coefficient * BigInt::from(10).pow(places)
    }

    /// The exact sum.
    pub(crate) fn add(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        Self {
            coefficient: self.scaled(exponent) + other.scaled(exponent),
            exponent,
        }
    }

    pub(crate) fn subtract(&self, other: &Self) -> Self {
        self.add(&Self {
            coefficient: -&other.coefficient,
            exponent: other.exponent,
        })
    }

    /// The exact product.
    pub(crate) fn multiply(&self, other: &Self) -> Self {
        Self {
            coefficient: &self.coefficient * &other.coefficient,
            exponent: self.exponent + other.exponent,
        }
    }

    /// Rounded half away from zero at the last place. The divisor is not zero.
    pub(crate) fn divide(&self, other: &Self) -> Self {
        let shift = DIVISION_PLACES + self.exponent - other.exponent;
        let ten = |places: i32| BigInt::from(10).pow(places.unsigned_abs());
        let (numerator, denominator) = if shift >= 0 {
            (&self.coefficient * ten(shift), other.coefficient.clone())
        } else {
            (self.coefficient.clone(), &other.coefficient * ten(shift))
        };
        let quotient = &numerator / &denominator;
        let rest = &numerator % &denominator;
        let twice = BigInt::from(rest.magnitude().clone()) * 2;
        let rounds = twice >= BigInt::from(denominator.magnitude().clone());
        let negative = (numerator.sign() == num_bigint::Sign::Minus)
            != (denominator.sign() == num_bigint::Sign::Minus);
        let one = BigInt::from(if negative { -1 } else { 1 });
        Self {
            coefficient: if rounds { quotient + one } else { quotient },
            exponent: -DIVISION_PLACES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_do_what_floats_do_not() {
        let of = Decimal::of;
        let shown = |decimal: Decimal| decimal.to_float().to_string();
        assert_eq!(shown(of(0.1).add(&of(0.2))), "0.3");
        assert_eq!(shown(of(10.0).divide(&of(3.0))), "3.3333333333333335");
        assert_eq!(shown(of(-1.0).divide(&of(8.0))), "-0.125");
        assert_eq!(shown(of(1.1).multiply(&of(1.1))), "1.21");
    }
}
