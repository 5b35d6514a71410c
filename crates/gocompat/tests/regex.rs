//! Regular expressions match, replace and fail as they do in Go. `regex_answers.jsonl` holds a pattern per line with
//! Go's answer, recorded with Go 1.26 by the program in `oracle/`.

use gocompat::regex::{ErrorCode, compile, quote_meta, replace_all};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Patterns whose answer differs from Go's, and why.
const KNOWN: &[(&str, &str)] = &[
    (r"\p{Old_Italic}", SCRIPTS_OF_SEVERAL_WORDS),
    (r"\P{^L}{600}\_[]a]*?\Q.\E", COMPILED_SIZE),
    (r"\PN{600}\x41", COMPILED_SIZE),
];
const SCRIPTS_OF_SEVERAL_WORDS: &str =
    "Go 1.25 no longer finds scripts of several words, which older versions of Go know";
const COMPILED_SIZE: &str = "the compiled pattern takes more than a stranger's pattern may take";

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

fn text(value: &Value) -> &str {
    value.as_str().expect("a question has texts")
}

/// Our answer to a question, in the form of Go's.
fn answer(question: &Value) -> Value {
    let mut answer = question.clone();
    let fields = answer.as_object_mut().expect("a question is an object");
    for field in ["error", "matches", "replaced"] {
        fields.remove(field);
    }
    let template = text(&question["template"]);
    match compile(text(&question["pattern"])) {
        Err(error) => {
            fields.insert("error".to_owned(), json!(error.to_string()));
        }
        Ok(regex) => {
            let texts = question["texts"].as_array().into_iter().flatten();
            let texts: Vec<&str> = texts.map(text).collect();
            let matches: Vec<Value> = texts.iter().map(|text| offsets(&regex, text)).collect();
            let replaced = texts.iter().map(|text| replace_all(&regex, text, template));
            let replaced: Vec<String> = replaced.collect();
            fields.insert("matches".to_owned(), json!(matches));
            fields.insert("replaced".to_owned(), json!(replaced));
        }
    }
    answer
}

#[test]
fn patterns_mean_what_they_mean_in_go() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in include_str!("regex_answers.jsonl").lines() {
        let expected: Value = serde_json::from_str(line).unwrap();
        let actual = answer(&expected);
        let known = KNOWN
            .iter()
            .any(|(pattern, _)| expected["pattern"] == *pattern);
        checked += 1;
        if (actual == expected) == known {
            wrong.push(format!("  Go: {expected}\nours: {actual}"));
        }
    }
    assert!(checked > 1500, "only {checked} patterns were checked");
    let count = wrong.len();
    wrong.truncate(20);
    assert!(count == 0, "{count} of {checked}:\n{}", wrong.join("\n"));
}

proptest! {
    /// The printed pattern is one that the `regex` crate accepts.
    #[test]
    fn any_pattern_compiles_or_has_an_error_of_go(pattern in r"[ab\[\]\\(){}?*+|^$\-:<>Pisx0-9,é&~pL]{0,24}") {
        if let Err(error) = compile(&pattern) {
            prop_assert_ne!(error.code(), ErrorCode::Internal, "{}", pattern);
        }
    }

    #[test]
    fn a_quoted_text_matches_itself(text in any::<String>()) {
        let regex = compile(&format!("^{}$", quote_meta(&text))).expect("a quoted text is a pattern");
        prop_assert!(regex.is_match(&text));
    }
}
