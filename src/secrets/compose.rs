//! Pure: what was read becomes the data of a Secret: extracts in order, then `data`, which wins.

use std::collections::BTreeMap;

use gotemplate::Environment;

use super::desired::{DesiredSecret, Entry};
use super::property::{self, PropertyError};
use super::rewrite::{RewriteError, rewrite};
use super::{SecretData, SecretValue};
use crate::api::external_secret::{ConversionStrategy, DecodingStrategy, NullBytePolicy};

/// What a provider gave for an entry's key and version, by store, key and version.
pub(crate) type Fetched = BTreeMap<ReadKey, SecretValue>;

/// One reading from one store.
pub(crate) type ReadKey = (super::desired::StoreRef, String, String);

/// The reading that an entry needs.
pub(crate) fn read_key(entry: &Entry) -> ReadKey {
    (
        entry.store.clone(),
        entry.remote.key.clone(),
        entry.remote.version.clone().unwrap_or_default(),
    )
}

/// Why the data cannot be made. Names keys and fields, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ComposeError {
    #[error("{field} of `{key}`: {source}")]
    Property {
        field: String,
        key: String,
        #[source]
        source: PropertyError,
    },
    #[error("{field} of `{key}`: the secret is not a JSON object")]
    NotAnObject { field: String, key: String },
    #[error("{field} of `{key}`: two keys become `{name}`; use `conversionStrategy: Unicode`")]
    Collision {
        field: String,
        key: String,
        name: String,
    },
    #[error("{field} of `{key}`: `{name}` is no valid key of a Secret")]
    InvalidKey {
        field: String,
        key: String,
        name: String,
    },
    #[error(
        "{field} of `{key}`: the value of `{name}` has a null byte, and `nullBytePolicy` is Fail"
    )]
    NullByte {
        field: String,
        key: String,
        name: String,
    },
    #[error("{field} of `{key}`: {source}")]
    Rewrite {
        field: String,
        key: String,
        #[source]
        source: RewriteError,
    },
    #[error(
        "{field} of `{key}`: the value of `{name}` is not {encoding}, as `decodingStrategy` says"
    )]
    Encoding {
        field: String,
        key: String,
        name: String,
        encoding: &'static str,
    },
    #[error("{field} of `{key}` was not read")]
    NotRead { field: String, key: String },
}

/// Puts the data together. The environment is that of templates that rewrite keys.
pub(crate) fn compose(
    desired: &DesiredSecret,
    fetched: &Fetched,
    environment: &Environment<'_>,
) -> Result<SecretData, ComposeError> {
    let mut data = SecretData::new();
    for entry in &desired.extracts {
        data.extend(extract(entry, &payload(entry, fetched)?, environment)?);
    }
    for (name, entry) in &desired.data {
        let value = decode(entry, name, payload(entry, fetched)?)?;
        check_null_bytes(entry, name, &value)?;
        data.insert(name.clone(), value);
    }
    Ok(data)
}

/// The value of an entry, its property taken out.
fn payload(entry: &Entry, fetched: &Fetched) -> Result<SecretValue, ComposeError> {
    let (field, key) = (entry.field.clone(), entry.remote.key.clone());
    let Some(value) = fetched.get(&read_key(entry)) else {
        return Err(ComposeError::NotRead { field, key });
    };
    match entry
        .remote
        .property
        .as_deref()
        .filter(|property| !property.is_empty())
    {
        None => Ok(value.clone()),
        Some(path) => property::get(value, path).map_err(|source| ComposeError::Property {
            field,
            key,
            source,
        }),
    }
}

fn extract(
    entry: &Entry,
    payload: &SecretValue,
    environment: &Environment<'_>,
) -> Result<SecretData, ComposeError> {
    let (field, key) = (|| entry.field.clone(), || entry.remote.key.clone());
    let members = property::members(payload).map_err(|_| ComposeError::NotAnObject {
        field: field(),
        key: key(),
    })?;
    // Keys are converted only where no rewrite says what becomes of them.
    let renamed = if entry.rewrite.is_empty() {
        converted(entry, members)?
    } else {
        let members = members.into_iter().collect();
        rewrite(&entry.rewrite, members, environment).map_err(|source| ComposeError::Rewrite {
            field: field(),
            key: key(),
            source,
        })?
    };
    let mut data = SecretData::new();
    for (name, value) in renamed {
        if name.is_empty() {
            continue;
        }
        if name.len() > 253 || !name.chars().all(is_key_character) {
            return Err(ComposeError::InvalidKey {
                field: field(),
                key: key(),
                name,
            });
        }
        let value = decode(entry, &name, value)?;
        check_null_bytes(entry, &name, &value)?;
        data.insert(name, value);
    }
    Ok(data)
}

/// The members by what their keys become. Two that become the same are an error.
fn converted(
    entry: &Entry,
    members: Vec<(String, SecretValue)>,
) -> Result<SecretData, ComposeError> {
    let strategy = entry.remote.conversion_strategy.unwrap_or_default();
    let mut data = SecretData::new();
    for (member, value) in members {
        let name = convert(&member, strategy);
        if !name.is_empty() && data.contains_key(&name) {
            return Err(ComposeError::Collision {
                field: entry.field.clone(),
                key: entry.remote.key.clone(),
                name,
            });
        }
        data.insert(name, value);
    }
    Ok(data)
}

