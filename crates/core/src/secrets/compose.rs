//! Pure: composes the data of a Secret out of what was read: the entries of `dataFrom` in order, then those of `data`.

use std::collections::{BTreeMap, BTreeSet};

use gotemplate::Environment;

use crate::api::external_secret::{
    ConversionStrategy, DecodingStrategy, DeletionPolicy, NullBytePolicy, Rewrite,
};
use crate::secrets::composition_budget::{CompositionBudget, OverBudget, shortened};
use crate::secrets::decoding::decoded;
use crate::secrets::desired::{
    DataFromSource, DesiredSecret, FindEntry, GeneratorEntry, Lookup, RemoteEntry, StoreLookup,
    StoreRef,
};
use crate::secrets::property;
use crate::secrets::property::PropertyError;
use crate::secrets::rewrite::{RewriteError, rewrite};
use crate::secrets::{SecretData, SecretValue};

/// The values that were read and generated for an ExternalSecret.
#[derive(Debug, Default)]
pub struct FetchedValues {
    /// The result of each lookup; each is made once.
    pub results: BTreeMap<StoreLookup, LookupResult>,
    /// The values of generators, by the field of the spec that refers to them.
    pub generated: BTreeMap<String, SecretData>,
    /// Stores in which a secret that lacks a property counts as missing.
    pub lenient: BTreeSet<StoreRef>,
}

/// The result of a lookup in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupResult {
    /// The value, or the tags as a JSON object.
    Value(SecretValue),
    /// The values that a search matched, by name.
    Found(SecretData),
    /// The store has no such secret. This is the only way to say so: any error may be gone soon.
    Missing,
}

/// The data of a Secret.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Composed {
    /// Key to value.
    pub data: SecretData,
    /// Keys that the stores do not have, and that the deletion policy lets them miss.
    pub missing: Vec<String>,
}

/// The place of a problem, and how keys and values are converted there.
struct At<'e> {
    field: &'e str,
    /// The key in the store; empty for a search.
    key: &'e str,
    conversion: ConversionStrategy,
    decoding: DecodingStrategy,
    null_bytes: NullBytePolicy,
}

impl<'e> At<'e> {
    fn entry(entry: &'e RemoteEntry) -> Self {
        Self {
            field: &entry.field,
            key: &entry.remote.key,
            conversion: entry.remote.conversion_strategy.unwrap_or_default(),
            decoding: entry.remote.decoding_strategy.unwrap_or_default(),
            null_bytes: entry.remote.null_byte_policy.unwrap_or_default(),
        }
    }

    fn find(entry: &'e FindEntry) -> Self {
        Self {
            field: &entry.field,
            key: "",
            conversion: entry.find.conversion_strategy.unwrap_or_default(),
            decoding: entry.find.decoding_strategy.unwrap_or_default(),
            null_bytes: entry.find.null_byte_policy.unwrap_or_default(),
        }
    }

    fn error(&self, problem: Problem) -> ComposeError {
        let place = if self.key.is_empty() {
            self.field.to_owned()
        } else {
            format!("{} of `{}`", self.field, self.key)
        };
        ComposeError { place, problem }
    }
}

/// Why the data cannot be composed. The text names keys and fields, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ComposeError {
    /// The field of the spec, and the key in the store.
    place: String,
    #[source]
    problem: Problem,
}

/// What is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("secret `{0}` does not exist")]
    Missing(String),
    #[error(transparent)]
    Property(#[from] PropertyError),
    #[error("the secret is not a JSON object")]
    NotAnObject,
    #[error("two keys become `{0}`; use `conversionStrategy: Unicode`")]
    Collision(String),
    #[error("`{0}` is no valid key of a Secret")]
    InvalidKey(String),
    #[error("the value of `{0}` has a null byte, and `nullBytePolicy` is Fail")]
    NullByte(String),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error("the value of `{name}` is not {encoding}, as `decodingStrategy` says")]
    Encoding {
        name: String,
        encoding: &'static str,
    },
    #[error("it was not read")]
    NotRead,
    #[error(transparent)]
    TooMuch(#[from] OverBudget),
}

