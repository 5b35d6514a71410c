//! Pure: the parts of `find` and of tags that all providers have in common.

use std::collections::BTreeMap;

use crate::secrets::composition_budget::ENTRY_BYTES;
use crate::secrets::desired::Search;
use crate::secrets::provider_error::ProviderError;
use crate::secrets::{SecretData, SecretValue};

/// The expression that the names of a search match. Without one, every name does. The syntax is Go's, as External Secrets
/// has it; an expression that Go refuses is an error that names `find.name.regexp`.
pub fn name_pattern(search: &Search) -> Result<regex::Regex, ProviderError> {
    let text = search.name.as_deref().unwrap_or_default();
    gocompat::regex::compile(text).map_err(|error| ProviderError::Other {
        key: "*".to_owned(),
        reason: format!("`find.name.regexp`: {}", error.code()),
    })
}

/// The values that a search has found so far, within a limit: a search without a narrow name may match a whole account.
#[derive(Debug, Default)]
pub struct FoundValues {
    data: SecretData,
    bytes: usize,
}

impl FoundValues {
    /// The most bytes of all names and values.
    const MAX_BYTES: usize = 16 << 20;

    /// Adds a value.
    ///
    /// # Errors
    /// All values together are larger than a search may give.
    pub fn insert(&mut self, name: String, value: SecretValue) -> Result<(), ProviderError> {
        self.bytes += ENTRY_BYTES + name.len() + value.expose().len();
        if self.bytes > Self::MAX_BYTES {
            return Err(ProviderError::Other {
                key: "*".to_owned(),
                reason: format!(
                    "`find` matches more than {} secrets of {} bytes in all, and may give {}; use a narrower `name`, `path` or `tags`",
                    self.data.len(),
                    self.bytes,
                    Self::MAX_BYTES
                ),
            });
        }
        self.data.insert(name, value);
        Ok(())
    }

    /// All values, by name.
    pub fn into_data(self) -> SecretData {
        self.data
    }
}

/// Tags as a JSON object, which is the value of `metadataPolicy: Fetch`.
pub fn tags_as_json(tags: impl Iterator<Item = (String, String)>) -> SecretValue {
    let tags: BTreeMap<String, String> = tags.collect();
    SecretValue::from(serde_json::json!(tags).to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: Option<&str>, name: &str, expected: bool) {
        let search = Search {
            name: pattern.map(str::to_owned),
            ..Search::default()
        };
        assert_eq!(
            name_pattern(&search).unwrap().is_match(name),
            expected,
            "{pattern:?} {name}"
        );
    }

    #[test]
    fn a_search_matches_names_as_go_does() {
        check(None, "any", true);
        check(Some("^app/"), "app/db", true);
        check(Some("^app/"), "my/app/db", false);
        check(Some("db$"), "app/db", true);
    }

    #[test]
    fn an_expression_that_go_refuses_is_named() {
        let search = Search {
            name: Some("(".to_owned()),
            ..Search::default()
        };
        let error = name_pattern(&search).unwrap_err().to_string();
        assert!(error.contains("`find.name.regexp`"), "{error}");
    }

    #[test]
    fn the_values_of_a_search_are_bounded() {
        let mut found = FoundValues::default();
        let value = SecretValue::from(vec![b'x'; 65_536]);
        let error = (0..1_000).find_map(|at| found.insert(format!("s{at}"), value.clone()).err());
        let error = error.expect("65 MB are too much").to_string();
        assert!(
            error.contains("more than 255 secrets of 16819090 bytes in all, and may give 16777216"),
            "{error}"
        );
        assert_eq!(found.into_data().len(), 255);
    }

    #[test]
    fn tags_are_sorted() {
        let tags = [("team", "web"), ("env", "prod")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let json = tags_as_json(tags.into_iter());
        assert_eq!(json.expose(), br#"{"env":"prod","team":"web"}"#);
    }
}
