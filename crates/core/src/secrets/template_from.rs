//! Pure: `templateFrom`: renders templates of ConfigMaps and Secrets, and literal ones, to data, labels and annotations.

use std::collections::{BTreeMap, BTreeSet};

use goyaml::{Meaning, Node, ReadOptions, Tag};

use crate::api::external_secret::{Template, TemplateFrom, TemplateReference, TemplateScope};
use crate::secrets::decoding::decoded;
use crate::secrets::render_error::RenderError;
use crate::secrets::{SecretData, SecretValue};

/// The kind of an object that holds templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TemplateSourceKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// The templates of the objects that are referred to, by kind, name and key. An object that does not exist is absent.
pub type TemplateSources = BTreeMap<(TemplateSourceKind, String), BTreeMap<String, String>>;

/// The objects that a template refers to.
pub fn references(template: &Template) -> BTreeSet<(TemplateSourceKind, String)> {
    let of_entry = |entry: &TemplateFrom| {
        let named = [
            (TemplateSourceKind::ConfigMap, entry.config_map.clone()),
            (TemplateSourceKind::Secret, entry.secret.clone()),
        ];
        named
            .into_iter()
            .filter_map(|(kind, reference)| Some((kind, reference?.name)))
    };
    template.template_from.iter().flat_map(of_entry).collect()
}

/// The part of the Secret that the result of an entry is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateTarget {
    /// Its data.
    Data,
    /// Its labels.
    Labels,
    /// Its annotations.
    Annotations,
}

impl TemplateTarget {
    /// The target of this name, in upper or lower case. An empty name is the data.
    pub fn of(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "" | "data" => Some(Self::Data),
            "labels" => Some(Self::Labels),
            "annotations" => Some(Self::Annotations),
            _ => None,
        }
    }
}

/// Renders the template of a field, which is named in the error.
pub type RenderField<'o> = &'o dyn Fn(String, &str) -> Result<Vec<u8>, RenderError>;

/// Renders one entry: its ConfigMap, then its Secret, then its literal. Later keys replace earlier ones.
///
/// # Errors
/// An object or key is missing, a template fails, or its result is not what the entry needs.
pub fn render_entry(
    index: usize,
    entry: &TemplateFrom,
    sources: &TemplateSources,
    render: RenderField<'_>,
) -> Result<SecretData, RenderError> {
    let field = |part: &str| format!("templateFrom[{index}].{part}");
    let mut values = SecretData::new();
    let named = [
        (
            "configMap",
            TemplateSourceKind::ConfigMap,
            &entry.config_map,
        ),
        ("secret", TemplateSourceKind::Secret, &entry.secret),
    ];
    for (part, kind, reference) in named {
        if let Some(reference) = reference {
            values.extend(of_object(&field(part), kind, reference, sources, render)?);
        }
    }
    if let Some(literal) = &entry.literal {
        let field = field("literal");
        values.extend(map_of(&field, &render(field.clone(), literal)?)?);
    }
    let strategy = entry.values_decoding_strategy.unwrap_or_default();
    let count = values.len();
    // A rendered key may itself be a value, so it is not named.
    let decode = |(at, (key, value)): (usize, (String, SecretValue))| match decoded(strategy, value)
    {
        Ok(value) => Ok((key, value)),
        Err(encoding) => Err(RenderError::Encoding {
            field: field("valuesDecodingStrategy"),
            position: at + 1,
            count,
            encoding,
        }),
    };
    values.into_iter().enumerate().map(decode).collect()
}

fn of_object(
    field: &str,
    kind: TemplateSourceKind,
    reference: &TemplateReference,
    sources: &TemplateSources,
    render: RenderField<'_>,
) -> Result<SecretData, RenderError> {
    let name = &reference.name;
    let missing = |what: String| RenderError::Missing {
        field: field.to_owned(),
        what,
    };
    let templates = sources
        .get(&(kind, name.clone()))
        .ok_or_else(|| missing(format!("{kind:?} `{name}` does not exist")))?;
    let mut values = SecretData::new();
    for (index, item) in reference.items.iter().enumerate() {
        let key = &item.key;
        let text = templates
            .get(key)
            .ok_or_else(|| missing(format!("{kind:?} `{name}` has no key `{key}`")))?;
        let field = format!("{field}.items[{index}]");
        let rendered = render(field.clone(), text)?;
        match item.template_as {
            TemplateScope::Values => {
                values.insert(key.clone(), SecretValue::from(rendered));
            }
            TemplateScope::KeysAndValues => values.extend(map_of(&field, &rendered)?),
        }
    }
    Ok(values)
}