/// Composes the data. The environment is that of templates that rewrite keys.
///
/// Under `deletionPolicy: Retain` a missing secret is an error; under the other policies its keys are left out.
///
/// # Errors
/// A secret or a property is missing, a key or a value is invalid, a lookup has no result, or the data would take more
/// memory or work than one ExternalSecret may use.
pub fn compose(
    desired: &DesiredSecret,
    fetched: &FetchedValues,
    environment: &Environment<'_>,
) -> Result<Composed, ComposeError> {
    let mut composed = Composed::default();
    let mut miss = |at: &At<'_>| match desired.deletion {
        DeletionPolicy::Retain => Err(at.error(Problem::Missing(at.key.to_owned()))),
        DeletionPolicy::Delete | DeletionPolicy::Merge => {
            composed.missing.push(at.key.to_owned());
            Ok(())
        }
    };
    let budget = CompositionBudget::default();
    let making = Making {
        environment,
        budget: &budget,
    };
    let mut data = SecretData::new();
    for source in &desired.sources {
        match source {
            DataFromSource::Extract(entry) => {
                let at = At::entry(entry);
                match payload(entry, fetched)? {
                    None => miss(&at)?,
                    Some(payload) => {
                        making.charge(&at, 0, payload.expose().len())?;
                        let members = property::members(&payload)
                            .map_err(|_| at.error(Problem::NotAnObject))?;
                        making.charge(&at, members.len(), payload.expose().len())?;
                        let members = members.into_iter().collect();
                        data.extend(several(&at, members, &entry.rewrite, &making)?);
                    }
                }
            }
            DataFromSource::Find(entry) => {
                let at = At::find(entry);
                let Some(LookupResult::Found(found)) = fetched.results.get(&entry.lookup()) else {
                    return Err(at.error(Problem::NotRead));
                };
                making.charge(&at, found.len(), size_of(found))?;
                data.extend(several(&at, found.clone(), &entry.rewrite, &making)?);
            }
            DataFromSource::Generate(entry) => data.extend(generated(entry, fetched, &making)?),
        }
    }
    for (name, entry) in &desired.data {
        let at = At::entry(entry);
        match payload(entry, fetched)? {
            None => miss(&at)?,
            Some(value) => {
                making.charge(&at, 1, name.len().saturating_add(value.expose().len()))?;
                data.insert(name.clone(), treated(&at, name, value, &making)?);
            }
        }
    }
    composed.data = data;
    Ok(composed)
}

/// What the composition has beside the values: the environment of templates, and what it may still use.
struct Making<'m, 'e> {
    environment: &'m Environment<'e>,
    budget: &'m CompositionBudget,
}

impl Making<'_, '_> {
    /// Charges entries whose keys and values have so many bytes.
    fn charge(&self, at: &At<'_>, entries: usize, bytes: usize) -> Result<(), ComposeError> {
        let charged = self.budget.charge_entries(entries, bytes);
        charged.map_err(|over| at.error(over.into()))
    }

    /// Renames the keys as the operations say.
    fn rewritten(
        &self,
        at: &At<'_>,
        operations: &[Rewrite],
        data: SecretData,
    ) -> Result<SecretData, ComposeError> {
        let renamed = rewrite(operations, data, self.environment, self.budget);
        renamed.map_err(|error| at.error(error.into()))
    }
}

/// The bytes of all keys and values.
fn size_of(data: &SecretData) -> usize {
    let sizes = data.iter();
    sizes
        .map(|(key, value)| key.len() + value.expose().len())
        .sum()
}

/// The value of an entry, or its property; `None` if the secret does not exist.
fn payload(
    entry: &RemoteEntry,
    fetched: &FetchedValues,
) -> Result<Option<SecretValue>, ComposeError> {
    let at = At::entry(entry);
    let lookup = entry.lookup();
    let value = match fetched.results.get(&lookup) {
        Some(LookupResult::Value(value)) => value,
        Some(LookupResult::Missing) => return Ok(None),
        Some(LookupResult::Found(_)) | None => return Err(at.error(Problem::NotRead)),
    };
    let property = entry.remote.property.as_deref();
    let Some(path) = property.filter(|property| !property.is_empty()) else {
        return Ok(Some(value.clone()));
    };
    let found = match lookup.lookup {
        // A tag is taken by its exact name; a path would be ambiguous.
        Lookup::Tags { .. } => property::member(value, path),
        _ => property::get(value, path),
    };
    match found {
        Err(PropertyError::Missing(_)) if fetched.lenient.contains(&entry.store) => Ok(None),
        found => found.map(Some).map_err(|error| at.error(error.into())),
    }
}

