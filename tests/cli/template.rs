//! `overlayd template`.

use crate::{folder, overlayd};

const MANIFEST: &str = r#"apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: db
  namespace: team
  labels: {app: web}
spec:
  secretStoreRef: {name: aws}
  dataFrom:
  - extract: {key: team/db}
  target:
    name: db-url
    template:
      metadata:
        labels: {user: "{{ .user }}"}
      data:
        url: db://{{ .user }}:{{ .password }}@host
"#;

fn run(manifest: &str, values: &str, more: &[&str]) -> String {
    let directory = folder(&[("es.yaml", manifest), ("values.yaml", values)]);
    let args = [&["template", "es.yaml", "--values", "values.yaml"], more].concat();
    overlayd(directory.path(), &args)
}

#[test]
fn prints_the_secret_with_its_values_masked() {
    let values = "user: u\npassword: canary-template\n";
    let output = run(MANIFEST, values, &[]);
    assert_eq!(
        output,
        "exit 0\n--- stdout\n\
         apiVersion: v1\n\
         data:\n\
         \x20 url: '***'\n\
         kind: Secret\n\
         metadata:\n\
         \x20 labels:\n\
         \x20   reconcile.external-secrets.io/created-by: 3f8e77b122b6269e76d99e5235f7957df870c8e5f31926fe41387c8c\n\
         \x20   reconcile.external-secrets.io/managed: \"true\"\n\
         \x20   user: '***'\n\
         \x20 name: db-url\n\
         \x20 namespace: team\n\
         type: Opaque\n\
         --- stderr\n"
    );
    let shown = run(MANIFEST, values, &["--show"]);
    assert!(
        shown.contains("  url: ZGI6Ly91OmNhbmFyeS10ZW1wbGF0ZUBob3N0\n"),
        "{shown}"
    );
    assert!(shown.contains("reconcile.external-secrets.io/data-hash: "));
}

#[test]
fn says_what_is_wrong_with_a_template() {
    let output = run(MANIFEST, "user: u\n", &[]);
    assert_eq!(
        output,
        "exit 1\n--- stdout\n--- stderr\n\
         error: cannot make the Secret of `es.yaml`\n\
         \x20 cause: `target.template.data.url`: template: url:1:20: executing \"url\" at <.password>: map has no entry for key \"password\"\n"
    );
    let dated = MANIFEST.replace("{{ .password }}", "{{ mustToDate \"2006\" .password }}");
    let values = "user: u\npassword: canary-date\n";
    let hidden = run(&dated, values, &[]);
    assert!(hidden.starts_with("exit 1\n"), "{hidden}");
    assert!(!hidden.contains("canary-date"), "{hidden}");
    let shown = run(&dated, values, &["--show"]);
    assert!(shown.contains("canary-date"), "{shown}");
}

#[test]
fn templates_of_config_maps_stand_in_the_same_file() {
    let from = MANIFEST.replace(
        "      data:\n",
        "      templateFrom:\n      - configMap: {name: templates, items: [{key: app.ini}]}\n      data:\n",
    );
    let values = "user: u\npassword: p\n";
    let missing = run(&from, values, &[]);
    assert!(
        missing.contains("ConfigMap `templates` does not exist")
            && missing.contains("put its manifest into the file"),
        "{missing}"
    );
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: templates}\ndata: {app.ini: \"user = {{ .user }}\"}\n";
    let output = run(&format!("{from}{map}"), values, &["--show"]);
    assert!(output.contains("  app.ini: dXNlciA9IHU=\n"), "{output}");
}

#[test]
fn bad_files_are_named() {
    for (manifest, values, expected) in [
        (
            "kind: Secret\n",
            "a: b\n",
            "it holds no object of kind ExternalSecret",
        ),
        (MANIFEST, "- canary\n", "it is not a map"),
        (
            MANIFEST,
            "user: 1\n",
            "the value of `user` is a number or a boolean",
        ),
        (
            MANIFEST,
            "user: [canary]\n",
            "the value of `user` is no text",
        ),
        (MANIFEST, "user: \"canary\n", "it is not YAML at line"),
        (
            "kind: ExternalSecret\nspec: {target: {creationPolicy: Nobody}}\n",
            "a: b\n",
            "spec: unknown variant `Nobody`",
        ),
    ] {
        let output = run(manifest, values, &[]);
        assert!(
            output.starts_with("exit 1\n") && output.contains(expected),
            "{output}"
        );
        assert!(!output.contains("canary"), "{output}");
    }
}
