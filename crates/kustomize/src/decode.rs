//! Pure: strict decoding of a kustomization: known fields, right types, no coercion, all errors at once.

use goyaml::{Mapping, Node, NodeKind};

use crate::error::{BuildError, Errors, Problem};

/// Where a decoder puts what is wrong.
pub(crate) struct Decoder<'e> {
    /// All that is wrong so far.
    pub(crate) errors: &'e mut Errors,
    file: &'e str,
    /// Unknown fields are errors in a kustomization, and nothing in a transformer's configuration.
    strict: bool,
}

/// The fields of one map, taken out one by one.
pub(crate) struct Fields<'n> {
    name: String,
    line: usize,
    entries: Vec<Field<'n>>,
    known: Vec<&'static str>,
}

/// One field of a map, and whether it was taken.
struct Field<'n> {
    key: &'n str,
    value: &'n Node,
    taken: bool,
}

impl<'e> Decoder<'e> {
    /// A decoder of a file, whose name stands in messages.
    pub(crate) fn new(errors: &'e mut Errors, file: &'e str, strict: bool) -> Self {
        Self {
            errors,
            file,
            strict,
        }
    }

    /// Reports an error at a line of the file, with what to do next.
    pub(crate) fn fail_with(&mut self, line: u32, message: String, hint: &str) {
        self.errors.push(self.error(line, message).hint(hint));
    }

    /// An error at a line of the file.
    fn error(&self, line: u32, message: String) -> BuildError {
        BuildError::from(Problem::Kustomization(message)).at(self.file, line as usize)
    }

    /// Reports a value of another type. A scalar where a text is wanted gets the hint to quote it: kustomize coerces
    /// nothing.
    fn wrong_type(&mut self, node: &Node, name: &str, wanted: &str) {
        let mut error = self.error(
            node.line,
            format!(
                "field `{name}` must be a {wanted}, not {}",
                with_article(node.kind_name())
            ),
        );
        if wanted == "string"
            && let Some(text) = node.as_text()
        {
            error = error.hint(format!("put the value in quotes: \"{text}\""));
        }
        self.errors.push(error);
    }

    /// The fields of a map; nothing (and an error) for anything else.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, name: &str) -> Option<Fields<'n>> {
        let Some(mapping) = node.as_mapping() else {
            self.wrong_type(node, name, "map");
            return None;
        };
        let entries = mapping.iter().map(|entry| Field {
            key: &entry.key,
            value: &entry.value,
            taken: false,
        });
        Some(Fields {
            name: name.to_owned(),
            line: node.line as usize,
            entries: entries.collect(),
            known: Vec::new(),
        })
    }

    /// A text; nothing, and an error, for anything else.
    pub(crate) fn string(&mut self, node: &Node, name: &str) -> Option<String> {
        if node.is_null() {
            return None;
        }
        // A plugin's configuration is taken as its text, whatever type that looks like.
        let lenient = || node.as_text().filter(|_| !self.strict);
        let text = node.as_str().or_else(lenient).map(str::to_owned);
        if text.is_none() {
            self.wrong_type(node, name, "string");
        }
        text
    }

    /// `true` or `false`; nothing, and an error, for anything else.
    fn bool(&mut self, node: &Node, name: &str) -> Option<bool> {
        if node.is_null() {
            return None;
        }
        let value = node.as_bool();
        if value.is_none() {
            self.wrong_type(node, name, "boolean");
        }
        value
    }

    /// An integer; nothing, and an error, for anything else.
    fn int(&mut self, node: &Node, name: &str) -> Option<i64> {
        if node.is_null() {
            return None;
        }
        let value = node.as_scalar().and_then(|scalar| match scalar.meaning() {
            goyaml::Meaning::Int(value) => i64::try_from(value).ok(),
            _ => None,
        });
        if value.is_none() {
            self.wrong_type(node, name, "number");
        }
        value
    }
}