/// The keys are rewritten or else converted, and the values decoded.
fn several(
    at: &At<'_>,
    members: SecretData,
    operations: &[Rewrite],
    making: &Making<'_, '_>,
) -> Result<SecretData, ComposeError> {
    // Keys are converted only where no rewrite replaces them.
    let renamed = if operations.is_empty() {
        let conversion = members.keys().map(|key| most_converted(key, at.conversion));
        making.charge(at, members.len(), conversion.sum())?;
        converted(at, members)?
    } else {
        making.rewritten(at, operations, members)?
    };
    let mut data = SecretData::new();
    for (name, value) in valid_keys(at, renamed)? {
        let value = treated(at, &name, value, making)?;
        data.insert(name, value);
    }
    Ok(data)
}

/// The values of a generator, their keys rewritten.
fn generated(
    entry: &GeneratorEntry,
    fetched: &FetchedValues,
    making: &Making<'_, '_>,
) -> Result<SecretData, ComposeError> {
    let at = At {
        field: &entry.field,
        key: "",
        conversion: ConversionStrategy::Default,
        decoding: DecodingStrategy::None,
        null_bytes: NullBytePolicy::Ignore,
    };
    let Some(made) = fetched.generated.get(&entry.field) else {
        return Err(at.error(Problem::NotRead));
    };
    making.charge(&at, made.len(), size_of(made))?;
    let renamed = making.rewritten(&at, &entry.rewrite, made.clone())?;
    valid_keys(&at, renamed)
}

/// Checks keys. An empty key is left out.
fn valid_keys(at: &At<'_>, mut data: SecretData) -> Result<SecretData, ComposeError> {
    data.remove("");
    let invalid = |name: &&String| name.len() > 253 || !name.chars().all(is_key_character);
    match data.keys().find(invalid) {
        Some(name) => Err(at.error(Problem::InvalidKey(shortened(name)))),
        None => Ok(data),
    }
}

/// The members under their converted keys. Two members with the same converted key are an error.
fn converted(at: &At<'_>, members: SecretData) -> Result<SecretData, ComposeError> {
    let mut data = SecretData::new();
    for (member, value) in members {
        let name = convert(&member, at.conversion);
        if !name.is_empty() && data.contains_key(&name) {
            return Err(at.error(Problem::Collision(shortened(&name))));
        }
        data.insert(name, value);
    }
    Ok(data)
}

/// The value decoded, and checked for null bytes if the policy forbids them.
fn treated(
    at: &At<'_>,
    name: &str,
    value: SecretValue,
    making: &Making<'_, '_>,
) -> Result<SecretValue, ComposeError> {
    if at.decoding != DecodingStrategy::None {
        making.charge(at, 0, value.expose().len())?;
    }
    let value = decoded(at.decoding, value).map_err(|encoding| {
        at.error(Problem::Encoding {
            name: shortened(name),
            encoding,
        })
    })?;
    if at.null_bytes == NullBytePolicy::Fail && value.expose().contains(&0) {
        return Err(at.error(Problem::NullByte(shortened(name))));
    }
    Ok(value)
}

/// The most bytes of a converted key.
fn most_converted(key: &str, strategy: ConversionStrategy) -> usize {
    /// `_U10ffff_`
    const LONGEST: usize = 9;
    match strategy {
        ConversionStrategy::Default => key.len(),
        ConversionStrategy::Unicode => key.len().saturating_mul(LONGEST),
    }
}

fn is_key_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '-' | '.' | '_')
}

