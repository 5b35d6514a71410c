//! Pure: the template step: what was composed becomes what the Secret will hold.

use std::collections::BTreeMap;

use gotemplate::Environment;

use super::{SecretData, SecretValue};
use crate::api::external_secret::{MergePolicy, Template};

/// What the Secret will hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RenderedSecret {
    pub(crate) data: SecretData,
    /// The type, if the template gives one.
    pub(crate) type_: Option<String>,
    /// Labels and annotations of the template; without one, those of the ExternalSecret go along.
    pub(crate) metadata: Option<Metadata>,
}

/// Rendered labels and annotations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Metadata {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Why a template cannot be rendered. Names fields and keys, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`target.template.{field}`: {source}")]
pub(crate) struct RenderError {
    pub(crate) field: String,
    #[source]
    pub(crate) source: gotemplate::TemplateError,
}

/// Renders the template on the data. Without a template, the data is what the Secret holds.
/// The environment gives a template's `now` and `randAlpha` their time and their chance.
pub(crate) fn render(
    template: Option<&Template>,
    data: SecretData,
    environment: &Environment<'_>,
) -> Result<RenderedSecret, RenderError> {
    let Some(template) = template else {
        return Ok(RenderedSecret {
            data,
            ..RenderedSecret::default()
        });
    };
    let one = |field: String, text: &str| -> Result<Vec<u8>, RenderError> {
        let name = field.rsplit('.').next().unwrap_or_default();
        let values = data
            .iter()
            .map(|(key, value)| (key.as_str(), value.expose()));
        gotemplate::Template::parse(name, text)
            .and_then(|template| template.render(values, environment))
            .map_err(|source| RenderError { field, source })
    };
    let texts = |kind: &str, templates: &BTreeMap<String, String>| {
        let text = |(key, text): (&String, &String)| {
            let value = one(format!("metadata.{kind}.{key}"), text)?;
            Ok((key.clone(), String::from_utf8_lossy(&value).into_owned()))
        };
        templates.iter().map(text).collect::<Result<_, _>>()
    };
    let mut rendered = RenderedSecret {
        type_: template.type_.clone(),
        ..RenderedSecret::default()
    };
    if template.merge_policy == MergePolicy::Merge || template.data.is_empty() {
        rendered.data.clone_from(&data);
    }
    for (key, text) in &template.data {
        let value = one(format!("data.{key}"), text)?;
        rendered.data.insert(key.clone(), SecretValue::from(value));
    }
    rendered.metadata = Some(match &template.metadata {
        None => Metadata::default(),
        Some(metadata) => Metadata {
            labels: texts("labels", &metadata.labels)?,
            annotations: texts("annotations", &metadata.annotations)?,
        },
    });
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(template: Value, expected: &str) {
        let template: Template = serde_json::from_value(template).unwrap();
        let data = [("user", "u"), ("pass", "p")];
        let data =
            data.map(|(key, value)| (key.to_owned(), SecretValue::from(value.as_bytes().to_vec())));
        let text = match render(Some(&template), data.into(), &Environment::fixed()) {
            Ok(rendered) => {
                let data = rendered.data.iter();
                let data = data.map(|(key, value)| {
                    format!("{key}={}", String::from_utf8_lossy(value.expose()))
                });
                format!(
                    "{} {:?}",
                    data.collect::<Vec<_>>().join(" "),
                    rendered.metadata.unwrap_or_default().labels
                )
            }
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
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
