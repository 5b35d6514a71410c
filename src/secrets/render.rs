//! Pure: the template step: what was composed becomes what the Secret will hold.

use std::collections::BTreeMap;

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
pub(crate) enum RenderError {
    #[error("`target.template.{field}`: {source}")]
    Template {
        field: String,
        #[source]
        source: gotemplate::TemplateError,
    },
    #[error("the value of `{0}` is not text, so a template cannot use it")]
    NotText(String),
}

/// Renders the template on the data. Without a template, the data is what the Secret holds.
pub(crate) fn render(
    template: Option<&Template>,
    data: SecretData,
) -> Result<RenderedSecret, RenderError> {
    let Some(template) = template else {
        return Ok(RenderedSecret {
            data,
            ..RenderedSecret::default()
        });
    };
    let texts = texts(&data)?;
    let one = |field: String, text: &str| {
        let name = field.rsplit('.').next().unwrap_or_default().to_owned();
        gotemplate::render(&name, text, &texts)
            .map_err(|source| RenderError::Template { field, source })
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
        rendered
            .data
            .insert(key.clone(), SecretValue::from(value.into_bytes()));
    }
    let mut metadata = Metadata::default();
    for (key, text) in template
        .metadata
        .iter()
        .flat_map(|metadata| &metadata.labels)
    {
        metadata
            .labels
            .insert(key.clone(), one(format!("metadata.labels.{key}"), text)?);
    }
    for (key, text) in template
        .metadata
        .iter()
        .flat_map(|metadata| &metadata.annotations)
    {
        metadata.annotations.insert(
            key.clone(),
            one(format!("metadata.annotations.{key}"), text)?,
        );
    }
    rendered.metadata = Some(metadata);
    Ok(rendered)
}

fn texts(data: &SecretData) -> Result<BTreeMap<String, String>, RenderError> {
    let text = |(key, value): (&String, &SecretValue)| {
        let text =
            std::str::from_utf8(value.expose()).map_err(|_| RenderError::NotText(key.clone()))?;
        Ok((key.clone(), text.to_owned()))
    };
    data.iter().map(text).collect()
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
        let text = match render(Some(&template), data.into()) {
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
            "error: `target.template.data.x`: template: x:1: map has no entry for key \"nobody\"",
        );
    }
}
