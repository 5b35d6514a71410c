//! `overlayd iam` and `overlayd cost`, on the repository's own base, as the README shows them.

use std::path::Path;

use crate::{folder, overlayd};

fn here(args: &[&str]) -> String {
    overlayd(Path::new(env!("CARGO_MANIFEST_DIR")), args)
}

#[test]
fn the_policy_of_our_own_base() {
    let text = here(&["iam", "base", "--account", "123456789012"]);
    assert!(
        text.starts_with(
            "exit 0\n--- stdout\n# the daemon's own identity in us-east-1, account 123456789012\n"
        ),
        "{text}"
    );
    for line in [
        "#   secretsmanager:GetSecretValue       arn:aws:secretsmanager:us-east-1:123456789012:secret:training/db-credentials-??????  ExternalSecret external-secrets/db-creds\n",
        "        \"secretsmanager:BatchGetSecretValue\",\n",
        "\"Version\": \"2012-10-17\"\n",
    ] {
        assert!(text.contains(line), "{line} not in:\n{text}");
    }
    let json = here(&["iam", "base", "-o", "json"]);
    assert!(
        json.contains("\"account\": \"*\"")
            && json.contains("secretsmanager:us-east-1:*:secret:training/db-credentials-??????"),
        "{json}"
    );
}

#[test]
fn the_cost_of_our_own_base() {
    let text = here(&["cost", "base"]);
    let row = "ClusterSecretStore aws-secrets-manager        1                1        288      0.04                 288              0.04\n";
    assert!(text.starts_with("exit 0\n--- stdout\nSTORE "), "{text}");
    assert!(text.contains(row), "{text}");
    let json = here(&["cost", "base", "-o", "json"]);
    assert!(json.contains("\"callsPerDay\": 288.0"), "{json}");
}

#[test]
fn what_is_left_out_is_said() {
    let secret = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db, namespace: team}\nspec:\n  secretStoreRef: {name: nowhere}\n  data: [{secretKey: k, remoteRef: {key: a}}]\n";
    let files = [
        ("kustomization.yaml", "resources: [es.yaml]\n"),
        ("es.yaml", secret),
    ];
    let directory = folder(&files);
    let text = overlayd(directory.path(), &["iam", "."]);
    let expected = "exit 0\n--- stdout\n--- stderr\nnote: ExternalSecret team/db is left out: SecretStore `nowhere` is not here\nnothing is read from AWS here\n";
    assert_eq!(text, expected);
}
