//! Where the values come from: searches, tags, parameters, generators, templates; and what is made of them.

use serde_json::{Value, json};

use crate::bed::Case;

fn aws() -> Value {
    json!({"kind": "ClusterSecretStore", "name": "aws"})
}

#[test]
fn searches_and_tags() {
    let case = Case::new("source-find");
    for (name, value, team) in [
        ("find/a-user", "u", "web"),
        ("find/a-pass", "p", "web"),
        ("find/b-user", "v", "shop"),
    ] {
        case.bed.aws.put(name, value);
        case.bed.aws.tag(name, &[("team", team)]);
    }
    let from = |find: Value, rewrite: Value| {
        json!({
            "refreshInterval": "1s", "secretStoreRef": aws(),
            "dataFrom": [{"find": find, "rewrite": rewrite}],
        })
    };
    let strip = json!([{"regexp": {"source": "^find/", "target": ""}}]);
    case.apply(
        "externalsecrets",
        "by-name",
        from(json!({"name": {"regexp": "^find/a-"}}), json!([])),
    );
    case.apply(
        "externalsecrets",
        "by-tag",
        from(json!({"tags": {"team": "shop"}}), strip.clone()),
    );
    case.apply(
        "externalsecrets",
        "by-path",
        from(json!({"path": "find/", "name": {"regexp": "user$"}}), strip),
    );
    case.secret_is("by-name", "find_a-user", "u");
    case.secret_is("by-name", "find_a-pass", "p");
    case.secret_is("by-tag", "b-user", "v");
    case.secret_is("by-path", "a-user", "u");
    case.secret_is("by-path", "b-user", "v");
    case.bed.aws.put("find/a-more", "m");
    case.secret_is("by-name", "find_a-more", "m");
    case.apply(
        "externalsecrets",
        "nothing",
        from(json!({"name": {"regexp": "^nobody"}}), json!([])),
    );
    case.ready(
        "externalsecrets",
        "nothing",
        "True",
        "secret retained due to DeletionPolicy=Retain: the stores have no values for it",
    );
    assert!(case.get("secrets", "nothing").is_none());
    let tag = json!({"key": "find/a-user", "metadataPolicy": "Fetch", "property": "team"});
    case.external_secret("tags", json!([{"secretKey": "k", "remoteRef": tag}]));
    case.secret_is("tags", "k", "web");
}

