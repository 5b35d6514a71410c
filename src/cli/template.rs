//! `overlayd template`: prints the Secret that an ExternalSecret makes of given values, without a cluster and without AWS.

use std::collections::BTreeMap;
use std::path::Path;

use gocompat::base64::{self, Alphabet};
use gotemplate::Environment;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cli::args::TemplateArgs;
use crate::cli::output;
use crate::cli::report::Failure;
use overlayd_core::api::annotations::{DATA_HASH, MANAGED_PREFIX};
use overlayd_core::api::external_secret::{CreationPolicy, ExternalSecretSpec, Template};
use overlayd_core::secrets::decide::{SecretWrite, decide};
use overlayd_core::secrets::desired::resolve;
use overlayd_core::secrets::owner::SecretOwner;
use overlayd_core::secrets::render::render;
use overlayd_core::secrets::render_error::RenderError;
use overlayd_core::secrets::template_from::{TemplateSourceKind, TemplateSources};
use overlayd_core::secrets::{SecretData, SecretValue};

/// Prints the Secret. Values are masked unless `--show` is given.
///
/// # Errors
/// The file holds no ExternalSecret or several, or the Secret cannot be made.
pub(super) fn template(args: &TemplateArgs) -> Result<(), Failure> {
    let manifests = Manifests::read(&args.file)?;
    let values = values(&args.values)?;
    let what = || format!("cannot make the Secret of `{}`", args.file.display());
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(what()).because(error.to_string(), None);
    let mut desired =
        resolve(&manifests.owner.name, &manifests.spec).map_err(|error| failed(&error))?;
    let rendered = render(
        manifests.spec.target.template.as_deref(),
        values,
        &manifests.sources,
        (&args.left_delimiter, &args.right_delimiter),
        &environment(),
    );
    let rendered = rendered.map_err(|error| {
        let failure = failed(&error);
        match error {
            // The text of a template function may quote a value, so it is shown only where values are.
            RenderError::Template { source, .. } if args.show => match source.detail {
                Some(detail) => failure.because(detail, None),
                None => failure,
            },
            RenderError::Missing { .. } => failure.because(
                "it is read from the cluster there",
                Some("put its manifest into the file, after `---`"),
            ),
            _ => failure,
        }
    })?;
    // A Secret that would be merged into another one, or not be written, is shown by itself.
    if desired.creation != CreationPolicy::Owner {
        desired.creation = CreationPolicy::Orphan;
    }
    let written = decide(&desired, &manifests.owner, &rendered, None);
    match written.map_err(|error| failed(&error))? {
        SecretWrite::Create(secret) => output::write(&yaml(
            &secret,
            args.show,
            manifests.spec.target.template.as_deref(),
            &args.left_delimiter,
        )?)
        .map_err(Failure::from),
        other => Err(failed(&format!("there would be no Secret: {other:?}"))),
    }
}

/// The ExternalSecret of a file, and the ConfigMaps and Secrets that its templates refer to.
struct Manifests {
    /// The spec of the ExternalSecret.
    spec: ExternalSecretSpec,
    /// Its metadata. It has no uid, because it is in no cluster.
    owner: SecretOwner,
    /// The templates of ConfigMaps and Secrets in the same file.
    sources: TemplateSources,
}