fn decode(entry: &Entry, name: &str, value: SecretValue) -> Result<SecretValue, ComposeError> {
    let strategy = entry.remote.decoding_strategy.unwrap_or_default();
    decoded(strategy, value).map_err(|encoding| ComposeError::Encoding {
        field: entry.field.clone(),
        key: entry.remote.key.clone(),
        name: name.to_owned(),
        encoding,
    })
}

/// Decodes a value as a strategy says, or names the encoding that it is not in. `Auto` takes what is no base64 for what
/// it is.
pub(super) fn decoded(
    strategy: DecodingStrategy,
    value: SecretValue,
) -> Result<SecretValue, &'static str> {
    let standard = || gotemplate::decode_base64(value.expose(), b'+', b'/');
    let for_urls = || gotemplate::decode_base64(value.expose(), b'-', b'_');
    let (decoded, encoding) = match strategy {
        DecodingStrategy::None => return Ok(value),
        DecodingStrategy::Auto => {
            let decoded = standard().or_else(|_| for_urls());
            return Ok(decoded.map_or_else(|_| value.clone(), SecretValue::from));
        }
        DecodingStrategy::Base64 => (standard(), "base64"),
        DecodingStrategy::Base64Url => (for_urls(), "base64 for URLs"),
    };
    decoded.map(SecretValue::from).map_err(|_| encoding)
}

fn is_key_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '.' | '_')
}

/// Characters that no key may have become `_`, or `_Uhhhh_`.
fn convert(member: &str, strategy: ConversionStrategy) -> String {
    let mut name = String::with_capacity(member.len());
    for character in member.chars() {
        match strategy {
            _ if is_key_character(character) => name.push(character),
            ConversionStrategy::Default => name.push('_'),
            ConversionStrategy::Unicode => {
                name.push_str(&format!("_U{:04x}_", u32::from(character)));
            }
        }
    }
    name
}

fn check_null_bytes(entry: &Entry, name: &str, value: &SecretValue) -> Result<(), ComposeError> {
    let fails = entry.remote.null_byte_policy.unwrap_or_default() == NullBytePolicy::Fail;
    if fails && value.expose().contains(&0) {
        let (field, key) = (entry.field.clone(), entry.remote.key.clone());
        return Err(ComposeError::NullByte {
            field,
            key,
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::secrets::desired::resolve;
    use crate::secrets::shown;

    /// Reads `a` = `{"user":"u","pass word":"p"}` and `b` = `text`.
    fn check(spec: Value, expected: &str) {
        let spec = serde_json::from_value(spec).unwrap();
        let desired = resolve("es", &spec).unwrap();
        let mut fetched = Fetched::new();
        for store in desired.stores() {
            for (key, value) in [
                ("a", r#"{"user":"u","pass word":"p"}"#),
                ("b", "te\0xt"),
                ("d", "aGk/Pg=="),
                ("e", "aGk_Pg=="),
                ("c", r#"{"x y":1,"x-y":2,"x_y":3}"#),
            ] {
                fetched.insert(
                    (store.clone(), key.into(), String::new()),
                    SecretValue::from(value.as_bytes().to_vec()),
                );
            }
        }
        let text = match compose(&desired, &fetched, &Environment::fixed()) {
            Ok(data) => shown(&data),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn data_wins_over_data_from() {
        check(
            json!({
                "secretStoreRef": {"name": "s"},
                "dataFrom": [{"extract": {"key": "a"}}],
                "data": [{"secretKey": "user", "remoteRef": {"key": "a", "property": "pass word"}}],
            }),
            "pass_word=p user=p",
        );
    }

    #[test]
    fn values_are_decoded_and_keys_rewritten() {
        let store = json!({"name": "s"});
        let entry = |key: &str, strategy: &str| json!({"secretStoreRef": store, "data": [{"secretKey": "k", "remoteRef": {"key": key, "decodingStrategy": strategy}}]});
        check(entry("d", "Base64"), "k=hi?>");
        check(entry("d", "Auto"), "k=hi?>");
        check(entry("e", "Base64URL"), "k=hi?>");
        check(entry("e", "Auto"), "k=hi?>");
        check(entry("b", "Auto"), "k=te\0xt");
        check(
            entry("b", "Base64"),
            "error: data[0] of `b`: the value of `k` is not base64, as `decodingStrategy` says",
        );
        let rewrite = json!([{"regexp": {"source": "^(u|p).* ?", "target": "$1-"}}]);
        check(
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "a"}, "rewrite": rewrite}]}),
            "p-=p u-=u",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "a"}, "rewrite": [{"regexp": {"source": "x", "target": ""}}]}]}),
            "error: dataFrom[0].extract of `a`: `pass word` is no valid key of a Secret",
        );
    }

    #[test]
    fn what_cannot_be_made_is_named_without_its_value() {
        let store = json!({"name": "s"});
        check(
            json!({"secretStoreRef": store, "data": [{"secretKey": "k", "remoteRef": {"key": "a", "property": "missing"}}]}),
            "error: data[0] of `a`: property `missing` does not exist in the secret",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "b"}}]}),
            "error: dataFrom[0].extract of `b`: the secret is not a JSON object",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "c"}}]}),
            "error: dataFrom[0].extract of `c`: two keys become `x_y`; use `conversionStrategy: Unicode`",
        );
        check(
            json!({"secretStoreRef": store, "data": [{"secretKey": "k", "remoteRef": {"key": "b", "nullBytePolicy": "Fail"}}]}),
            "error: data[0] of `b`: the value of `k` has a null byte, and `nullBytePolicy` is Fail",
        );
        check(
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "a", "conversionStrategy": "Unicode"}}]}),
            "pass_U0020_word=p user=u",
        );
    }
}