/// The YAML map of texts that a template renders to. Scalars without quotes are typed and become text again, as
/// sigs.k8s.io/yaml does: `no` is `false`, `0123` is `83`.
fn map_of(field: &str, rendered: &[u8]) -> Result<SecretData, RenderError> {
    let no_map = |reason: &'static str| RenderError::NoMap {
        field: field.to_owned(),
        reason,
    };
    let text = std::str::from_utf8(rendered).map_err(|_| no_map("it is not UTF-8"))?;
    // The reader's message may quote what it read.
    let documents =
        goyaml::read(text, &ReadOptions::sigs()).map_err(|_| no_map("it is not YAML"))?;
    let Some(node) = documents.first().filter(|node| !node.is_null()) else {
        return Ok(SecretData::new());
    };
    let entries = node.as_mapping().ok_or_else(|| no_map("it is not a map"))?;
    let text = |value: &Node| text_of(value).ok_or_else(|| no_map("a value in it is not a text"));
    entries
        .iter()
        .map(|entry| {
            let value = text(&entry.value)?;
            Ok((entry.key.to_string(), SecretValue::from(value.into_bytes())))
        })
        .collect()
}

fn text_of(node: &Node) -> Option<String> {
    let scalar = node.as_scalar()?;
    if scalar.tag == Tag::Timestamp {
        return Some(scalar.text.to_string());
    }
    Some(match scalar.meaning() {
        Meaning::Null => String::new(),
        Meaning::Bool(value) => value.to_string(),
        // Written as a float, though it is none after JSON.
        #[expect(clippy::cast_precision_loss, reason = "it is a float")]
        Meaning::Int(value) if scalar.tag == Tag::Float => single(value as f64)?,
        Meaning::Int(value) => value.to_string(),
        Meaning::Float(value) => single(value)?,
        Meaning::Str(text) => text,
        Meaning::BadBinary | Meaning::Mismatch => return None,
    })
}

/// A float in the precision that the original uses for it: 32 bits.
fn single(value: f64) -> Option<String> {
    #[expect(clippy::cast_possible_truncation, reason = "as the original does")]
    let value = value as f32;
    if !value.is_finite() {
        return None;
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if (-4..6).contains(&exponent) {
        return Some(value.to_string());
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{mantissa}e{sign}{:02}", exponent.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::shown;

    fn check(yaml: &str, expected: &str) {
        let text = match map_of("f", yaml.as_bytes()) {
            Ok(data) => shown(&data),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected, "{yaml}");
    }

    #[test]
    fn yaml_is_typed_and_becomes_text_again() {
        for (value, expected) in [
            ("no", "false"),
            ("off", "false"),
            ("y", "true"),
            ("0123", "83"),
            ("0x1F", "31"),
            ("1.10", "1.1"),
            ("1e3", "1000"),
            ("1_000", "1000"),
            ("0123456789", "1.2345679e+08"),
            ("123456789.123", "1.2345679e+08"),
            ("1234567890123456789", "1234567890123456789"),
            ("2020-01-01", "2020-01-01"),
            ("12:30:45", "12:30:45"),
            ("\"no\"", "no"),
            ("~", ""),
            ("", ""),
        ] {
            check(&format!("k: {value}\n"), &format!("k={expected}"));
        }
        check("", "");
        check("a: 1\na: 2\n---\nb: 3\n", "a=2");
        check("a: &x v\nb: *x\n", "a=v b=v");
        check(
            "- a\n",
            "error: `target.template.f` renders to what is no YAML map of texts: it is not a map",
        );
        check(
            "a: {b: c}\n",
            "error: `target.template.f` renders to what is no YAML map of texts: a value in it is not a text",
        );
        check(
            "a: [\n",
            "error: `target.template.f` renders to what is no YAML map of texts: it is not YAML",
        );
    }
}
