//! The kinds of faults that the advisories of Flux, kustomize and External Secrets tell of, one test for each kind. overlayd
//! has none of them, and each test is named after the kind, so that it stays so.

#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kustomize::{BuildOptions, FileEntry, FileTree, Files, LoadRestriction, RepoPath};
use overlayd_core::api::external_secret::{ExternalSecretSpec, Template};
use overlayd_core::api::git_repository::GitRepositorySpec;
use overlayd_core::api::receiver::ReceiverResource;
use overlayd_core::git::source::GitSource;
use overlayd_core::receiver_resources::check_resource;
use overlayd_core::schedule::{jittered, parse_duration, parse_interval};
use overlayd_core::secrets::desired::resolve;
use overlayd_core::secrets::refresh::{Changes, due};
use overlayd_core::secrets::render::render;
use overlayd_core::secrets::{SecretData, SecretValue};
use serde_json::{Value, json};

/// What Flux builds with: files may be named from anywhere in the source, and from nowhere else.
fn options() -> BuildOptions {
    BuildOptions {
        load_restriction: LoadRestriction::None,
        ..BuildOptions::default()
    }
}

#[track_caller]
fn refused(files: &[(&str, &str)], directory: &str) -> String {
    let tree = FileTree::of(files.iter().map(|&(path, text)| (path, text)));
    let directory = RepoPath::root().join(directory).unwrap();
    let built = kustomize::build(&tree, &directory, &options());
    built.map(|_| ()).unwrap_err().to_string()
}

/// CVE-2022-24877: a kustomization read files of the controller's pod.
#[test]
fn path_traversal_out_of_a_source() {
    let outside = [
        "../../etc/passwd",
        "/etc/passwd",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "file:///etc/passwd",
        "a/../../b.yaml",
    ];
    for path in outside {
        for kustomization in [
            format!("resources: [{path}]\n"),
            format!("components: [{path}]\n"),
            format!("patches: [{{path: {path}}}]\n"),
            format!("configMapGenerator: [{{name: a, files: ['k={path}']}}]\n"),
            format!("configMapGenerator: [{{name: a, envs: ['{path}']}}]\n"),
            format!("openapi: {{path: {path}}}\n"),
            format!("crds: [{path}]\n"),
            format!("replacements: [{{path: {path}}}]\n"),
            format!("transformers: [{path}]\n"),
            format!("generators: [{path}]\n"),
            format!("configurations: [{path}]\n"),
        ] {
            let error = refused(&[("app/kustomization.yaml", &kustomization)], "app");
            assert!(!error.contains("root:"), "{kustomization}: {error}");
        }
    }
    for path in ["..", "../x", "a/../../x", "/../x"] {
        assert!(RepoPath::root().join(path).is_err(), "{path}");
    }
}

/// Files with a link, as git stores it.
struct Linked(&'static str);

impl Files for Linked {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        Ok(match path.as_str() {
            "kustomization.yaml" => Some(FileEntry::File(None)),
            "link.yaml" => Some(FileEntry::Link(self.0.to_owned())),
            _ if *path == RepoPath::root() => Some(FileEntry::Directory),
            _ => None,
        })
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        match path.as_str() {
            "kustomization.yaml" => Ok(b"resources: [link.yaml]\n".as_slice().into()),
            other => Err(format!("{other} is not there")),
        }
    }

    fn list(&self, _path: &RepoPath) -> Result<Vec<String>, String> {
        Ok(vec!["kustomization.yaml".into(), "link.yaml".into()])
    }
}

/// CVE-2022-24877, by a link.
#[test]
fn path_traversal_by_a_link() {
    for target in ["/etc/passwd", "../../etc/passwd", "link.yaml"] {
        let tree = FileTree::repository(Arc::new(Linked(target)));
        let built = kustomize::build(&tree, &RepoPath::root(), &options());
        assert!(built.is_err(), "{target}");
    }
}

/// CVE-2022-24878: a kustomization that names a folder above itself never ended.
#[test]
fn a_kustomization_that_contains_itself() {
    for resource in ["..", ".", "../app", "../../x/../app"] {
        let text = format!("resources: ['{resource}']\n");
        let files = [
            ("app/kustomization.yaml", text.as_str()),
            ("kustomization.yaml", "resources: [app]\n"),
        ];
        refused(&files, "app");
    }
}