#[test]
fn parameters() {
    let case = Case::new("source-parameters");
    case.apply(
        "secretstores",
        "parameters",
        json!({"provider": {"aws": {"service": "ParameterStore", "region": "us-east-1", "prefix": "/parameters"}}}),
    );
    case.bed
        .aws
        .put_parameter("/parameters/db", r#"{"user":"u","port":5432}"#);
    let spec = json!({
        "refreshInterval": "1s",
        "secretStoreRef": {"name": "parameters"},
        "data": [{"secretKey": "port", "remoteRef": {"key": "/db", "property": "port"}}],
        "dataFrom": [
            {"extract": {"key": "/db"}},
            {"find": {"path": "/parameters", "name": {"regexp": "db$"}}},
        ],
    });
    case.apply("externalsecrets", "db", spec);
    case.secret_is("db", "user", "u");
    case.secret_is("db", "port", "5432");
    case.secret_is("db", "_parameters_db", r#"{"user":"u","port":5432}"#);
    case.bed
        .aws
        .put_parameter("/parameters/db", r#"{"user":"v","port":5432}"#);
    case.secret_is("db", "user", "v");
}

#[test]
fn a_generated_value_stays_until_it_is_asked_for_again() {
    let case = Case::new("source-generators");
    case.apply(
        "passwords",
        "strong",
        json!({"length": 30, "digits": 5, "symbols": 0, "noUpper": true, "allowRepeat": true, "secretKeys": ["db"]}),
    );
    case.apply("fakes", "fixed", json!({"data": {"key": "fixed"}}));
    let generator = |kind: &str, name: &str| json!({"sourceRef": {"generatorRef": {"apiVersion": "generators.external-secrets.io/v1alpha1", "kind": kind, "name": name}}});
    let spec = json!({
        "refreshInterval": "0",
        "dataFrom": [
            generator("Password", "strong"),
            generator("Fake", "fixed"),
            generator("UUID", "late"),
        ],
    });
    case.apply("externalsecrets", "made", spec.clone());
    case.ready(
        "externalsecrets",
        "made",
        "False",
        "UUID `late` does not exist",
    );
    // What comes to be wakes those who wait for it.
    case.apply("uuids", "late", json!({}));
    case.secret_is("made", "key", "fixed");
    let made = case.get("secrets", "made").unwrap();
    let password = made["data"]["db"].as_str().unwrap().to_owned();
    assert_eq!(password.len(), 40, "thirty characters in base64");
    case.patch(
        "secrets",
        "made",
        json!({"metadata": {"annotations": {"note": "n"}}}),
    );
    case.patch("passwords", "strong", json!({"spec": {"length": 31}}));
    // Generators of a kind are watched in order. Each of these is seen after the change above, and the second one is made
    // when the first one has been used, so by then whatever the change asks for was done.
    for name in ["later", "latest"] {
        let spec = json!({"refreshInterval": "0", "dataFrom": [generator("Password", name)]});
        case.apply("externalsecrets", name, spec);
        let missing = format!("Password `{name}` does not exist");
        case.ready("externalsecrets", name, "False", &missing);
        case.apply("passwords", name, json!({"length": 8}));
        case.ready("externalsecrets", name, "True", "secret synced");
    }
    let again = case.get("secrets", "made").unwrap();
    assert_eq!(again["data"], made["data"], "nobody asked for another one");
    case.delete("secrets", "made");
    case.wait("secrets", "made", "a new one", |secret| {
        secret["data"]["db"]
            .as_str()
            .is_some_and(|new| new != password)
    });
}

#[test]
fn generators_for_all_namespaces_and_those_that_are_not_there() {
    let case = Case::new("source-cluster-generator");
    let cluster = &case.bed.cluster;
    let object = |name: &str, spec: Value| {
        let object = json!({"apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "ClusterGenerator", "metadata": {"name": name}, "spec": spec});
        let path =
            format!("/apis/generators.external-secrets.io/v1alpha1/clustergenerators/{name}");
        cluster.apply(&path, &object).unwrap();
    };
    object(
        "shared",
        json!({"kind": "Fake", "generator": {"fakeSpec": {"data": {"k": "shared"}}}}),
    );
    object(
        "unknown",
        json!({"kind": "SSHKey", "generator": {"sshKeySpec": {"keyType": "rsa"}}}),
    );
    let spec = |kind: &str, name: &str| json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": kind, "name": name}}}]});
    case.apply(
        "externalsecrets",
        "shared",
        spec("ClusterGenerator", "shared"),
    );
    case.secret_is("shared", "k", "shared");
    case.apply(
        "externalsecrets",
        "unknown",
        spec("ClusterGenerator", "unknown"),
    );
    case.ready(
        "externalsecrets",
        "unknown",
        "False",
        "`dataFrom[0].sourceRef.generatorRef`: generators of kind SSHKey are not supported by overlayd",
    );
    case.apply("externalsecrets", "vault", spec("VaultDynamicSecret", "v"));
    case.ready(
        "externalsecrets",
        "vault",
        "False",
        "generators of kind VaultDynamicSecret are not supported by overlayd",
    );
    case.apply(
        "fakes",
        "others",
        json!({"controller": "another", "data": {"k": "v"}}),
    );
    case.apply("externalsecrets", "others", spec("Fake", "others"));
    case.ready(
        "externalsecrets",
        "others",
        "False",
        "Fake `others` is of the class `another`, which another controller serves",
    );
}

#[test]
fn a_template_that_changes_is_followed_at_once() {
    let case = Case::new("source-template");
    case.fake_store(&[("a", "v")]);
    let map = |text: &str| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t"}, "data": {"f": text}});
        case.bed
            .cluster
            .apply(&case.path("configmaps", "t"), &map)
            .unwrap();
    };
    let secret = |text: &str| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t"}, "stringData": {"g": text}});
        case.bed
            .cluster
            .apply(&case.path("secrets", "t"), &secret)
            .unwrap();
    };
    map("one {{ .k }}");
    secret("one {{ .k }}");
    let template = json!({"templateFrom": [
        {"configMap": {"name": "t", "items": [{"key": "f"}]}},
        {"secret": {"name": "t", "items": [{"key": "g"}]}},
    ]});
    case.of_fake("db", "a", json!({"template": template}), json!({}));
    case.secret_is("db", "f", "one v");
    case.secret_is("db", "g", "one v");
    map("two {{ .k }}");
    case.secret_is("db", "f", "two v");
    secret("two {{ .k }}");
    case.secret_is("db", "g", "two v");
}

#[test]
fn documents_of_many_lines_and_docker_configurations() {
    let case = Case::new("source-forms");
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n";
    let docker = r#"{"auths":{"registry.example":{"auth":"dTpw"}}}"#;
    case.bed.aws.put("forms/ssh", key);
    let both = json!({"ssh-key": key, "docker": docker, "object": {"auths": {}}});
    case.bed.aws.put("forms/json", &both.to_string());
    let entry = |key: &str, remote: &str, property: Option<&str>| json!({"secretKey": key, "remoteRef": {"key": remote, "property": property}});
    case.external_secret(
        "ssh",
        json!([
            entry("direct", "forms/ssh", None),
            entry("property", "forms/json", Some("ssh-key")),
        ]),
    );
    case.secret_is("ssh", "direct", key);
    case.secret_is("ssh", "property", key);
    let docker_type = |property: &str| {
        json!({
            "secretStoreRef": aws(),
            "data": [entry("config", "forms/json", Some(property))],
            "target": {"template": {
                "type": "kubernetes.io/dockerconfigjson",
                "data": {".dockerconfigjson": "{{ .config }}"},
            }},
        })
    };
    case.apply("externalsecrets", "docker", docker_type("docker"));
    case.secret_is("docker", ".dockerconfigjson", docker);
    let secret = case.get("secrets", "docker").unwrap();
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    case.apply("externalsecrets", "object", docker_type("object"));
    case.secret_is("object", ".dockerconfigjson", r#"{"auths":{}}"#);
    // The type of a Secret cannot change, and that is said.
    case.apply(
        "externalsecrets",
        "docker",
        json!({
            "secretStoreRef": aws(),
            "data": [entry("config", "forms/json", Some("docker"))],
            "target": {"template": {"type": "Opaque"}},
        }),
    );
    case.ready(
        "externalsecrets",
        "docker",
        "False",
        "the API server refuses the Secret: Invalid (422) about type",
    );
}

#[test]
fn templates_add_finalizers_and_metadata_alone() {
    let case = Case::new("source-finalizers");
    case.fake_store(&[("a", "v")]);
    let template =
        json!({"metadata": {"labels": {"l": "{{ .k }}"}, "finalizers": ["example.org/hold"]}});
    case.of_fake("db", "a", json!({"template": template}), json!({}));
    case.secret_is("db", "k", "v");
    let secret = case.get("secrets", "db").unwrap();
    assert_eq!(secret["metadata"]["labels"]["l"], "v");
    assert_eq!(
        secret["metadata"]["finalizers"],
        json!(["example.org/hold"])
    );
    case.patch("secrets", "db", json!({"metadata": {"finalizers": null}}));
}

#[test]
fn what_no_secret_can_hold_is_said_without_its_value() {
    let case = Case::new("source-bad");
    let canary = "canary-bad-source";
    let big = format!("{canary}{}", "x".repeat(60_000));
    case.fake_store(&[("a", canary), ("big", &big)]);
    let check = |name: &str, key: &str, target: Value, message: &str| {
        case.of_fake(name, key, target, json!({}));
        case.ready("externalsecrets", name, "False", message);
        assert!(case.get("secrets", name).is_none());
    };
    let template = |template: Value| json!({"template": template});
    check(
        "huge",
        "big",
        template(json!({"data": {"all": "{{ repeat 20 .k }}"}})),
        "the Secret would hold 1200340 bytes, and no more than 1 MiB fits; the largest value has 1200340 bytes under `all`",
    );
    check(
        "key",
        "a",
        template(json!({"templateFrom": [{"literal": "\"{{ .k }} x\": y"}]})),
        "key 1 of 1, in the order of their names, is no valid key of a Secret",
    );
    check(
        "label",
        "a",
        template(json!({"metadata": {"labels": {"l": "{{ .k }} x"}}})),
        "the API server refuses the Secret: Invalid (422) about metadata.labels",
    );
    check(
        "date",
        "a",
        template(json!({"data": {"d": "{{ mustToDate \"2006\" .k }}"}})),
        "`target.template.data.d`: template: d:1:3: executing \"d\"",
    );
    check(
        "regexp",
        "a",
        template(json!({"data": {"d": "{{ mustRegexMatch .k \"x\" }}{{ fail .k }}"}})),
        "`target.template.data.d`: template: d:1:",
    );
    check(
        "endless",
        "a",
        template(json!({"data": {"d": "{{ range until 3000000 }}x{{ end }}"}})),
        "the template does more than is allowed",
    );
    let rewrite = json!({"data": [], "dataFrom": [{"find": {"name": {"regexp": "a"}}, "rewrite": [{"regexp": {"source": "(", "target": ""}}]}]});
    case.of_fake("rewrite", "a", json!({}), rewrite);
    case.ready(
        "externalsecrets",
        "rewrite",
        "False",
        "dataFrom[0].find: rewrite[0].regexp.source: missing closing )",
    );
    for kind in ["externalsecrets", "events"] {
        let objects = case.get(kind, "").unwrap();
        assert!(!objects.to_string().contains(canary), "{kind}");
    }
    assert!(!case.bed.daemon.log().contains(canary));
}
