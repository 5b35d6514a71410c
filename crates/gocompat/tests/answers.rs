//! Patterns, durations, base64 texts, versions and constraints mean and fail as they do in Go. `*_answers.jsonl` hold a
//! question per line with Go's answer, recorded with Go 1.26 by the programs in `oracle/`.

use gocompat::base64::{self, Alphabet};
use gocompat::duration;
use gocompat::regex::{ErrorCode, compile, quote_meta, replace_all};
use gocompat::semver::{Constraint, Version};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Patterns whose answer differs from Go's, and why.
const KNOWN: &[(&str, &str)] = &[
    (r"\p{Old_Italic}", SCRIPTS_OF_SEVERAL_WORDS),
    (r"\P{^L}{600}\_[]a]*?\Q.\E", COMPILED_SIZE),
    (r"\PN{600}\x41", COMPILED_SIZE),
];
const SCRIPTS_OF_SEVERAL_WORDS: &str =
    "Go 1.25 no longer finds scripts of several words, which older versions of Go know";
const COMPILED_SIZE: &str = "the compiled pattern takes more than a stranger's pattern may take";

/// The fields of an answer beyond those of its question.
type Answer = Map<String, Value>;

/// Compares our answer to each question of a file with Go's.
fn check(answers: &str, least: usize, ours: impl Fn(&Value) -> Result<Answer, String>) {
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in answers.lines() {
        let expected: Value = serde_json::from_str(line).expect("a line is an answer");
        let actual = ours(&expected).unwrap_or_else(|error| {
            Answer::from_iter([("error".to_owned(), Value::String(error))])
        });
        let fields = [
            "error",
            "matches",
            "replaced",
            "nanoseconds",
            "printed",
            "bytes",
            "valid",
            "holds",
            "strict",
            "order",
        ];
        let same = fields
            .iter()
            .all(|field| expected.get(field) == actual.get(*field));
        let known = KNOWN
            .iter()
            .any(|(pattern, _)| expected["pattern"] == *pattern);
        checked += 1;
        if same == known {
            wrong.push(format!("  Go: {expected}\nours: {actual:?}"));
        }
    }
    assert!(checked >= least, "only {checked} questions were checked");
    let count = wrong.len();
    wrong.truncate(20);
    assert!(count == 0, "{count} of {checked}:\n{}", wrong.join("\n"));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What Go's `FindStringSubmatchIndex` gives.
fn offsets(regex: &regex::Regex, text: &str) -> Value {
    let Some(captures) = regex.captures(text) else {
        return Value::Null;
    };
    let pairs = captures.iter().flat_map(|group| match group {
        Some(group) => [json!(group.start()), json!(group.end())],
        None => [json!(-1), json!(-1)],
    });
    pairs.collect()
}

#[test]
fn patterns_mean_what_they_mean_in_go() {
    check(include_str!("regex_answers.jsonl"), 2000, |question| {
        let regex = compile(text(&question["pattern"])).map_err(|error| error.to_string())?;
        let texts = question["texts"].as_array().into_iter().flatten();
        let texts: Vec<&str> = texts.map(text).collect();
        let matches = texts.iter().map(|text| offsets(&regex, text));
        let template = text(&question["template"]);
        let replaced = texts
            .iter()
            .map(|text| Value::String(replace_all(&regex, text, template)));
        Ok(Answer::from_iter([
            ("matches".to_owned(), matches.collect()),
            ("replaced".to_owned(), replaced.collect()),
        ]))
    });
}

#[test]
fn durations_are_read_and_printed_as_go_does() {
    check(include_str!("duration_answers.jsonl"), 300, |question| {
        let nanoseconds =
            duration::parse(text(&question["duration"])).map_err(|error| error.to_string())?;
        let printed = ("printed".to_owned(), json!(duration::print(nanoseconds)));
        // Go leaves out what is zero.
        let number = (nanoseconds != 0).then(|| ("nanoseconds".to_owned(), json!(nanoseconds)));
        Ok([printed].into_iter().chain(number).collect())
    });
}

#[test]
fn base64_is_decoded_as_go_does() {
    check(include_str!("base64_answers.jsonl"), 300, |question| {
        let alphabet = match text(&question["alphabet"]) {
            "url" => Alphabet::UrlSafe,
            _ => Alphabet::Standard,
        };
        let decoded = base64::decode(text(&question["base64"]).as_bytes(), alphabet)
            .map_err(|error| error.to_string())?;
        let digits: String = decoded.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Answer::from_iter([("bytes".to_owned(), json!(digits))]))
    });
}