/// Replaces each character that a key of a Secret cannot have by `_` or `_Uhhhh_`.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::secrets::desired::resolve;
    use crate::secrets::shown;

    /// Reads `a` = `{"user":"u","pass word":"p"}`, `b` = `text`, and so on; finds `/x/y` and `/x/z`; generates `made`.
    fn check(spec: Value, expected: &str) {
        let spec = serde_json::from_value(spec).unwrap();
        let desired = resolve("es", &spec).unwrap();
        let mut fetched = FetchedValues::default();
        let of = |store: &StoreRef, lookup: Lookup| StoreLookup {
            store: store.clone(),
            lookup,
        };
        for store in desired.stores() {
            for (key, value) in [
                ("a", r#"{"user":"u","pass word":"p"}"#),
                ("b", "te\0xt"),
                ("d", "aGk/Pg=="),
                ("e", "aGk_Pg=="),
                ("c", r#"{"x y":1,"x-y":2,"x_y":3}"#),
            ] {
                let lookup = Lookup::Value {
                    key: key.into(),
                    version: String::new(),
                };
                fetched
                    .results
                    .insert(of(&store, lookup), LookupResult::Value(secret(value)));
            }
            let lookup = Lookup::Tags { key: "a".into() };
            let tags = r#"{"team.name":"web","env":"prod"}"#;
            fetched
                .results
                .insert(of(&store, lookup), LookupResult::Value(secret(tags)));
        }
        for lookup in desired.lookups() {
            let found = [("/x/y", "1"), ("/x/z", "Mg==")];
            let found = found.map(|(key, value)| (key.to_owned(), secret(value)));
            let result = match lookup.lookup {
                Lookup::Find(_) => LookupResult::Found(found.into()),
                _ => LookupResult::Missing,
            };
            fetched.results.entry(lookup).or_insert(result);
        }
        for generator in desired.generators() {
            let made = SecretData::from([("made".to_owned(), secret("new"))]);
            fetched.generated.insert(generator.field.clone(), made);
        }
        let text = match compose(&desired, &fetched, &Environment::fixed()) {
            Ok(Composed { data, missing }) if missing.is_empty() => shown(&data),
            Ok(Composed { data, missing }) => format!("{} without {missing:?}", shown(&data)),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    fn secret(text: &str) -> SecretValue {
        SecretValue::from(text.as_bytes().to_vec())
    }

    /// Composes with every search finding so many values of so many bytes.
    fn refused(spec: Value, found: usize, bytes: usize, expected: &str) {
        let spec = serde_json::from_value(spec).unwrap();
        let desired = resolve("es", &spec).unwrap();
        let mut fetched = FetchedValues::default();
        for lookup in desired.lookups() {
            let value = secret(&format!("[{}1]", "1,".repeat(bytes / 2)));
            let of = |at: usize| (format!("{at:0100}"), value.clone());
            let result = match lookup.lookup {
                Lookup::Find(_) => LookupResult::Found((0..found).map(of).collect()),
                _ => LookupResult::Value(value),
            };
            fetched.results.insert(lookup, result);
        }
        let result = compose(&desired, &fetched, &Environment::fixed());
        let error = result.expect_err("too much is refused").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.len() < 600, "{error}");
    }

    #[test]
    fn the_data_of_one_external_secret_is_bounded() {
        let store = json!({"name": "s"});
        let find = json!({"find": {"name": {"regexp": ".*"}}});
        let many = "bytes with it; one ExternalSecret may use 33554432";
        let finds = |more: Value| json!({"secretStoreRef": store, "dataFrom": [more]});
        refused(
            finds(find.clone()),
            150_000,
            8,
            &format!("dataFrom[0].find: the data would need 40650000 {many}"),
        );
        refused(finds(find), 10_000, 4_000, many);
        let unicode = json!({"find": {"name": {"regexp": ".*"}, "conversionStrategy": "Unicode"}});
        refused(finds(unicode), 40_000, 8, many);
        let decoding = json!({"find": {"name": {"regexp": ".*"}, "decodingStrategy": "Auto"}});
        refused(finds(decoding), 1_000, 30_000, many);
        let data: Vec<Value> = (0..40)
            .map(|at| json!({"secretKey": format!("k{at}"), "remoteRef": {"key": "a"}}))
            .collect();
        let data = json!({"secretStoreRef": store, "data": data});
        refused(data, 0, 1 << 20, "of `a`: the data would need");
    }

    #[test]
    fn tags_searches_and_generators() {
        let store = json!({"name": "s"});
        let from = |entry: Value| json!({"secretStoreRef": store, "dataFrom": [entry]});
        let tag = |property: &str| json!({"secretStoreRef": store, "data": [{"secretKey": "k", "remoteRef": {"key": "a", "metadataPolicy": "Fetch", "property": property}}]});
        check(tag("team.name"), "k=web");
        check(tag(""), r#"k={"team.name":"web","env":"prod"}"#);
        check(
            tag("en*"),
            "error: data[0] of `a`: property `en*` does not exist in the secret",
        );
        check(
            from(json!({"extract": {"key": "a", "metadataPolicy": "Fetch"}})),
            "env=prod team.name=web",
        );
        check(
            from(json!({"find": {"name": {"regexp": "x"}}})),
            "_x_y=1 _x_z=Mg==",
        );
        check(
            from(
                json!({"find": {"name": {"regexp": "x"}, "decodingStrategy": "Auto", "conversionStrategy": "Unicode"}}),
            ),
            "_U002f_x_U002f_y=1 _U002f_x_U002f_z=2",
        );
        check(
            from(
                json!({"find": {"tags": {"a": "b"}}, "rewrite": [{"regexp": {"source": "^/x/", "target": ""}}]}),
            ),
            "y=1 z=Mg==",
        );
        check(
            from(
                json!({"find": {"tags": {"a": "b"}}, "rewrite": [{"regexp": {"source": "q", "target": ""}}]}),
            ),
            "error: dataFrom[0].find: `/x/y` is no valid key of a Secret",
        );
        let generator = json!({"generatorRef": {"kind": "UUID", "name": "u"}});
        check(from(json!({"sourceRef": generator})), "made=new");
        check(
            from(
                json!({"sourceRef": generator, "rewrite": [{"regexp": {"source": "^", "target": "db-"}}]}),
            ),
            "db-made=new",
        );
    }

    #[test]
    fn a_missing_secret_fails_or_is_left_out() {
        let entry = |policy: &str| {
            json!({
                "secretStoreRef": {"name": "s"},
                "data": [
                    {"secretKey": "k", "remoteRef": {"key": "nobody"}},
                    {"secretKey": "l", "remoteRef": {"key": "d"}},
                ],
                "target": {"deletionPolicy": policy},
            })
        };
        check(
            entry("Retain"),
            "error: data[0] of `nobody`: secret `nobody` does not exist",
        );
        check(entry("Delete"), r#"l=aGk/Pg== without ["nobody"]"#);
        check(entry("Merge"), r#"l=aGk/Pg== without ["nobody"]"#);
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

    proptest! {
        /// Whatever a key is, what becomes of it is valid, and what was valid stays.
        #[test]
        fn converted_keys_are_valid(member in any::<String>()) {
            for strategy in [ConversionStrategy::Default, ConversionStrategy::Unicode] {
                let name = convert(&member, strategy);
                prop_assert!(name.chars().all(is_key_character));
                prop_assert_eq!(convert(&name, strategy), name.clone());
                if member.chars().all(is_key_character) {
                    prop_assert_eq!(name, member.clone());
                }
            }
        }

        /// Keys that differ do not become one in silence.
        #[test]
        fn conversion_loses_no_key(members in proptest::collection::btree_map("[a-c /.é_]{1,4}", any::<u8>(), 0..6)) {
            let data = members.iter().map(|(key, value)| (key.clone(), SecretValue::from(vec![*value])));
            let at = At { field: "f", key: "k", conversion: ConversionStrategy::Default, decoding: DecodingStrategy::None, null_bytes: NullBytePolicy::Ignore };
            if let Ok(converted) = converted(&at, data.collect()) {
                prop_assert_eq!(converted.len(), members.len());
            }
        }
    }
}
