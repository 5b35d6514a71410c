//! Paths lead where the Go package gjson leads. A line of `paths.txt` is the number of a text of `texts.json` and a
//! path; `answers.jsonl` has gjson's answers, recorded by `cargo xtask oracle paths --record`.

use proptest::prelude::*;
use serde_json::Value;

/// Lines of `paths.txt` whose answers differ, and why.
const KNOWN: &[(usize, &str)] = &[];

#[test]
fn paths_lead_where_gjson_leads() {
    let texts: Vec<String> = serde_json::from_str(include_str!("texts.json")).unwrap();
    let paths = include_str!("paths.txt").lines();
    let answers = include_str!("answers.jsonl").lines();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (number, (line, answer)) in (1..).zip(paths.zip(answers)) {
        let (text, path) = line.split_once(' ').unwrap();
        let text = &texts[text.parse::<usize>().unwrap()];
        let answer: Value = serde_json::from_str(answer).unwrap();
        let found = gjson::get(text.as_bytes(), path).unwrap();
        let found = found.map(|found| String::from_utf8_lossy(&found).into_owned());
        let same = found.as_deref() == answer["out"].as_str();
        checked += 1;
        if same == KNOWN.iter().any(|(line, _)| *line == number) {
            wrong.push(format!(
                "{number}: {path:?} in {text}\n  Go: {answer}\nours: {found:?}"
            ));
        }
    }
    assert!(checked > 5000, "only {checked} paths were checked");
    assert!(
        wrong.is_empty(),
        "{} of {checked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let json = br#"{"a":"\"\"\"\"","b":[[[[1]]]]}"#;
    let doubling = "@tostr|".repeat(80);
    let copies = "{a:@this,b:@this}|".repeat(60);
    let deep = "a.".repeat(5000);
    let nested = format!("{}a", "[".repeat(5000));
    for path in [doubling, copies] {
        assert_eq!(gjson::get(json, &path), Err(gjson::TooMuch), "{path}");
    }
    for path in [deep, nested] {
        assert_eq!(gjson::get(json, &path), Ok(None), "{path}");
    }
    let brackets = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    for path in [
        "0.".repeat(5000).as_str(),
        "@pretty",
        "@dig:x",
        "@flatten:{\"deep\":true}",
    ] {
        assert_eq!(gjson::get(&brackets, path), Err(gjson::TooMuch), "{path}");
    }
}

proptest! {
    #[test]
    fn no_path_and_no_text_panics(path in r#"[ab0.#|@{}\[\]()"\\*?:,=<>!~%]{0,24}|(@(keys|dig:a|group|join|flatten|tostr|fromstr|pretty)[.|]?){1,4}"#, json in r#"[a{}\[\]":,0-9\\ntu.eE+-]{0,40}"#) {
        let _ = gjson::get(json.as_bytes(), &path);
    }

    /// The letters have two to four bytes, so a cut at a byte would stand inside one of them.
    #[test]
    fn no_letter_of_several_bytes_panics(
        path in r#"(é|€|😀|[ab.#|*?\\:,~"(){}\[\]@]|@tostr|@pretty|@dig:|\#\("é"|%"é\*"){0,12}"#,
        json in r#"(é|€|😀|\\u00e9|\\ud83d|\\|[{}\[\]":,0a]|"é":|"€"){0,20}"#,
    ) {
        let _ = gjson::get(json.as_bytes(), &path);
    }
}
