//! Pure: renders the template of an ExternalSecret on the composed data.

use std::collections::BTreeMap;

use gotemplate::Environment;

use crate::api::external_secret::{MergePolicy, Template};
use crate::secrets::render_error::RenderError;
use crate::secrets::template_from::{TemplateSources, TemplateTarget, render_entry};
use crate::secrets::{SecretData, SecretValue};

/// The content of the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenderedSecret {
    /// Key to value.
    pub data: SecretData,
    /// The type, if the template sets one.
    pub type_: Option<String>,
    /// Labels and annotations of the template. `None` without a template: then those of the ExternalSecret are copied.
    pub metadata: Option<Metadata>,
}

/// Rendered labels and annotations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers, which are added and never removed.
    pub finalizers: Vec<String>,
}

/// Renders the template on the data. Without a template, the Secret holds the data as it is.
/// The environment gives the functions `now` and `randAlpha` their time and their random bytes.
///
/// # Errors
/// A template is invalid or fails, an object that it refers to is missing, or the API server would refuse the result.
pub fn render(
    template: Option<&Template>,
    data: SecretData,
    sources: &TemplateSources,
    delimiters: (&str, &str),
    environment: &Environment<'_>,
) -> Result<RenderedSecret, RenderError> {
    let rendered = match template {
        Some(template) => render_template(template, &data, sources, delimiters, environment)?,
        None => RenderedSecret {
            data,
            ..RenderedSecret::default()
        },
    };
    check(&rendered, template)?;
    Ok(rendered)
}

/// Refuses what the API server would refuse, whose text may quote a value.
fn check(rendered: &RenderedSecret, template: Option<&Template>) -> Result<(), RenderError> {
    /// The most that a Secret may hold, in bytes.
    const LIMIT: usize = 1 << 20;
    let is_valid = |key: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !key.is_empty() && key.len() <= 253 && key.bytes().all(allowed) && key != "." && key != ".."
    };
    if let Some(at) = rendered.data.keys().position(|key| !is_valid(key)) {
        return Err(RenderError::InvalidKey(at + 1, rendered.data.len()));
    }
    let sizes = rendered.data.iter();
    let sizes = sizes.map(|(key, value)| (key, value.expose().len()));
    let size = sizes.clone().map(|(_, size)| size).sum();
    match sizes.max_by_key(|(_, size)| *size) {
        Some((key, largest)) if size > LIMIT => Err(RenderError::TooLarge {
            size,
            key: Some(key.clone())
                .filter(|key| template.is_none_or(|template| template.data.contains_key(key))),
            largest,
        }),
        _ => Ok(()),
    }
}

fn render_template(
    template: &Template,
    data: &SecretData,
    sources: &TemplateSources,
    delimiters: (&str, &str),
    environment: &Environment<'_>,
) -> Result<RenderedSecret, RenderError> {
    let renderer = FieldRenderer {
        data,
        delimiters,
        environment,
    };
    let mut rendered = RenderedSecret {
        type_: template.type_.clone(),
        ..RenderedSecret::default()
    };
    let is_plain = template.data.is_empty() && template.template_from.is_empty();
    if template.merge_policy == MergePolicy::Merge || is_plain {
        rendered.data.clone_from(data);
    }
    let mut metadata = Metadata::default();
    for (index, entry) in template.template_from.iter().enumerate() {
        let values = render_entry(index, entry, sources, &|field, text| {
            renderer.render(field, text)
        })?;
        match TemplateTarget::of(&entry.target) {
            Some(TemplateTarget::Labels) => metadata.labels.extend(texts(&values)),
            Some(TemplateTarget::Annotations) => metadata.annotations.extend(texts(&values)),
            Some(TemplateTarget::Data) | None => rendered.data.extend(values),
        }
    }
    for (key, text) in &template.data {
        let value = renderer.render(format!("data.{key}"), text)?;
        rendered.data.insert(key.clone(), SecretValue::from(value));
    }
    if let Some(own) = &template.metadata {
        metadata.finalizers.clone_from(&own.finalizers);
        let labels = renderer.render_metadata("labels", &own.labels)?;
        metadata.labels.extend(labels);
        let annotations = renderer.render_metadata("annotations", &own.annotations)?;
        metadata.annotations.extend(annotations);
    }
    rendered.metadata = Some(metadata);
    Ok(rendered)
}

