//! Pure: the key-value pairs of a generator: env files, literals, files, in this order.

use std::collections::BTreeSet;

use crate::budget::{Cost, NODE_BYTES, as_u64};
use crate::error::{BuildError, Problem};
use crate::kustomization::GeneratorArgs;
use crate::load::{Directory, Loader};

/// One key and its bytes.
pub(super) struct Pair {
    /// The key in the data.
    pub(super) key: String,
    /// The bytes, which need not be text.
    pub(super) value: Vec<u8>,
}

/// Reads all sources. A key that comes twice is an error.
pub(super) fn read(
    loader: &Loader<'_>,
    directory: &Directory,
    args: &GeneratorArgs,
) -> Result<Vec<Pair>, BuildError> {
    let mut pairs = Vec::new();
    for (index, env) in args.envs.iter().enumerate() {
        let (path, text) = loader
            .text(directory, env)
            .map_err(|error| error.field(format!("envs[{index}]")))?;
        let shown = loader.show(&path);
        charge(loader, text.len()).map_err(|error| error.field(format!("envs[{index}]")))?;
        for (index, line) in text.lines().enumerate() {
            pairs
                .extend(env_line(line, index).map_err(|error| error.at(shown.clone(), index + 1))?);
        }
    }
    for (index, literal) in args.literals.iter().enumerate() {
        let pair = charge(loader, literal.len()).and_then(|()| parse_literal(literal));
        pairs.push(pair.map_err(|error| error.field(format!("literals[{index}]")))?);
    }
    for (index, file) in args.files.iter().enumerate() {
        let pair = read_file(loader, directory, file);
        pairs.push(pair.map_err(|error| error.field(format!("files[{index}]")))?);
    }
    let mut keys = BTreeSet::new();
    match pairs.iter().find(|pair| !keys.insert(pair.key.as_str())) {
        None => Ok(pairs),
        Some(pair) => {
            let message = format!(
                "configmap {} illegally repeats the key `{}`",
                args.name, pair.key
            );
            let error = BuildError::from(Problem::Transform(message));
            Err(error.hint("each key may come once, from `files`, `literals` or `envs`"))
        }
    }
}

/// Charges a value as it is read and as it is encoded.
fn charge(loader: &Loader<'_>, bytes: usize) -> Result<(), BuildError> {
    let bytes = NODE_BYTES + as_u64(bytes).saturating_mul(5) / 2;
    Ok(loader.budget.charge(Cost::Bytes, bytes)?)
}

/// Reads a line of an env file: `key=value`; nothing for an empty line and a comment. The first line may have a byte order
/// mark. A key without `=` is refused: kustomize would take its value from the environment.
fn env_line(line: &str, index: usize) -> Result<Option<Pair>, BuildError> {
    let line = if index == 0 {
        line.trim_start_matches('\u{feff}')
    } else {
        line
    };
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    if key.is_empty() {
        return Err(Problem::Transform("an env line has no key before `=`".to_owned()).into());
    }
    Ok(Some(Pair {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
    }))
}

/// Reads `key=value`. One pair of quotes around the value is taken off.
fn parse_literal(literal: &str) -> Result<Pair, BuildError> {
    match literal.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Pair {
            key: key.to_owned(),
            value: unquote(value).as_bytes().to_vec(),
        }),
        // The literal may be a secret: only what stands before a `=` is shown, and here nothing does.
        _ => {
            let message = "invalid literal source, expected key=value".to_owned();
            Err(BuildError::from(Problem::Transform(message))
                .hint("write a key before the first `=`"))
        }
    }
}

/// Removes one pair of equal quotes around the value.
fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}

/// Reads `[key=]path`.
fn read_file(loader: &Loader<'_>, directory: &Directory, source: &str) -> Result<Pair, BuildError> {
    let parts: Vec<&str> = source.split('=').collect();
    let (key, path) = match parts[..] {
        [path] => (path.rsplit('/').next().unwrap_or_default(), path),
        [key, path] if !key.is_empty() && !path.is_empty() => (key, path),
        [_, _] => {
            return Err(Problem::Transform(format!(
                "key name or file path missing in file source `{source}`"
            ))
            .into());
        }
        _ => {
            return Err(Problem::Transform(format!(
                "key names or file paths cannot contain '=': `{source}`"
            ))
            .into());
        }
    };
    let (_, bytes) = loader.file(directory, path)?;
    charge(loader, bytes.len())?;
    Ok(Pair {
        key: key.to_owned(),
        value: bytes.to_vec(),
    })
}
