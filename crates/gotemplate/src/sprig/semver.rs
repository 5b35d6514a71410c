//! Pure: versions and constraints, with the lenient grammar of Masterminds' semver.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use crate::error::{Fault, fault};
use crate::functions::{Row, text};
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("semver", "s", |_, v| {
        let version = Version::parse(&text(v, 0));
        version
            .map(|version| Value::Semver(Rc::new(version)))
            .ok_or_else(|| Fault::new("invalid semantic version"))
    }),
    ("semverCompare", "ss", |_, v| {
        let Some(constraint) = Constraint::parse(&text(v, 0)) else {
            return fault("improper constraint");
        };
        let Some(version) = Version::parse(&text(v, 1)) else {
            return fault("invalid semantic version");
        };
        Ok(Value::Bool(constraint.holds(&version)))
    }),
];

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
    pub(crate) prerelease: String,
    pub(crate) metadata: String,
    pub(crate) original: String,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.prerelease.is_empty() {
            write!(formatter, "-{}", self.prerelease)?;
        }
        if !self.metadata.is_empty() {
            write!(formatter, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

impl Version {
    /// `1`, `1.2`, `v1.2.3-rc.1+build`
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('v').unwrap_or(text);
        let (rest, metadata) = rest.split_once('+').unwrap_or((rest, ""));
        let (numbers, prerelease) = rest.split_once('-').unwrap_or((rest, ""));
        let identifiers = |text: &str| {
            text.split('.').all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
        };
        let dangling = (rest.contains('-') && prerelease.is_empty())
            || (text.contains('+') && metadata.is_empty());
        if dangling
            || (!prerelease.is_empty() && !identifiers(prerelease))
            || (!metadata.is_empty() && !identifiers(metadata))
            || prerelease.split('.').any(|part| {
                part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit())
            })
        {
            return None;
        }
        let mut parts = [0; 3];
        let given: Vec<&str> = numbers.split('.').collect();
        if given.len() > 3 {
            return None;
        }
        for (part, number) in parts.iter_mut().zip(&given) {
            let valid = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            *part = valid.then(|| number.parse().ok()).flatten()?;
        }
        Some(Self {
            major: parts[0],
            minor: parts[1],
            patch: parts[2],
            prerelease: prerelease.to_owned(),
            metadata: metadata.to_owned(),
            original: text.to_owned(),
        })
    }

    /// The order of versions; metadata does not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self)
            .cmp(&numbers(other))
            .then_with(|| compare_prerelease(&self.prerelease, &other.prerelease))
    }
}

/// A release is above its prereleases; numbers are below words.
fn compare_prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let (x, y) = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => x.cmp(y),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Alternatives, of which one must hold whole.
struct Constraint(Vec<Vec<Condition>>);

struct Condition {
    operator: String,
    version: Version,
    /// How many numbers were given: `1.x` has one.
    given: usize,
}

const OPERATORS: [&str; 12] = [
    "!=", ">=", "=>", "<=", "=<", "~>", "=", ">", "<", "~", "^", "",
];

impl Constraint {
    fn parse(text: &str) -> Option<Self> {
        let alternatives = text.split("||").map(|part| {
            let part = hyphenated(part);
            let conditions = conditions(&part)?;
            (!conditions.is_empty()).then_some(conditions)
        });
        alternatives.collect::<Option<_>>().map(Self)
    }

    fn holds(&self, version: &Version) -> bool {
        self.0
            .iter()
            .any(|all| all.iter().all(|condition| condition.holds(version)))
    }
}

/// `1.2 - 1.4` is `>=1.2 <=1.4`.
fn hyphenated(part: &str) -> String {
    match part.trim().split_once(" - ") {
        Some((low, high)) => format!(">={} <={}", low.trim(), high.trim()),
        None => part.trim().to_owned(),
    }
}

fn conditions(part: &str) -> Option<Vec<Condition>> {
    let mut all = Vec::new();
    let mut rest = part.trim_matches(|c: char| c == ' ' || c == ',');
    while !rest.is_empty() {
        let operator = OPERATORS
            .iter()
            .find(|operator| rest.starts_with(**operator))?;
        rest = rest[operator.len()..].trim_start();
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        all.push(Condition::parse(operator, &rest[..end])?);
        rest = rest[end..].trim_start_matches([' ', ',']);
    }
    Some(all)
}

impl Condition {
    fn parse(operator: &str, text: &str) -> Option<Self> {
        let is_wild = |part: &str| matches!(part, "x" | "X" | "*");
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let suffix_at = numbers.find(['-', '+']).unwrap_or(numbers.len());
        let (numbers, suffix) = numbers.split_at(suffix_at);
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 || numbers.is_empty() {
            return None;
        }
        let given = parts.iter().take_while(|part| !is_wild(part)).count();
        let mut filled: Vec<&str> = parts[..given].to_vec();
        filled.resize(3, "0");
        Some(Self {
            operator: operator.to_owned(),
            version: Version::parse(&format!("{}{suffix}", filled.join(".")))?,
            given,
        })
    }

    fn holds(&self, version: &Version) -> bool {
        let wanted = &self.version;
        // Prereleases count only where the constraint names one.
        if !version.prerelease.is_empty() && wanted.prerelease.is_empty() {
            return false;
        }
        let order = version.compare(wanted);
        let within = |numbers: usize| {
            (numbers < 1 || version.major == wanted.major)
                && (numbers < 2 || version.minor == wanted.minor)
                && (numbers < 3 || version.patch == wanted.patch)
        };
        let dirty = self.given < 3;
        match self.operator.as_str() {
            "" | "=" if dirty => within(self.given),
            "" | "=" => order.is_eq(),
            "!=" if dirty => !within(self.given),
            "!=" => order.is_ne(),
            ">" if dirty => order.is_gt() && !within(self.given),
            ">" => order.is_gt(),
            "<" => order.is_lt(),
            ">=" | "=>" => order.is_ge(),
            "<=" | "=<" if dirty => order.is_le() || within(self.given),
            "<=" | "=<" => order.is_le(),
            "~" | "~>" => order.is_ge() && within(self.given.min(2)),
            "^" => order.is_ge() && self.caret(version),
            _ => false,
        }
    }

    /// What keeps the leftmost number that is not zero.
    fn caret(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if wanted.major > 0 || self.given <= 1 {
            return version.major == wanted.major;
        }
        if version.major > 0 {
            return false;
        }
        if wanted.minor > 0 || self.given == 2 {
            return version.minor == wanted.minor;
        }
        version.minor == 0 && version.patch == wanted.patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints() {
        let holds = |constraint: &str, version: &str| {
            Constraint::parse(constraint)
                .unwrap()
                .holds(&Version::parse(version).unwrap())
        };
        assert!(holds("^1.2", "1.9.0"));
        assert!(!holds("^1.2", "2.0.0"));
        assert!(holds("^0.2.3", "0.2.9"));
        assert!(!holds("^0.2.3", "0.3.0"));
        assert!(holds("~1.2.3", "1.2.9"));
        assert!(holds("1.x", "1.7.1"));
        assert!(holds(">=1.2, <2 || 3.*", "3.4.5"));
        assert!(holds("1.2 - 1.4", "1.3.0"));
        assert!(!holds(">=1.2.0", "1.3.0-rc1"));
        assert!(holds(">=1.2.0-0", "1.3.0-rc1"));
        assert!(Constraint::parse("").is_none());
        assert!(Version::parse("1.2.3.4").is_none());
        assert_eq!(Version::parse("v1").unwrap().to_string(), "1.0.0");
    }
}
