//! Pure: the functions of sprig, one file per family.

pub(crate) mod certificates;
pub(crate) mod crypto;
pub(crate) mod dates;
pub(crate) mod decimal;
pub(crate) mod defaults;
pub(crate) mod dicts;
pub(crate) mod json;
pub(crate) mod lists;
pub(crate) mod numbers;
pub(crate) mod paths;
pub(crate) mod regex;
pub(crate) mod semver;
pub(crate) mod strings;
mod words;
