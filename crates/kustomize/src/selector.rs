//! Pure: which resources a patch or a replacement is for: anchored regular expressions and label selectors.

use goyaml::Node;
use regex::Regex;

use crate::decode::Decoder;
use crate::error::Problem;
use crate::gvk::Gvk;
use crate::resource::{ResId, ResMap, Resource, effective_namespace};

/// A selector as written: anchored regular expressions, and label selectors. What is empty matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// A regular expression of the API group.
    pub group: String,
    /// One of the version.
    pub version: String,
    /// One of the kind.
    pub kind: String,
    /// One of the name.
    pub name: String,
    /// One of the namespace.
    pub namespace: String,
    /// A Kubernetes label selector.
    pub label_selector: String,
    /// The same for annotations.
    pub annotation_selector: String,
}

/// A selector that can be asked about objects.
pub struct Target(SelectorRegex);

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Target").finish_non_exhaustive()
    }
}

impl Target {
    /// True for an object that the selector means.
    #[must_use]
    pub fn matches(&self, object: &serde_json::Value) -> bool {
        let text = |pointer: &str| {
            let text = object.pointer(pointer).and_then(serde_json::Value::as_str);
            text.unwrap_or_default()
        };
        let gvk = Gvk::new(text("/apiVersion"), text("/kind"));
        let metadata = serde_json::json!({"metadata": object["metadata"]});
        self.0.matches_gvk(&gvk)
            && self.0.name.matches(text("/metadata/name"))
            && self.0.namespace.matches(text("/metadata/namespace"))
            && self.0.matches_metadata(&goyaml::from_json(&metadata))
    }
}

/// A selector, compiled.
pub(crate) struct SelectorRegex {
    group: Pattern,
    version: Pattern,
    kind: Pattern,
    name: Pattern,
    namespace: Pattern,
    labels: LabelSelector,
    annotations: LabelSelector,
}

/// An anchored regular expression. Most are plain words, which need none.
enum Pattern {
    Any,
    Word(String),
    Regex(Regex),
}

/// A Kubernetes label selector: all requirements must hold.
#[derive(Debug, Default)]
struct LabelSelector(Vec<Requirement>);

#[derive(Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    NotExists(String),
    /// `a>1`, `a<1`
    Greater(String, i64),
    Less(String, i64),
}