/// CVE-2022-39272: durations of objects crashed the controllers.
#[test]
fn crashes_by_negative_and_huge_durations() {
    let texts = [
        "-1s",
        "-9223372036854775808ns",
        "0",
        "0s",
        "9223372036854775807ns",
        "99999999999999999999h",
        "87600000h87600000h",
        "1e400h",
        "NaNs",
        "infs",
        &"9".repeat(400),
        &format!("{}h", "9".repeat(400)),
        "",
        "s",
        "1",
        "..s",
    ];
    let now = Timestamp::MAX;
    for text in texts {
        for duration in [parse_duration(text), parse_interval(text)]
            .into_iter()
            .flatten()
        {
            assert!(duration <= Duration::from_secs(315_360_000), "{text}");
            let _ = jittered(duration, 50, u64::MAX);
            let _ = now.checked_add(duration);
        }
        let spec = ExternalSecretSpec {
            refresh_interval: text.to_owned(),
            ..ExternalSecretSpec::default()
        };
        let status = serde_json::from_value(
            json!({"refreshTime": "2026-01-01T00:00:00Z", "syncedResourceVersion": "1-a"}),
        )
        .unwrap();
        let _ = due(&spec, &status, "1-a", Changes::default(), now);
        let spec = GitRepositorySpec {
            url: "https://git.example/r".to_owned(),
            timeout: Some(text.to_owned()),
            ..GitRepositorySpec::default()
        };
        if let Ok(source) = GitSource::new(&spec, None) {
            assert!(source.timeout <= Duration::from_secs(600), "{text}");
        }
    }
}

/// The error of a template.
fn template_error(text: &str) -> String {
    let template: Template = serde_json::from_value(json!({"data": {"k": text}})).unwrap();
    let value = SecretValue::from(b"own".to_vec());
    let data = SecretData::from([("own".to_owned(), value)]);
    let rendered = render(
        Some(&template),
        data,
        &[].into(),
        gotemplate::DELIMITERS,
        &gotemplate::Environment::fixed(),
    );
    rendered.map(|_| ()).unwrap_err().to_string()
}

/// External Secrets had the template function `getSecretKey`, which read Secrets of other namespaces with the rights of
/// the controller; and Go's libraries of functions read the environment and ask the DNS.
#[test]
fn template_functions_that_read_what_is_not_theirs() {
    for call in [
        r#"getSecretKey "db" "kube-system" "token""#,
        r#"lookup "v1" "Secret" "kube-system" "token""#,
        r#"env "AWS_SECRET_ACCESS_KEY""#,
        r#"expandenv "$AWS_SECRET_ACCESS_KEY""#,
        r#"getHostByName "secret.evil.example""#,
        r#"readFile "/etc/passwd""#,
        r#"include "a" ."#,
        r#"tpl "{{ . }}" ."#,
    ] {
        let error = template_error(&format!("{{{{ {call} }}}}"));
        let name = call.split(' ').next().unwrap();
        assert!(error.contains(name), "{error}");
    }
}

/// External Secrets let an ExternalSecret make a token of a service account, of any account of the namespace.
#[test]
fn targets_that_mint_a_token_of_a_service_account() {
    let account = "kubernetes.io/service-account.name";
    let kind = "kubernetes.io/service-account-token";
    let spec = |template: Value| -> ExternalSecretSpec {
        serde_json::from_value(json!({
            "secretStoreRef": {"name": "aws"},
            "data": [{"secretKey": "k", "remoteRef": {"key": "a"}}],
            "target": {"template": template},
        }))
        .unwrap()
    };
    let annotated = json!({"annotations": {account: "cluster-admin"}});
    let by_entry = json!([{"literal": format!("{account}: x"), "target": "Annotations"}]);
    for template in [
        json!({"type": kind, "metadata": annotated}),
        json!({"type": kind, "templateFrom": by_entry}),
    ] {
        let error = resolve("db", &spec(template)).unwrap_err();
        assert!(
            error.to_string().contains("would mint a credential"),
            "{error}"
        );
    }
}

/// CVE-2022-24817 and CVE-2021-41254 are of this kind: an object names a program, or an object of another kind, and the
/// controller acts on it with its own rights.
#[test]
fn names_that_make_the_daemon_act_on_other_objects() {
    let resource = |value: Value| -> ReceiverResource { serde_json::from_value(value).unwrap() };
    for other in [
        json!({"kind": "Secret", "name": "a"}),
        json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "name": "a"}),
        json!({"kind": "Kustomization", "name": "../../namespaces/kube-system"}),
    ] {
        assert!(check_resource(&resource(other.clone())).is_err(), "{other}");
    }
    for plugin in [
        "generators: [g.yaml]\n",
        "transformers: [g.yaml]\n",
        "validators: [g.yaml]\n",
    ] {
        let exec = "apiVersion: a.example/v1\nkind: G\nmetadata:\n  name: g\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n";
        let error = refused(&[("kustomization.yaml", plugin), ("g.yaml", exec)], ".");
        assert!(!error.is_empty());
    }
}
