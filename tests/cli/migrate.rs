//! `overlayd migrate check` of a repository, without a cluster.

use crate::{folder, overlayd};

const SOURCE: &str = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: apps, namespace: flux-system}\nspec: {url: 'ssh://git@example.com/apps', interval: 1m, secretRef: {name: deploy-key}}\n";
const UNIT: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: flux-system}\nspec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: apps}}\n";

#[test]
fn a_repository_that_is_served_as_it_is_needs_nothing() {
    let text = format!("{SOURCE}---\n{UNIT}");
    let directory = folder(&[
        ("clusters/sync.yaml", &text),
        (
            "chart/templates/a.yaml",
            "{{ if .Values.a }}\na: {{ .Values.b }}\n",
        ),
        ("values.yml", "a: 1\n"),
    ]);
    assert_eq!(
        overlayd(directory.path(), &["migrate", "check", "."]),
        "exit 0\n--- stdout\nserved as they are (2)\n  1 GitRepository\n  1 Kustomization\n\
         Secrets with credentials, which must stay (1)\n  flux-system/deploy-key\n\
         note: `chart/templates/a.yaml` is no YAML and was left out\n--- stderr\n"
    );
    let empty = folder(&[("a.yaml", "a: 1\n")]);
    assert_eq!(
        overlayd(empty.path(), &["migrate", "check", "."]),
        "exit 0\n--- stdout\nnothing of Flux or External Secrets was found\n--- stderr\n"
    );
}

#[test]
fn differences_and_refusals_are_listed_with_their_files_and_decide_the_exit_code() {
    let old = UNIT.replace("fluxcd.io/v1", "fluxcd.io/v1beta2");
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: db, namespace: apps}\nspec: {interval: 1m}\n";
    let directory = folder(&[
        (
            "old.yaml",
            &format!(
                "apiVersion: v1\nkind: List\nitems:\n- {}",
                old.trim_end().replace('\n', "\n  ")
            ),
        ),
        ("release.yaml", release),
    ]);
    let text = overlayd(directory.path(), &["migrate", "check", "."]);
    assert_eq!(
        text,
        "exit 1\n--- stdout\nnot served: their controller runs beside overlayd (1)\n\
         \x20 HelmRelease/apps/db in `release.yaml`: it needs helm-controller and source-controller of Flux; overlayd does not serve this kind\n\
         served, with a difference (1)\n\
         \x20 Kustomization/flux-system/apps in `old.yaml`: where `kustomize.toolkit.fluxcd.io/v1beta2` is not served, it is applied as `kustomize.toolkit.fluxcd.io/v1`; change the file\n--- stderr\n"
    );
    let sealed = UNIT.replace("prune: true", "prune: true, decryption: {provider: sops}");
    let directory = folder(&[("sealed.yaml", &sealed)]);
    let text = overlayd(directory.path(), &["migrate", "check", ".", "-o", "json"]);
    let json = text
        .strip_prefix("exit 2\n--- stdout\n")
        .and_then(|text| text.strip_suffix("--- stderr\n"));
    let json: serde_json::Value = serde_json::from_str(json.unwrap()).unwrap();
    assert_eq!(json["counts"]["refused"], 1);
    let finding = &json["findings"][0];
    assert_eq!(finding["file"], "sealed.yaml");
    assert_eq!(finding["reason"], "`spec.decryption` is not supported");
    let missing = overlayd(directory.path(), &["migrate", "check", "nowhere"]);
    assert!(
        missing.starts_with("exit 2\n--- stdout\n--- stderr\nerror: cannot read `nowhere`"),
        "{missing}"
    );
}