impl Selector {
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        // `apiVersion` is taken by vars alone; here it is split if somebody writes it.
        let selector = Self {
            group: fields.string(decoder, "group"),
            version: fields.string(decoder, "version"),
            kind: fields.string(decoder, "kind"),
            name: fields.string(decoder, "name"),
            namespace: fields.string(decoder, "namespace"),
            label_selector: fields.string(decoder, "labelSelector"),
            annotation_selector: fields.string(decoder, "annotationSelector"),
        };
        fields.finish(decoder);
        Some(selector)
    }

    /// What to call the selector in a message.
    pub(crate) fn show(&self) -> String {
        let parts = [
            ("group", &self.group),
            ("version", &self.version),
            ("kind", &self.kind),
            ("name", &self.name),
            ("namespace", &self.namespace),
            ("labelSelector", &self.label_selector),
            ("annotationSelector", &self.annotation_selector),
        ];
        let given = parts.iter().filter(|(_, value)| !value.is_empty());
        given
            .map(|(name, value)| format!("{name}: {value}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Makes it ready to be asked.
    ///
    /// # Errors
    /// A regular expression or a selector that cannot be read.
    pub fn target(&self) -> Result<Target, Problem> {
        self.compile().map(Target)
    }

    pub(crate) fn compile(&self) -> Result<SelectorRegex, Problem> {
        Ok(SelectorRegex {
            group: Pattern::new(&self.group)?,
            version: Pattern::new(&self.version)?,
            kind: Pattern::new(&self.kind)?,
            name: Pattern::new(&self.name)?,
            namespace: Pattern::new(&self.namespace)?,
            labels: LabelSelector::parse(&self.label_selector)?,
            annotations: LabelSelector::parse(&self.annotation_selector)?,
        })
    }
}

impl SelectorRegex {
    pub(crate) fn matches_gvk(&self, gvk: &Gvk) -> bool {
        self.group.matches(&gvk.group)
            && self.version.matches(&gvk.version)
            && self.kind.matches(&gvk.kind)
    }

    /// The positions of the set that may match, in order: by name or kind where those are no patterns.
    pub(crate) fn candidates(&self, resources: &mut ResMap) -> Vec<usize> {
        resources.by_name_or_kind(self.name.word(), self.kind.word())
    }

    /// Name and namespace of one id. The namespace is compared as it is written.
    pub(crate) fn matches_id(&self, id: &ResId) -> bool {
        self.matches_gvk(&id.gvk)
            && self.name.matches(&id.name)
            && self.namespace.matches(&id.namespace)
    }

    /// The match of patch targets: today's kind, and the original or today's name and namespace.
    pub(crate) fn matches_target(&self, resource: &Resource) -> bool {
        let (original, current) = (resource.original_id(), resource.id());
        self.matches_gvk(&current.gvk)
            && (self.name.matches(&original.name) || self.name.matches(&current.name))
            && (self.namespace.matches(effective_namespace(&original))
                || self.namespace.matches(effective_namespace(current)))
            && self.matches_metadata(resource.node())
    }

    /// Labels and annotations.
    pub(crate) fn matches_metadata(&self, node: &Node) -> bool {
        self.labels.matches(node.at(&["metadata", "labels"]))
            && self
                .annotations
                .matches(node.at(&["metadata", "annotations"]))
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, Problem> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ':');
        if text.is_empty() {
            Ok(Self::Any)
        } else if text.chars().all(is_word) {
            Ok(Self::Word(text.to_owned()))
        } else {
            compile_regex(&format!("^(?:{text})$")).map(Self::Regex)
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Word(word) => word == text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Compiles a pattern in Go's syntax, within a bound of memory.
pub(crate) fn compile_regex(pattern: &str) -> Result<Regex, Problem> {
    gocompat::regex::compile(pattern).map_err(|error| Problem::Transform(error.to_string()))
}

impl LabelSelector {
    fn parse(text: &str) -> Result<Self, Problem> {
        let parts = split_outside_parentheses(text);
        let requirements = parts
            .iter()
            .map(|part| part.trim())
            .filter(|part| !part.is_empty())
            .map(requirement);
        Ok(Self(requirements.collect::<Result<_, _>>()?))
    }

    fn matches(&self, labels: Option<&Node>) -> bool {
        let value = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .and_then(Node::as_scalar)
        };
        let number = |key: &str| value(key).and_then(|scalar| scalar.text.parse::<i64>().ok());
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                value(key).is_some_and(|v| values.iter().any(|x| **x == *v.text))
            }
            Requirement::NotIn(key, values) => {
                value(key).is_none_or(|v| values.iter().all(|x| **x != *v.text))
            }
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::NotExists(key) => value(key).is_none(),
            Requirement::Greater(key, bound) => number(key).is_some_and(|number| number > *bound),
            Requirement::Less(key, bound) => number(key).is_some_and(|number| number < *bound),
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let separates = |character: char| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    };
    text.split(separates).collect()
}

fn requirement(part: &str) -> Result<Requirement, Problem> {
    let bad = || Problem::Transform(format!("unable to parse label selector `{part}`"));
    let key = |text: &str| {
        let text = text.trim();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        (!text.is_empty() && text.chars().all(valid))
            .then(|| text.to_owned())
            .ok_or_else(bad)
    };
    let set = |text: &str| -> Result<Vec<String>, Problem> {
        let inner = text
            .trim()
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'))
            .ok_or_else(bad)?;
        Ok(inner
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect())
    };
    if let Some((name, values)) = part.split_once(" notin") {
        return Ok(Requirement::NotIn(key(name)?, set(values)?));
    }
    if let Some((name, values)) = part.split_once(" in") {
        return Ok(Requirement::In(key(name)?, set(values)?));
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(
            key(name)?,
            vec![value.trim().to_owned()],
        ));
    }
    if let Some((name, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Requirement::In(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = part.split_once('>') {
        return Ok(Requirement::Greater(
            key(name)?,
            value.trim().parse().map_err(|_| bad())?,
        ));
    }
    if let Some((name, value)) = part.split_once('<') {
        return Ok(Requirement::Less(
            key(name)?,
            value.trim().parse().map_err(|_| bad())?,
        ));
    }
    match part.strip_prefix('!') {
        Some(name) => Ok(Requirement::NotExists(key(name)?)),
        None => Ok(Requirement::Exists(key(part)?)),
    }
}
