//! Small templates that ask for much memory or work are refused before it is taken, and the error says how much it was.
//!
//! One test runs the others again in a process whose address space is limited: without a budget, it would abort.

use std::process::Command;

use gotemplate::{Environment, Limits, Template};

/// The address space of the process that renders all of these, in KiB: the program, one render, and what is transient.
const ADDRESS_SPACE: &str = "700000";

fn render(template: &str, environment: &Environment<'_>) -> Result<Vec<u8>, String> {
    let long = "x,".repeat(500_000);
    let numbers = format!("[{}1]", "1,".repeat(500_000));
    let lines = "a\n".repeat(100_000);
    let data = [
        ("long", long.as_bytes()),
        ("numbers", numbers.as_bytes()),
        ("lines", lines.as_bytes()),
    ];
    Template::parse("t", template)
        .and_then(|template| template.render(data, environment))
        .map_err(|error| error.to_string())
}

#[track_caller]
fn refused(template: &str, expected: &str) {
    let error = render(template, &Environment::fixed()).expect_err("too much is refused");
    assert!(error.contains(expected), "{error}");
    assert!(
        error.starts_with("template: t:1:"),
        "it has a place: {error}"
    );
    assert!(error.len() < 400, "{error}");
}

const BYTES: &str = "bytes, and may take 67108864";
const STEPS: &str = "steps, and may take 2000000";

#[test]
fn texts_that_are_repeated() {
    refused(
        r#"{{ repeat 4000000000 "x" }}"#,
        "its values would need 4000000000 bytes, and may take 67108864",
    );
    refused("{{ repeat 1000 .long }}", BYTES);
    refused("{{ indent 1000000 .lines }}", BYTES);
    refused("{{ nindent 1000000 .lines }}", BYTES);
    refused(r#"{{ replace "" .long .long }}"#, BYTES);
    refused(r#"{{ replace "x" .lines .long }}"#, BYTES);
    refused("{{ join .long (splitList \",\" .long) }}", BYTES);
    refused("{{ wrapWith 1 .lines .long }}", BYTES);
    refused(
        r#"{{ printf "%99999999d" 1 | len }}{{ printf "%900000d%900000d%900000d" 1 2 3 | repeat 99 }}"#,
        BYTES,
    );
}

#[test]
fn random_texts() {
    refused("{{ randAlpha 1000000000 }}", STEPS);
    refused("{{ randBytes 30000000 }}", BYTES);
}

#[test]
fn lists() {
    refused("{{ until 1900000 }}", BYTES);
    refused("{{ untilStep 0 1000000000 1 }}", STEPS);
    refused("{{ seq 1 1000000000 }}", STEPS);
    refused(r#"{{ splitList "" (repeat 3 .long) }}"#, STEPS);
    refused(r#"{{ splitList "," (repeat 2 .long) }}"#, STEPS);
}

#[test]
fn values_that_share_their_parts() {
    let double = "{{ $a = list $a $a }}".repeat(40);
    for print in [
        "{{ $a }}",
        "{{ toJson $a }}",
        "{{ toYaml $a }}",
        "{{ toPrettyJson $a }}",
        "{{ deepCopy $a }}",
    ] {
        let template = format!("{{{{ $a := list .long }}}}{double}{print}");
        let error = render(&template, &Environment::fixed()).expect_err("2^40 values");
        assert!(error.contains(" and may take "), "{print}: {error}");
    }
}

#[test]
fn texts_that_are_parsed() {
    refused("{{ fromJson .numbers }}", BYTES);
    refused("{{ mustFromJson .numbers }}", BYTES);
    refused(
        "{{ toJson (splitList \",\" .long) }}{{ toJson (repeat 9 .long) }}",
        BYTES,
    );
}

#[test]
fn regular_expressions() {
    refused(
        r#"{{ $t := repeat 200 "$0" }}{{ regexReplaceAll ".+" .long $t }}"#,
        BYTES,
    );
    // The pattern's states × the bytes of the text.
    refused(r#"{{ regexMatch "x{900}x{900}x{900}y" .long }}"#, STEPS);
    refused(r#"{{ regexFindAll "x.*y|x" .long -1 }}"#, STEPS);
    refused(r#"{{ regexReplaceAllLiteral "x.*y|x" .long "z" }}"#, STEPS);
    refused(r#"{{ regexSplit "x.*y|x" .long -1 }}"#, STEPS);
}

#[test]
fn slow_functions() {
    refused(r#"{{ range until 1000 }}{{ bcrypt "x" }}{{ end }}"#, STEPS);
    refused(
        r#"{{ range until 1000 }}{{ derivePassword 1 "long" "p" "u" "s" }}{{ end }}"#,
        STEPS,
    );
    refused(r#"{{ genPrivateKey "rsa" }}"#.repeat(30).as_str(), STEPS);
}

#[test]
fn all_renders_with_one_environment_share_a_budget() {
    let mut environment = Environment::fixed();
    environment.limits = Limits {
        steps_of_all: 5_000,
        output_of_all: 2_500,
        ..Limits::default()
    };
    let steps = "{{ range until 1500 }}{{ end }}";
    let error = (0..9).find_map(|_| render(steps, &environment).err());
    let error = error.expect("the third is too much");
    assert!(error.contains("steps, and may take 5000"), "{error}");
    environment.limits.steps_of_all = 1_000_000;
    let text = "{{ repeat 1000 \"x\" }}";
    assert!((0..2).all(|_| render(text, &environment).is_ok()));
    let error = render(text, &environment).expect_err("the third is too much");
    assert!(
        error.contains(
            "the output of all templates together would have 3000 bytes, and may have 2500"
        ),
        "{error}"
    );
}

#[test]
fn honest_templates_are_within_the_budget() {
    let environment = Environment::fixed();
    for template in [
        "{{ .long }}",
        "{{ .long | b64enc | b64dec }}",
        "{{ .lines | indent 4 }}",
        "{{ range until 10000 }}{{ . }},{{ end }}",
        r#"{{ regexReplaceAll "([a-z]),([a-z])" (substr 0 4000 .long) "$2$1" }}"#,
        r#"{{ regexFindAll "[a-z]+" (substr 0 20000 .long) -1 | len }}"#,
        r#"{{ splitList "\n" (substr 0 20000 .lines) | join "," }}"#,
        r#"{{ dict "a" .long | toJson | fromJson | len }}"#,
    ] {
        assert_eq!(render(template, &environment).err(), None, "{template}");
    }
}

#[test]
fn refused_renders_fit_in_a_limited_address_space() {
    let program = std::env::current_exe().expect("a test is a program");
    let script = format!("ulimit -v {ADDRESS_SPACE} && exec \"$0\" \"$@\"");
    let filters = ["texts_", "random", "lists", "values", "regular"];
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .arg("--test-threads=1")
        .args(filters)
        .output()
        .expect("sh runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("6 passed"), "{text}");
}