/// Whether the constraint takes each version, as the letters `y` and `n`.
fn satisfied(constraint: &Constraint, versions: &Value) -> String {
    let versions = versions.as_array().into_iter().flatten();
    let versions = versions.map(|version| Version::parse(text(version)).expect("a version"));
    versions
        .map(|version| if constraint.holds(&version) { 'y' } else { 'n' })
        .collect()
}

#[test]
fn versions_and_constraints_mean_what_they_mean_in_go() {
    check(include_str!("semver_answers.jsonl"), 1300, |question| {
        let mut answer = Answer::new();
        if let Some(constraint) = question["constraint"].as_str() {
            let constraint = Constraint::parse(constraint);
            answer.insert("valid".to_owned(), json!(constraint.is_some()));
            if let Some(constraint) = constraint {
                let holds = satisfied(&constraint, &question["versions"]);
                answer.insert("holds".to_owned(), json!(holds));
            }
            return Ok(answer);
        }
        let version = Version::parse(text(&question["version"]));
        answer.insert("valid".to_owned(), json!(version.is_some()));
        if Version::parse_strict(text(&question["version"])).is_some() {
            answer.insert("strict".to_owned(), json!(true));
        }
        if let Some(version) = version {
            answer.insert("printed".to_owned(), json!(version.to_string()));
            if let Some(other) = Version::parse(text(&question["other"])) {
                answer.insert("order".to_owned(), json!(version.compare(&other) as i8));
            }
        }
        Ok(answer)
    });
}

proptest! {
    /// The printed pattern is one that the `regex` crate accepts.
    #[test]
    fn any_pattern_compiles_or_has_an_error_of_go(
        pattern in r"[ab\[\]\\(){}?*+|^$\-:<>Pisx0-9,é&~pL]{0,24}"
    ) {
        if let Err(error) = compile(&pattern) {
            prop_assert_ne!(error.code(), ErrorCode::Internal, "{}", pattern);
        }
    }

    /// The letters have two to four bytes, so a cut at a byte would stand inside one of them.
    #[test]
    fn no_letter_of_several_bytes_panics(
        text in r"(é|ſ|€|😀|µs|μ|[0-9.]|[v<>=~^!|, xX*+-]| - |\|\||h|\[|\]|\(|\)|\{|\}|\\|\$|\?){0,12}"
    ) {
        let _ = (Version::parse(&text), Version::parse_strict(&text));
        if let Some(constraint) = Constraint::parse(&text) {
            let _ = constraint.holds(&Version::parse("1.2.3").expect("a version"));
        }
        let _ = duration::parse(&text);
        let _ = base64::decode(text.as_bytes(), Alphabet::Standard);
        if let Ok(regex) = compile(&text) {
            let _ = replace_all(&regex, &text, &text);
        }
    }

    #[test]
    fn a_quoted_text_matches_itself(text in any::<String>()) {
        let regex = compile(&format!("^{}$", quote_meta(&text))).expect("a quoted text is a pattern");
        prop_assert!(regex.is_match(&text));
    }

    #[test]
    fn a_printed_duration_is_read_back(nanoseconds in any::<i64>()) {
        prop_assert_eq!(duration::parse(&duration::print(nanoseconds)), Ok(nanoseconds));
    }
}