impl<'n> Fields<'n> {
    /// The name of a field with those above it: `images[0].newTag`.
    fn path(&self, field: &str) -> String {
        if self.name.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.name)
        }
    }

    /// The line of the map.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The value of a field, whatever it is. Names match without regard to case, as Go's JSON does.
    pub(crate) fn node(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        let mut found = None;
        for field in self
            .entries
            .iter_mut()
            .filter(|field| field.key.eq_ignore_ascii_case(name))
        {
            field.taken = true;
            found = Some(field.value);
        }
        found
    }

    /// Takes a text; empty if it is absent or null.
    pub(crate) fn string(&mut self, decoder: &mut Decoder<'_>, name: &'static str) -> String {
        let path = self.path(name);
        self.node(name)
            .and_then(|node| decoder.string(node, &path))
            .unwrap_or_default()
    }

    /// Takes a text; `None` if it is absent.
    pub(crate) fn optional_string(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
    ) -> Option<String> {
        let path = self.path(name);
        self.node(name).and_then(|node| decoder.string(node, &path))
    }

    /// Takes a flag; false if it is absent.
    pub(crate) fn flag(&mut self, decoder: &mut Decoder<'_>, name: &'static str) -> bool {
        let path = self.path(name);
        self.node(name)
            .and_then(|node| decoder.bool(node, &path))
            .unwrap_or_default()
    }

    /// Takes an integer; 0 if it is absent.
    pub(crate) fn int(&mut self, decoder: &mut Decoder<'_>, name: &'static str) -> i64 {
        let path = self.path(name);
        self.node(name)
            .and_then(|node| decoder.int(node, &path))
            .unwrap_or_default()
    }

    /// Takes a list; empty if it is absent or null. An element that cannot be read is left out, and reported.
    pub(crate) fn list<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        mut decode: impl FnMut(&mut Decoder<'_>, &Node, &str) -> Option<T>,
    ) -> Vec<T> {
        // An element that is nothing stands for one without any field, as in Go's JSON.
        self.elements(decoder, name, |decoder, node, path| {
            if node.is_null() {
                let mut empty = Node::empty_mapping();
                empty.line = node.line;
                return decode(decoder, &empty, path);
            }
            decode(decoder, node, path)
        })
    }

    /// The elements that can be read, each with its index in the name of the field.
    fn elements<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        mut decode: impl FnMut(&mut Decoder<'_>, &Node, &str) -> Option<T>,
    ) -> Vec<T> {
        let path = self.path(name);
        match self.node(name) {
            Some(Node {
                kind: NodeKind::Sequence(nodes),
                ..
            }) => {
                let indexed = nodes.iter().enumerate();
                indexed
                    .filter_map(|(index, node)| decode(decoder, node, &format!("{path}[{index}]")))
                    .collect()
            }
            Some(node) if !node.is_null() => {
                decoder.wrong_type(node, &path, "list");
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// A list of strings. An element that is nothing is an empty string, which no list of names or texts may hold:
    /// whatever uses it says so.
    pub(crate) fn strings(&mut self, decoder: &mut Decoder<'_>, name: &'static str) -> Vec<String> {
        self.elements(decoder, name, |decoder, node, path| {
            if node.is_null() {
                return Some(String::new());
            }
            decoder.string(node, path)
        })
    }

    /// A map of string to string, in the order of its text.
    pub(crate) fn string_map(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
    ) -> Vec<(String, String)> {
        let path = self.path(name);
        let Some(node) = self.node(name).filter(|node| !node.is_null()) else {
            return Vec::new();
        };
        let Some(mapping) = node.as_mapping() else {
            decoder.wrong_type(node, &path, "map");
            return Vec::new();
        };
        string_entries(decoder, mapping, &path)
    }

    /// Takes a map; the default if it is absent or null.
    pub(crate) fn object<T>(
        &mut self,
        decoder: &mut Decoder<'_>,
        name: &'static str,
        decode: impl FnOnce(&mut Decoder<'_>, &'n Node, &str) -> Option<T>,
    ) -> Option<T> {
        let path = self.path(name);
        let node = self.node(name).filter(|node| !node.is_null())?;
        decode(decoder, node, &path)
    }

    /// Every field that nobody asked for is an error, with the nearest known name as a hint.
    pub(crate) fn finish(self, decoder: &mut Decoder<'_>) {
        if !decoder.strict {
            return;
        }
        for field in self.entries.iter().filter(|field| !field.taken) {
            let mut error = decoder.error(
                field.value.line,
                format!("unknown field `{}`", self.path(field.key)),
            );
            if let Some(near) = nearest(field.key, self.known.iter().copied()) {
                error = error.hint(format!("did you mean `{near}`?"));
            }
            decoder.errors.push(error);
        }
    }
}

/// The entries of a map of texts, in the order of their keys.
fn string_entries(
    decoder: &mut Decoder<'_>,
    mapping: &Mapping,
    path: &str,
) -> Vec<(String, String)> {
    let entries = mapping.iter().filter_map(|entry| {
        let path = format!("{path}.{}", entry.key);
        if entry.value.is_null() {
            return Some((entry.key.to_string(), String::new()));
        }
        Some((entry.key.to_string(), decoder.string(&entry.value, &path)?))
    });
    entries.collect()
}

/// `a map`, `an integer`.
pub(crate) fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {name}")
}

/// The known name that is at most a third of its length away from what was written.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of insertions, deletions and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The nearest of the known names, as a hint.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}
