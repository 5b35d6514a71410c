//! Templates print what Go's `text/template` with sprig prints. `corpus.txt` holds a template per line (a JSON
//! string), `answers.jsonl` Go's answer for each, recorded by
//! `cargo xtask oracle templates --record` with the data of `data.json`.
//!
//! Where Go fails, ours must fail, at the same place; the words may be others.

use std::collections::BTreeMap;

use gotemplate::{Environment, Template};
use serde_json::Value;

/// Line numbers of `corpus.txt` whose answers differ, and why.
const KNOWN: &[(usize, &str)] = &[
    (3758, YAML_ERRORS),
    (3759, YAML_ERRORS),
    (3760, YAML_ERRORS),
    (3761, YAML_ERRORS),
    (3762, YAML_ERRORS),
    (3818, YAML_ERRORS),
    (3819, YAML_ERRORS),
    (3820, YAML_ERRORS),
];
const YAML_ERRORS: &str = "what `fromYaml` puts under `Error` is in the words of another parser";

fn render(template: &str, data: &BTreeMap<String, String>) -> Result<String, String> {
    let data = data
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_bytes()));
    let environment = Environment::fixed();
    Template::parse("t", template)
        .and_then(|template| template.render(data, &environment))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| error.to_string())
}

/// `template: t:1:4: executing "t" at <.x>`, or only the line for a template that cannot be read.
fn place(error: &str) -> &str {
    match error.find(">: ").filter(|_| error.contains(": executing ")) {
        Some(end) => &error[..=end],
        None => {
            let colons = error.match_indices(": ").nth(1);
            colons.map_or(error, |(at, _)| &error[..at])
        }
    }
}

#[test]
fn templates_print_what_go_prints() {
    let data = serde_json::from_str(include_str!("data.json")).unwrap();
    let templates = include_str!("corpus.txt").lines();
    let answers = include_str!("answers.jsonl").lines();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (number, (template, answer)) in (1..).zip(templates.zip(answers)) {
        let template: String = serde_json::from_str(template).unwrap();
        let answer: Value = serde_json::from_str(answer).unwrap();
        let actual = render(&template, &data);
        let same = match (&actual, &answer["out"], &answer["err"]) {
            (Ok(text), Value::String(expected), _) => text == expected,
            (Err(error), _, Value::String(expected)) => place(error) == place(expected),
            _ => false,
        };
        checked += 1;
        let known = KNOWN.iter().any(|(line, _)| *line == number);
        if same == known {
            wrong.push(format!(
                "{number}: {template:?}\n   Go: {answer}\n ours: {actual:?}"
            ));
        }
    }
    assert!(checked > 7000, "only {checked} templates were checked");
    assert!(
        wrong.is_empty(),
        "{} of {checked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
