//! Pure: versions and constraints, with the grammar of `github.com/Masterminds/semver/v3` 3.4.
//!
//! The grammar is more lenient than semver's: a version may have a `v` before it, and one or two numbers. sprig's
//! `semverCompare` and Flux's `spec.ref.semver` take it.
//!
//! ```
//! use gocompat::semver::{Constraint, Version};
//! let constraint = Constraint::parse(">=1.2 <2 || ~3.1").expect("a constraint");
//! assert!(constraint.holds(&Version::parse("v1.4").expect("a version")));
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// A version, such as `v1.2.3-rc.1+build`. It prints as Go's `Version.String`: all three numbers, without the `v`.
///
/// Two versions are equal if they were written the same; [`Version::compare`] gives their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    prerelease: String,
    metadata: String,
    original: String,
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
    /// Parses a version that has all three numbers, without leading zeros; a `v` may stand before it. Flux takes only
    /// such tags for versions.
    #[must_use]
    pub fn parse_strict(text: &str) -> Option<Self> {
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let numbers = numbers.split(['-', '+']).next().unwrap_or_default();
        let is_strict = |number: &str| number == "0" || !number.starts_with('0');
        let strict = numbers.split('.').count() == 3 && numbers.split('.').all(is_strict);
        strict.then(|| Self::parse(text)).flatten()
    }

    /// Parses a version as `semver.NewVersion` does: `1`, `1.2`, `v1.2.3-rc.1+build`. The result is nothing if the text
    /// is no version, or if a number has more than 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
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

    /// The order of two versions by semver's rules: a release is above its prereleases, and metadata does not count.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self)
            .cmp(&numbers(other))
            .then_with(|| compare_prerelease(&self.prerelease, &other.prerelease))
    }

    /// The first number.
    #[must_use]
    pub fn major(&self) -> u64 {
        self.major
    }

    /// The second number; 0 if it was not given.
    #[must_use]
    pub fn minor(&self) -> u64 {
        self.minor
    }

    /// The third number; 0 if it was not given.
    #[must_use]
    pub fn patch(&self) -> u64 {
        self.patch
    }

    /// The text between `-` and `+`; may be empty.
    #[must_use]
    pub fn prerelease(&self) -> &str {
        &self.prerelease
    }

    /// The text after `+`; may be empty.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// The text that was parsed.
    #[must_use]
    pub fn original(&self) -> &str {
        &self.original
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

/// A condition on versions, such as `>=1.2 <2 || ~3.1`: alternatives, each of which is a list of conditions that
/// must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint(Vec<Vec<Condition>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    operator: Operator,
    version: Version,
    /// How many numbers were given: `1.x` and `1` have one.
    given: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Longer ones stand first.
const OPERATORS: [(&str, Operator); 12] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("", Operator::Equal),
];

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace()
}

impl Constraint {
    /// Parses a constraint as `semver.NewConstraint` does. The result is nothing if the text is no constraint.
    ///
    /// Conditions are separated by a comma or spaces, alternatives by `||`. The operators are `=`, `!=`, `>`, `<`,
    /// `>=`, `=>`, `<=`, `=<`, `~`, `~>` and `^`; `1.2 - 1.4` is a range, and `x`, `X` and `*` stand for any number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rewritten = rewrite_ranges(text);
        let alternatives = rewritten.split("||").map(conditions);
        alternatives.collect::<Option<_>>().map(Self)
    }

    /// Whether the version satisfies the constraint, as `Constraints.Check` says. A prerelease satisfies an alternative
    /// only if one of its conditions names a prerelease.
    #[must_use]
    pub fn holds(&self, version: &Version) -> bool {
        self.0.iter().any(|all| {
            let prereleases = all.iter().any(|c| !c.version.prerelease.is_empty());
            (prereleases || version.prerelease.is_empty())
                && all.iter().all(|condition| condition.holds(version))
        })
    }
}

/// A version as it may stand in a range, by `cvRegex` of `constraints.go`. Go's class has the `|` in it, too, so
/// `1||2.0 - 3` begins with the number `1||2` and is no constraint.
const RANGE_VERSION: &str = r"v?[0-9|xX*]+(?:\.[0-9|xX*]+)?(?:\.[0-9|xX*]+)?(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?";

/// `constraintRangeRegex` of `constraints.go`. The class of blanks is Go's `\s`.
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    let (blank, version) = (r"[\t\n\f\r ]", RANGE_VERSION);
    Regex::new(&format!(
        "{blank}*({version}){blank}+-{blank}+({version}){blank}*"
    ))
    .expect("the pattern is constant")
});

