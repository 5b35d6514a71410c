//! Any template is rendered or refused, the same every time, within its limits: no panic, no hang.

use gotemplate::{Environment, Template};
use proptest::prelude::*;

const DATA: [(&str, &[u8]); 4] = [
    ("a", b"value"),
    ("num", b"42"),
    ("json", br#"{"user":"u","list":[1,2,{"x":null}]}"#),
    ("bin", b"\xff\x00\xfe"),
];

fn outcome(template: &str) -> Result<Vec<u8>, String> {
    let parsed = Template::parse("t", template).map_err(|error| error.to_string())?;
    let rendered = parsed.render(DATA, &Environment::fixed());
    rendered.map_err(|error| error.to_string())
}

/// Templates of the corpus, some of which take their pieces from each other.
fn crossed() -> impl Strategy<Value = String> {
    let corpus: Vec<String> = include_str!("corpus.txt")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON string"))
        .collect();
    let one = || prop::sample::select(corpus.clone());
    let cut = |text: &str, at: usize| {
        let at = at % (text.len() + 1);
        (0..=at)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or_default()
    };
    (one(), one(), any::<usize>(), any::<usize>()).prop_map(move |(first, second, from, to)| {
        format!(
            "{}{}",
            &first[..cut(&first, from)],
            &second[cut(&second, to)..]
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_a_template_panic(text in "(\\{\\{-? ?|-? ?\\}\\}|[a-z.$|()\"` :=,]{0,6}|range|end|if|else|with|define|printf|0x[0-9]{0,9}|[^a-z]{0,3}){0,12}") {
        prop_assert_eq!(outcome(&text), outcome(&text));
    }

    #[test]
    fn pieces_of_templates_end_in_text_or_an_error(text in crossed()) {
        prop_assert_eq!(outcome(&text), outcome(&text));
    }
}

#[test]
fn what_is_too_much_is_refused() {
    for (template, expected) in [
        (
            "{{ range until 2000000 }}{{ range until 2000000 }}x{{ end }}{{ end }}",
            "steps",
        ),
        ("{{ repeat 1000000000 .a }}", "steps"),
        (
            "{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}",
            "exceeded maximum template depth",
        ),
        (
            "{{ range until 100000 }}{{ repeat 200 \"x\" }}{{ end }}",
            "the output is larger than",
        ),
        ("{{ randAlphaNum 1000000000 }}", "steps"),
        ("{{ indent 1000000000 .a }}", "steps"),
        (
            "{{ printf \"%1000000000d\" 1 }}{{ fail \"a width that Go ignores\" }}",
            "a width",
        ),
        ("{{ seq 1 1000000000 }}", "steps"),
        (
            "{{ \"a\" | mustRegexMatch \"((a{1000}){1000}){1000}\" }}",
            "error calling mustRegexMatch",
        ),
        (
            "{{ regexReplaceAll \"\" (repeat 1000000 \"a\") (repeat 100000 \"b\") }}",
            "steps",
        ),
        ("{{ splitList \"\" (repeat 100000000 \"a\") }}", "steps"),
    ] {
        let error = outcome(template).expect_err(template);
        assert!(error.contains(expected), "{template}: {error}");
    }
}

#[test]
fn what_looks_at_the_time_or_uses_chance_is_known() {
    for (text, expected) in [
        ("{{ .a | upper }}", false),
        ("{{ \"a\" | sha256sum }}", false),
        ("{{ now | date \"2006\" }}", true),
        ("{{ date \"2006\" 0 }}", false),
        ("{{ randAlpha 3 }}", true),
        ("{{ if false }}{{ uuidv4 }}{{ end }}", false),
        ("{{ ago 0 }}", true),
    ] {
        let environment = Environment::fixed();
        let template = Template::parse("t", text).unwrap();
        template
            .render([("a", b"b".as_slice())], &environment)
            .unwrap();
        assert_eq!(environment.is_volatile(), expected, "{text}");
    }
}