/// Values as the texts of labels and annotations.
fn texts(values: &SecretData) -> BTreeMap<String, String> {
    let text = |value: &SecretValue| String::from_utf8_lossy(value.expose()).into_owned();
    let values = values.iter();
    values
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// Renders the template of one field after another on the same data.
struct FieldRenderer<'r, 'e> {
    data: &'r SecretData,
    delimiters: (&'r str, &'r str),
    environment: &'r Environment<'e>,
}

impl FieldRenderer<'_, '_> {
    /// The text of a field, rendered. The field's last part is the name of the template in messages.
    fn render(&self, field: String, text: &str) -> Result<Vec<u8>, RenderError> {
        let name = field.rsplit('.').next().unwrap_or_default();
        let values = self.data.iter();
        let values = values.map(|(key, value)| (key.as_str(), value.expose()));
        gotemplate::Template::parse_with(name, text, self.delimiters)
            .and_then(|template| template.render(values, self.environment))
            .map_err(|source| RenderError::Template { field, source })
    }

    /// Labels or annotations, each rendered.
    fn render_metadata(
        &self,
        kind: &str,
        templates: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, RenderError> {
        let render = |(key, text): (&String, &String)| {
            let value = self.render(format!("metadata.{kind}.{key}"), text)?;
            Ok((key.clone(), String::from_utf8_lossy(&value).into_owned()))
        };
        templates.iter().map(render).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::secrets::shown;
    use crate::secrets::template_from::TemplateSourceKind;

    fn check(template: Value, expected: &str) {
        let template: Template = serde_json::from_value(template).unwrap();
        let data = [("user", "u"), ("pass", "p")];
        let data =
            data.map(|(key, value)| (key.to_owned(), SecretValue::from(value.as_bytes().to_vec())));
        let templates = [
            ("v", "{{ .user }}!"),
            ("kv", "{{ .user }}: no\nb: {{ .pass }}\n"),
        ];
        let templates = templates.map(|(key, text)| (key.to_owned(), text.to_owned()));
        let sources = [(
            (TemplateSourceKind::ConfigMap, "c".to_owned()),
            templates.into(),
        )];
        let text = match render(
            Some(&template),
            data.into(),
            &sources.into(),
            gotemplate::DELIMITERS,
            &Environment::fixed(),
        ) {
            Ok(rendered) => {
                format!(
                    "{} {:?}",
                    shown(&rendered.data),
                    rendered.metadata.unwrap_or_default().labels
                )
            }
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn templates_come_from_elsewhere() {
        let from = |items: Value| json!({"configMap": {"name": "c", "items": items}});
        check(
            json!({"templateFrom": [from(json!([{"key": "v"}]))]}),
            "v=u! {}",
        );
        check(
            json!({"templateFrom": [from(json!([{"key": "kv", "templateAs": "KeysAndValues"}]))], "data": {"b": "own"}}),
            "b=own u=false {}",
        );
        check(
            json!({"templateFrom": [{"literal": "who: {{ .user }}", "target": "labels"}], "mergePolicy": "Merge"}),
            r#"pass=p user=u {"who": "u"}"#,
        );
        check(
            json!({"templateFrom": [{"literal": "a: aGk=", "valuesDecodingStrategy": "Base64"}]}),
            "a=hi {}",
        );
        check(
            json!({"templateFrom": [{"literal": "a: x", "valuesDecodingStrategy": "Base64"}]}),
            "error: `target.template.templateFrom[0].valuesDecodingStrategy`: value 1 of 1, in the order of their keys, is not base64",
        );
        check(
            json!({"templateFrom": [from(json!([{"key": "no"}]))]}),
            "error: `target.template.templateFrom[0].configMap`: ConfigMap `c` has no key `no`",
        );
        check(
            json!({"templateFrom": [{"secret": {"name": "s", "items": [{"key": "v"}]}}]}),
            "error: `target.template.templateFrom[0].secret`: Secret `s` does not exist",
        );
    }

    #[test]
    fn what_no_secret_can_hold_is_refused_without_its_text() {
        check(
            json!({"templateFrom": [{"literal": "\"{{ .user }} {{ .pass }}\": x"}]}),
            "error: key 1 of 1, in the order of their names, is no valid key of a Secret: letters, digits, `-`, `_` and `.` are",
        );
        check(
            json!({"data": {"small": "x", "big": "{{ repeat 1050000 \"y\" }}"}}),
            "error: the Secret would hold 1050001 bytes, and no more than 1 MiB fits; the largest value has 1050000 bytes under `big`",
        );
    }

    #[test]
    fn templates_make_the_data() {
        check(
            json!({"data": {"url": "db://{{ .user }}:{{ .pass }}@host"}}),
            "url=db://u:p@host {}",
        );
        check(
            json!({"data": {"x": "{{ .user }}"}, "mergePolicy": "Merge"}),
            "pass=p user=u x=u {}",
        );
        check(
            json!({"metadata": {"labels": {"who": "{{ .user }}"}}}),
            r#"pass=p user=u {"who": "u"}"#,
        );
        check(
            json!({"data": {"x": "{{ .nobody }}"}}),
            r#"error: `target.template.data.x`: template: x:1:3: executing "x" at <.nobody>: map has no entry for key "nobody""#,
        );
    }
}