impl Manifests {
    /// Reads all documents of a file, and leaves out those of other kinds.
    fn read(path: &Path) -> Result<Self, Failure> {
        let bad = |message: String, hint| {
            Failure::new(format!("`{}` is no ExternalSecret", path.display()))
                .because(message, hint)
        };
        let (mut found, mut sources) = (None, TemplateSources::new());
        for document in serde_yaml::Deserializer::from_str(&text(path)?) {
            let manifest = Value::deserialize(document);
            let manifest = manifest.map_err(|error| bad(error.to_string(), None))?;
            match manifest["kind"].as_str() {
                Some("ExternalSecret") if found.is_some() => {
                    let hint = Some("try them one at a time");
                    return Err(bad("it holds more than one".to_owned(), hint));
                }
                Some("ExternalSecret") => found = Some(manifest),
                Some(kind @ ("ConfigMap" | "Secret")) => {
                    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
                    let kind = match kind {
                        "ConfigMap" => TemplateSourceKind::ConfigMap,
                        _ => TemplateSourceKind::Secret,
                    };
                    sources.insert((kind, name.to_owned()), templates(&manifest));
                }
                _ => {}
            }
        }
        let Some(manifest) = found else {
            return Err(bad(
                "it holds no object of kind ExternalSecret".to_owned(),
                None,
            ));
        };
        let spec = serde_json::from_value(manifest["spec"].clone());
        let text = |path: &str| {
            let text = manifest.pointer(path).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let map = |path: &str| {
            let map = manifest.pointer(path).cloned().unwrap_or_default();
            serde_json::from_value(map).unwrap_or_default()
        };
        Ok(Self {
            spec: spec.map_err(|error| bad(format!("spec: {error}"), None))?,
            owner: SecretOwner {
                name: text("/metadata/name"),
                namespace: text("/metadata/namespace"),
                uid: String::new(),
                labels: map("/metadata/labels"),
                annotations: map("/metadata/annotations"),
            },
            sources,
        })
    }
}

/// The texts of a ConfigMap or Secret.
fn templates(manifest: &Value) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let is_secret = manifest["kind"] == "Secret";
    for (key, value) in manifest["data"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let text = if is_secret {
            let bytes = base64::decode(value.as_bytes(), Alphabet::Standard);
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        } else {
            value.to_owned()
        };
        texts.insert(key.clone(), text);
    }
    for (key, value) in manifest["stringData"].as_object().into_iter().flatten() {
        texts.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    texts
}

/// The values that are used in place of the stores'.
fn values(path: &Path) -> Result<SecretData, Failure> {
    let bad = |message: String, hint| {
        Failure::new(format!("`{}` is no map of texts", path.display())).because(message, hint)
    };
    let hint = Some("write `key: \"value\"`, a line for each key that the stores give");
    // The text of the YAML parser may quote a value.
    let map: Value = serde_yaml::from_str(&text(path)?).map_err(|error| {
        let place = error
            .location()
            .map(|place| format!(" at line {}", place.line()));
        bad(format!("it is not YAML{}", place.unwrap_or_default()), hint)
    })?;
    let map = match map {
        Value::Object(map) => map,
        Value::Null => return Ok(SecretData::new()),
        _ => return Err(bad("it is not a map".to_owned(), hint)),
    };
    let value = |(key, value): (String, Value)| match value {
        Value::String(text) => Ok((key, SecretValue::from(text.into_bytes()))),
        Value::Number(_) | Value::Bool(_) => Err(bad(
            format!("the value of `{key}` is a number or a boolean"),
            Some("put it in quotes, so that it stays as it is"),
        )),
        _ => Err(bad(format!("the value of `{key}` is no text"), hint)),
    };
    map.into_iter().map(value).collect()
}

/// The text of a file.
fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("cannot read `{}`", path.display())).because(error.to_string(), None)
    })
}

/// The Secret as it would be in the cluster; its values are masked, or in base64.
fn yaml(
    secret: &Secret,
    show: bool,
    template: Option<&Template>,
    left_delimiter: &str,
) -> Result<String, Failure> {
    let mut secret = secret.clone();
    secret.metadata.owner_references = None;
    if secret.metadata.namespace.as_deref() == Some("") {
        secret.metadata.namespace = None;
    }
    if !show && let Some(annotations) = &mut secret.metadata.annotations {
        // A reader of the output could try values until the hash matches.
        annotations.remove(DATA_HASH);
    }
    let annotations = secret.metadata.annotations.take();
    secret.metadata.annotations = annotations.filter(|annotations| !annotations.is_empty());
    let mut manifest = json!(secret);
    if !show {
        mask_rendered(&mut manifest, template, left_delimiter);
        let data = secret.data.iter().flatten();
        let masked = data.map(|(key, ByteString(_))| (key.clone(), json!("***")));
        let masked: serde_json::Map<_, _> = masked.collect();
        if !masked.is_empty() {
            manifest["data"] = Value::Object(masked);
        }
    }
    goyaml::print(&goyaml::from_json(&manifest)).map_err(|error| {
        Failure::new("the Secret cannot be printed").because(error.to_string(), None)
    })
}

/// Masks rendered labels and annotations, which may hold values.
fn mask_rendered(manifest: &mut Value, template: Option<&Template>, left_delimiter: &str) {
    let Some(template) = template else {
        return;
    };
    let written = template.metadata.clone().unwrap_or_default();
    for (field, texts) in [
        ("labels", written.labels),
        ("annotations", written.annotations),
    ] {
        let pairs = manifest["metadata"].get_mut(field);
        let Some(pairs) = pairs.and_then(Value::as_object_mut) else {
            continue;
        };
        for (key, value) in pairs {
            let plain = texts
                .get(key)
                .is_some_and(|text| !text.contains(left_delimiter));
            if !plain && !key.starts_with(MANAGED_PREFIX) {
                *value = json!("***");
            }
        }
    }
}

/// The time and random bytes for templates that ask for them.
fn environment() -> Environment<'static> {
    Environment::new(jiff::Timestamp::now(), crate::random::fill)
}