/// Replaces `1.2 - 1.4` by `>= 1.2, <= 1.4 `, as `rewriteRange` of `constraints.go` does.
///
/// The blanks before a range are part of it, so a range after blanks alone runs into the condition before it, and the
/// text is no constraint. After a comma or `||` it stays apart.
fn rewrite_ranges(text: &str) -> String {
    let mut rewritten = text.to_owned();
    for range in RANGE.captures_iter(text) {
        let (whole, [low, high]) = range.extract();
        rewritten = rewritten.replacen(whole, &format!(">= {low}, <= {high} "), 1);
    }
    rewritten
}

/// Conditions with spaces or one comma between them.
fn conditions(part: &str) -> Option<Vec<Condition>> {
    let mut all = Vec::new();
    let mut rest = part.trim_matches(is_space);
    loop {
        let (operator, after) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((operator, rest.strip_prefix(sign)?)))?;
        rest = after.trim_start_matches(is_space);
        let end = rest.find(|c: char| is_space(c) || c == ',');
        let (version, after) = rest.split_at(end.unwrap_or(rest.len()));
        all.push(Condition::parse(*operator, version)?);
        let after = after.trim_matches(is_space);
        if after.is_empty() {
            return Some(all);
        }
        rest = after
            .strip_prefix(',')
            .unwrap_or(after)
            .trim_start_matches(is_space);
    }
}

impl Condition {
    fn parse(operator: Operator, text: &str) -> Option<Self> {
        let is_wild = |part: &str| matches!(part, "x" | "X" | "*");
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let suffix_at = numbers.find(['-', '+']).unwrap_or(numbers.len());
        let (numbers, suffix) = numbers.split_at(suffix_at);
        let parts: Vec<&str> = numbers.split('.').collect();
        let is_part =
            |part: &&str| !part.is_empty() && part.chars().all(|c| "0123456789xX*".contains(c));
        if parts.len() > 3 || !parts.iter().all(is_part) {
            return None;
        }
        let given = parts.iter().take_while(|part| !is_wild(part)).count();
        let mut filled: Vec<&str> = parts[..given].to_vec();
        filled.resize(3, "0");
        Some(Self {
            operator,
            version: Version::parse(&format!("{}{suffix}", filled.join(".")))?,
            given,
        })
    }

    /// A condition on one or two numbers is one on a range.
    fn holds(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let order = version.compare(wanted);
        let (only_major, only_minor) = (self.given == 1, self.given == 2);
        match self.operator {
            Operator::Equal if self.given < 3 => self.tilde(version),
            Operator::Equal => order.is_eq(),
            Operator::NotEqual if only_major => version.major != wanted.major,
            Operator::NotEqual if only_minor => {
                (version.major, version.minor) != (wanted.major, wanted.minor)
                    || version.prerelease != wanted.prerelease
            }
            Operator::NotEqual => order.is_ne(),
            Operator::Greater if only_major => version.major > wanted.major,
            Operator::Greater if only_minor => {
                (version.major, version.minor) > (wanted.major, wanted.minor)
            }
            Operator::Greater => order.is_gt(),
            Operator::Less => order.is_lt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::LessOrEqual if only_major => version.major <= wanted.major,
            Operator::LessOrEqual if self.given < 3 => {
                (version.major, version.minor) <= (wanted.major, wanted.minor)
            }
            Operator::LessOrEqual => order.is_le(),
            Operator::Tilde => self.tilde(version),
            Operator::Caret => order.is_ge() && self.caret(version),
        }
    }

    /// The same first two numbers, or the same first if no second is given. `~0.0.0` and `~*` take everything.
    fn tilde(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let is_zero = (wanted.major, wanted.minor, wanted.patch) == (0, 0, 0);
        let takes_all = is_zero && matches!(self.given, 0 | 3);
        version.compare(wanted).is_ge()
            && (takes_all
                || (version.major == wanted.major
                    && (self.given == 1 || version.minor == wanted.minor)))
    }

    /// What keeps the leftmost number that is not zero.
    fn caret(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if wanted.major > 0 || self.given == 1 {
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
        assert!(holds(">=1.2.0-0 <2", "1.3.0-rc1"));
        assert!(!holds("<2 || >=3.0.0-0", "1.3.0-rc1"));
        assert!(Constraint::parse("").is_none());
        assert!(Version::parse("1.2.3.4").is_none());
        for (version, strict) in [
            ("v1.2.3-rc.1+b", true),
            ("0.0.0", true),
            ("1.2", false),
            ("1.02.3", false),
        ] {
            assert_eq!(
                Version::parse_strict(version).is_some(),
                strict,
                "{version}"
            );
        }
        assert_eq!(Version::parse("v1").unwrap().to_string(), "1.0.0");
    }
}
