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

/// Functions that take a text apart.
const PARSERS: [&str; 30] = [
    "{{ printf .a 1 .b 2.5 }}",
    "{{ printf (print \"%\" .a) .b }}",
    "{{ date .a (toDate \"2006-01-02\" \"2024-02-03\") }}",
    "{{ toDate .a .b }}",
    "{{ toDate (print \"02 Jan 2006 15:04:05.000 MST\" .a) (print \"03 Feb 2024 04:05:06.789 CET\" .b) }}",
    "{{ toDate \"Monday Z07:00 pm\" .a }}",
    "{{ dateModify .a now }}",
    "{{ duration .a }}{{ durationRound .a }}",
    "{{ int64 .a }}{{ toDecimal .a }}{{ float64 .a }}{{ atoi .a }}",
    "{{ urlParse .a }}",
    "{{ base .a }}{{ dir .a }}{{ clean .a }}{{ ext .a }}",
    "{{ regexSplit .a .b -1 }}{{ regexFindAll .a .b -1 }}",
    "{{ regexReplaceAll .a .b .a }}{{ regexReplaceAllLiteral .a .b .a }}",
    "{{ filterPEM .a .b }}",
    "{{ filterPEM .a (print \"-----BEGIN \" .a \"-----\\n\" .b \"\\n-----END \" .a \"-----\") }}",
    "{{ semver .a }}",
    "{{ semverCompare .a \"1.2.3\" }}",
    "{{ .a | snakecase }}{{ .a | camelcase }}{{ .a | kebabcase }}{{ .a | swapcase }}",
    "{{ .a | title }}{{ .a | untitle }}{{ .a | initials }}{{ .a | upper }}{{ .a | lower }}",
    "{{ trunc 3 .a }}{{ trunc -3 .a }}",
    "{{ substr 1 3 .a }}{{ abbrev 5 .a }}{{ abbrevboth 2 6 .a }}",
    "{{ wrap 3 .a }}{{ wrapWith 2 .b .a }}{{ indent 2 .a }}",
    "{{ splitList .a .b }}{{ split .a .b }}{{ splitn .a 2 .b }}",
    "{{ trimAll .a .b }}{{ trimPrefix .a .b }}{{ trimSuffix .a .b }}",
    "{{ .a | b64dec }}{{ .a | b32dec }}{{ .a | hexdec }}",
    "{{ .a | fromJson }}{{ .a | fromYaml }}",
    "{{ .a | js }}{{ .a | html }}{{ .a | urlquery }}{{ .a | quote }}",
    "{{ htpasswd .a .b \"sha\" }}",
    "{{ nospace .a }}{{ plural .a .b 1 }}{{ replace .a .b .a }}",
    "{{ index .a 1 }}{{ slice .a 1 2 }}",
];

/// A text of pieces that mean something to a parser, and of letters with several bytes.
const VALUE: &str = "(é|ſ|€|😀|[0-9]|[%*.\\[\\]#+ v:/?@|(){}^$_,-]|Jan|Mon|PM|MST|2006|Z07:00|-----BEGIN |-----|\n){0,8}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_a_template_panic(text in "(\\{\\{-? ?|-? ?\\}\\}|[a-z.$|()\"` :=,]{0,6}|range|end|if|else|with|define|printf|0x[0-9]{0,9}|[^a-z]{0,3}){0,12}") {
        prop_assert_eq!(outcome(&text), outcome(&text));
    }

    /// The letters `é`, `ſ`, `€` and `😀` have two to four bytes, so a cut at a byte would stand inside one of them.
    #[test]
    fn no_value_makes_a_function_panic(
        function in prop::sample::select(PARSERS.to_vec()),
        first in VALUE,
        second in VALUE,
    ) {
        let template = Template::parse("t", function).expect(function);
        let data = [("a", first.as_bytes()), ("b", second.as_bytes())];
        let _ = template.render(data, &Environment::fixed());
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
        ("{{ repeat 1000000000 .a }}", "bytes"),
        (
            "{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}",
            "exceeded maximum template depth",
        ),
        (
            "{{ range until 100000 }}{{ repeat 200 \"x\" }}{{ end }}",
            "the output would have",
        ),
        ("{{ randAlphaNum 1000000000 }}", "steps"),
        ("{{ indent 1000000000 .a }}", "bytes"),
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
            "bytes",
        ),
        ("{{ splitList \"\" (repeat 100000000 \"a\") }}", "bytes"),
        ("{{ join (repeat 1000000 \"x\") (until 100000) }}", "bytes"),
        (
            "{{ wrapWith 1 (repeat 1000000 \"x\") (repeat 100000 \"a\") }}",
            "bytes",
        ),
        (
            "{{ replace \"a\" (repeat 100000 \"b\") (repeat 100000 \"a\") }}",
            "bytes",
        ),
        (
            "{{ regexReplaceAll \".+\" (repeat 100000 \"a\") (repeat 10000 \"$0\") }}",
            "bytes",
        ),
        (
            "{{ regexReplaceAllLiteral \"a\" (repeat 100000 \"a\") (repeat 100000 \"b\") }}",
            "bytes",
        ),
        (
            "{{ regexFindAll \".*[^A-Z]|[A-Z]\" (repeat 1000000 \"A\") -1 }}",
            "steps",
        ),
        (
            "{{ range until 100000 }}{{ regexMatch \"\\\\pL{10}\" \"a\" }}{{ end }}",
            "steps",
        ),
        ("{{ printf \"%1000000d\" (until 100000) }}", "bytes"),
        ("{{ printf \"%*d\" 1000000 (until 100000) }}", "bytes"),
        (
            "{{ printf (repeat 100000 \"%[1]s\") (repeat 100000 \"a\") }}",
            "bytes",
        ),
        (
            "{{ filterPEM \"X\" (repeat 90000 \"-----BEGIN X-----\\n\") }}",
            "steps",
        ),
        (
            "{{ trimAll (repeat 1000000 \"b\") (repeat 1000000 \"a\") }}",
            "steps",
        ),
        (
            "{{ contains (printf \"%sb\" (repeat 500000 \"a\")) (repeat 1000000 \"a\") }}",
            "steps",
        ),
    ] {
        let error = outcome(template).expect_err(template);
        assert!(error.contains(expected), "{template}: {error}");
    }
}

/// Each level of the list holds the level below ten times, so that thirty levels would print as 10³⁰ elements.
#[test]
fn values_that_share_their_parts_are_refused_before_they_are_printed() {
    for use_of_list in [
        "{{ $x }}",
        "{{ toString $x }}",
        "{{ print $x }}",
        "{{ printf \"%v\" $x }}",
        "{{ html $x }}",
        "{{ quote $x }}",
        "{{ cat $x }}",
        "{{ join \",\" $x }}",
        "{{ sortAlpha $x }}",
        "{{ toJson $x }}",
        "{{ mustToPrettyJson $x }}",
        "{{ toYaml $x }}",
        "{{ dict $x 1 }}",
        "{{ deepCopy $x }}",
        "{{ deepEqual $x $x }}",
        "{{ has $x (list $x) }}",
        "{{ uniq (list $x $x) }}",
        "{{ without (list $x) $x }}",
        "{{ eq $x $x }}",
    ] {
        let template = format!(
            "{{{{ $x := list 1 }}}}{{{{ range until 30 }}}}\
             {{{{ $x = list $x $x $x $x $x $x $x $x $x $x }}}}{{{{ end }}}}{use_of_list}"
        );
        let error = outcome(&template).expect_err(use_of_list);
        assert!(
            error.contains("more than is allowed"),
            "{use_of_list}: {error}"
        );
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
