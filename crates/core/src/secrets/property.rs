//! Pure: reads one value of a JSON text by its path: `user.name`, `list.0`, as gjson does.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::secrets::SecretValue;

/// Why a property cannot be read. The text holds the path, never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// The value has no such property.
    #[error("property `{0}` does not exist in the secret")]
    Missing(String),
    /// The path takes more steps than the limit allows.
    #[error("property `{0}` asks for more work than is allowed")]
    TooMuch(String),
    /// The value is not JSON.
    #[error("the secret is not JSON, so it has no property `{0}`")]
    NotJson(String),
}

/// Reads a property. A path with dots is tried as a literal key first.
///
/// # Errors
/// The value is not JSON, has no such property, or the path takes too much work.
pub fn get(payload: &SecretValue, path: &str) -> Result<SecretValue, PropertyError> {
    let find = |path: &str| {
        let found = gjson::get(payload.expose(), path);
        found.map_err(|_| PropertyError::TooMuch(path.to_owned()))
    };
    if path.contains('.')
        && let Some(found) = find(&path.replace('.', "\\."))?
    {
        return Ok(SecretValue::from(found));
    }
    match find(path)? {
        Some(found) => Ok(SecretValue::from(found)),
        None if serde_json::from_slice::<IgnoredAny>(payload.expose()).is_err() => {
            Err(PropertyError::NotJson(path.to_owned()))
        }
        None => Err(PropertyError::Missing(path.to_owned())),
    }
}

/// The member of a JSON object that has exactly this name.
///
/// # Errors
/// The value is not a JSON object, or has no such member.
pub fn member(payload: &SecretValue, name: &str) -> Result<SecretValue, PropertyError> {
    let mut members = members(payload)?.into_iter();
    let found = members.find(|(member, _)| member == name);
    found
        .map(|(_, value)| value)
        .ok_or_else(|| PropertyError::Missing(name.to_owned()))
}

/// The members of a JSON object: the text of strings, an empty value for null, and the JSON text of anything else.
///
/// # Errors
/// The value is not a JSON object.
pub fn members(payload: &SecretValue) -> Result<Vec<(String, SecretValue)>, PropertyError> {
    let not_json = |_| PropertyError::NotJson("*".to_owned());
    let members: Option<Members<'_>> =
        serde_json::from_slice(payload.expose()).map_err(not_json)?;
    let members = members.unwrap_or_default();
    let read = |raw: &RawValue| {
        let text = match raw.get() {
            "null" => String::new(),
            quoted if quoted.starts_with('"') => serde_json::from_str(quoted).map_err(not_json)?,
            other => other.to_owned(),
        };
        Ok(SecretValue::from(text.into_bytes()))
    };
    members
        .iter()
        .map(|(key, raw)| Ok((key.clone(), read(raw)?)))
        .collect()
}

/// Of a name that occurs twice, the last value counts.
type Members<'m> = std::collections::BTreeMap<String, &'m RawValue>;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> SecretValue {
        SecretValue::from(text.as_bytes().to_vec())
    }

    #[test]
    fn properties() {
        let payload = value(
            r#"{"a":"x","n":{"b":[1,{"c":"y"}]},"d.e":"literal","d":{"e":"nested"},"z":null,"f":1.50,"o":{"k":1}}"#,
        );
        for (path, expected) in [
            ("a", Ok("x")),
            ("n.b.1.c", Ok("y")),
            ("d.e", Ok("literal")),
            ("z", Ok("")),
            ("f", Ok("1.5")),
            ("o", Ok(r#"{"k":1}"#)),
            ("q", Err(PropertyError::Missing("q".into()))),
            ("n.b.#", Ok("2")),
            ("{a,z}", Ok(r#"{"a":"x","z":null}"#)),
            ("o|@keys|0", Ok("k")),
        ] {
            assert_eq!(get(&payload, path), expected.map(value), "{path}");
        }
        assert_eq!(
            get(&value("plain"), "a"),
            Err(PropertyError::NotJson("a".into()))
        );
    }

    #[test]
    fn members_keep_their_spelling() {
        let payload = value(r#"{"s":"a\nb","n":1.50,"o":{"z": 1 },"z":null,"d":"1","d":"2"}"#);
        let members = members(&payload).unwrap();
        let expected = [
            ("d", "2"),
            ("n", "1.50"),
            ("o", r#"{"z": 1 }"#),
            ("s", "a\nb"),
            ("z", ""),
        ];
        assert_eq!(
            members,
            expected.map(|(key, text)| (key.to_owned(), value(text)))
        );
        assert!(super::members(&value("[1]")).is_err());
        assert_eq!(super::members(&value("null")), Ok(vec![]));
    }
}
