//! Pure: one object with its history.

use std::sync::Arc;

use goyaml::{Mapping, Node, Tag, Text};

use super::id::{ResId, effective_namespace};
use crate::budget::{Budget, Cost, NODE_BYTES, weigh};
use crate::decode::with_article;
use crate::error::{BuildError, Problem};
use crate::gvk::Gvk;
use crate::link::Writes;
use crate::path::RepoPath;
use crate::schema::SchemaComments;

/// The prefix of kustomize's notes among annotations.
pub(crate) const NOTE_PREFIX: &str = "internal.config.kubernetes.io/";
/// The note that asks for a hash, which people write, too.
pub(crate) const NEEDS_HASH: &str = "internal.config.kubernetes.io/needsHashSuffix";

/// One object of the set: its tree, its id, and its history.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    /// The tree of the object.
    node: Node,
    /// What it is called now. It is kept equal to the tree.
    id: ResId,
    /// What it was called before, oldest first.
    pub(crate) previous: Vec<PreviousId>,
    /// The prefixes that its name got, oldest first. References are matched by them.
    pub(crate) prefixes: Vec<Text>,
    /// The suffixes that its name got, oldest first.
    pub(crate) suffixes: Vec<Text>,
    /// The vars that were bound to it where they were declared.
    pub(crate) vars: Vec<Text>,
    /// Its name wants a hash at the end (see also [`Self::wants_hash`]).
    pub(crate) needs_hash: bool,
    /// A generator made it.
    pub(crate) generated: bool,
    /// Where it was read, for messages.
    pub(crate) origin: Option<Arc<Origin>>,
    /// The schemas that comments of its file give to fields.
    pub(crate) comments: Option<Arc<SchemaComments>>,
    /// The links given out so far (see [`crate::link`]).
    links: u32,
    /// The bytes that are charged for it.
    pub(crate) weight: u64,
    /// The transformers that ran over it, where the build is asked to say so.
    pub(crate) transformations: Vec<Arc<Origin>>,
}

/// The file a resource was read from, or the generator that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file as messages name it.
    pub(crate) file: String,
    /// The file in the tree; for a generated object, the kustomization.
    pub(crate) path: RepoPath,
    /// The generator that made it; `None` for an object of a file.
    pub(crate) configured_by: Option<ConfiguredBy>,
}

/// A generator, as the origin annotation names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfiguredBy {
    /// `builtin`, or the API version of a generator's own file.
    pub(crate) api_version: String,
    /// The kind of the generator.
    pub(crate) kind: String,
    /// The name of the generator; empty for a built-in one.
    pub(crate) name: String,
    /// The namespace of the generator; empty for a built-in one.
    pub(crate) namespace: String,
}

/// A former name, effective namespace and kind. Group and version are not remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreviousId {
    /// The name at that time.
    pub(crate) name: Text,
    /// The namespace in force at that time.
    pub(crate) namespace: Text,
    /// The kind at that time.
    pub(crate) kind: Text,
}

impl ConfiguredBy {
    /// A generator or transformer that a field of a kustomization stands for.
    pub(crate) fn builtin(kind: &str) -> Self {
        Self {
            api_version: "builtin".to_owned(),
            kind: kind.to_owned(),
            name: String::new(),
            namespace: String::new(),
        }
    }
}

impl Origin {
    /// A file of resources.
    pub(crate) fn file(shown: String, path: RepoPath) -> Self {
        Self {
            file: shown,
            path,
            configured_by: None,
        }
    }
}

impl Resource {
    /// An object, after the checks that every object must pass.
    pub(crate) fn new(node: Node) -> Result<Self, BuildError> {
        let Some(mapping) = node.as_mapping() else {
            return Err(problem(&node, "missing Resource metadata: not a map"));
        };
        let kind = mapping
            .get("kind")
            .and_then(Node::as_text)
            .unwrap_or_default();
        if kind.is_empty() {
            let error = problem(
                &node,
                &format!("missing kind in object{}", summary(mapping)),
            );
            return Err(error.hint(
                "an object has `apiVersion`, `kind` and `metadata.name`; name any other file where its text is used",
            ));
        }
        let name = node
            .at(&["metadata", "name"])
            .and_then(Node::as_text)
            .unwrap_or_default();
        if name.is_empty() && !kind.ends_with("List") {
            let error = problem(
                &node,
                &format!("missing metadata.name in object{}", summary(mapping)),
            );
            return Err(error.hint("give it a `metadata.name`; `generateName` alone is refused"));
        }
        let id = ResId::of(&node);
        let previous = noted_ids(&node);
        let prefixes = noted(&node, "prefixes");
        let suffixes = noted(&node, "suffixes");
        Ok(Self {
            node,
            id,
            previous,
            prefixes,
            suffixes,
            vars: Vec::new(),
            needs_hash: false,
            generated: false,
            origin: None,
            comments: None,
            links: 0,
            weight: 0,
            transformations: Vec::new(),
        })
    }

    /// The tree. It is changed by [`Self::change`] alone, which keeps the id equal to it.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The tree, without the history.
    pub(crate) fn into_node(self) -> Node {
        self.node
    }

    /// What it is called now.
    pub(crate) fn id(&self) -> &ResId {
        &self.id
    }

    /// Changes the tree, and reads the id anew.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Node) -> T) -> T {
        let result = change(&mut self.node);
        self.id.update(&self.node);
        result
    }

    /// Changes the tree where the id does not stand.
    pub(crate) fn change_body<T>(&mut self, change: impl FnOnce(&mut Node) -> T) -> T {
        change(&mut self.node)
    }

    /// Makes a change whose charges belong to this object.
    pub(crate) fn metered<T>(&mut self, budget: &Budget, change: impl FnOnce(&mut Self) -> T) -> T {
        let before = budget.bytes();
        let result = change(self);
        self.weight = (self.weight + budget.bytes()).saturating_sub(before);
        result
    }

    /// Charges the tree anew after it was replaced as a whole.
    pub(crate) fn charge_again(&mut self, budget: &Budget) -> Result<(), Problem> {
        let weight = weigh(&self.node);
        budget.charge(Cost::Steps, weight.nodes)?;
        budget.resize(self.weight, weight.bytes)?;
        self.weight = weight.bytes;
        Ok(())
    }

    /// The steps that a walk over the whole tree takes, by what is charged for it.
    pub(crate) fn walk_steps(&self) -> u64 {
        1 + self.weight / NODE_BYTES
    }

    /// A number for values that will stand in several places.
    pub(crate) fn next_link(&mut self) -> u32 {
        self.links += 1;
        self.links
    }

    /// Changes the tree where the id does not stand, and everything that is linked to what was written.
    pub(crate) fn change_linked<T>(
        &mut self,
        change: impl FnOnce(&mut Node, &mut Writes) -> T,
    ) -> T {
        let mut writes = Writes::default();
        let result = change(&mut self.node, &mut writes);
        writes.settle(&mut self.node);
        result
    }

    /// Remembers what the object is called now, before it is called something else.
    pub(crate) fn remember_id(&mut self) {
        self.note_id();
        self.rewrite_annotations();
    }

    /// The same, with the annotations as they are.
    pub(crate) fn note_id(&mut self) {
        self.previous.push(PreviousId {
            name: self.id.name.clone(),
            namespace: effective_namespace(&self.id).clone(),
            kind: self.id.gvk.kind.clone(),
        });
    }

    /// What kustomize notes of the object among its annotations (`resource.go`, `utils.go` of its api). Here it has
    /// fields of its own, but JSON patches see it: where a note is, there are annotations.
    pub(crate) fn notes(&self) -> Vec<(&'static str, String)> {
        let joined = |texts: &mut dyn Iterator<Item = &Text>| {
            let texts: Vec<&str> = texts.map(|text| &**text).collect();
            texts.join(",")
        };
        let enabled = |flag: bool| if flag { "enabled" } else { "" }.to_owned();
        let behavior = if self.generated { "unspecified" } else { "" };
        let previous = &self.previous;
        let mut notes = vec![
            ("generatorBehavior", behavior.to_owned()),
            ("needsHashSuffix", enabled(self.needs_hash)),
            ("prefixes", joined(&mut self.prefixes.iter())),
            (
                "previousKinds",
                joined(&mut previous.iter().map(|id| &id.kind)),
            ),
            (
                "previousNames",
                joined(&mut previous.iter().map(|id| &id.name)),
            ),
            (
                "previousNamespaces",
                joined(&mut previous.iter().map(|id| &id.namespace)),
            ),
            ("suffixes", joined(&mut self.suffixes.iter())),
        ];
        notes.retain(|(_, value)| !value.is_empty());
        notes
    }

    /// True if the name gets a hash: a generator asked for it, or an annotation as kustomize itself writes it.
    pub(crate) fn wants_hash(&self) -> bool {
        let annotation = self.node.at(&["metadata", "annotations", NEEDS_HASH]);
        self.needs_hash || annotation.and_then(Node::as_text) == Some("enabled")
    }

    /// kustomize keeps what it remembers in annotations, and writes all of them anew each time: from then on they are
    /// strings, and no longer one value with others; what is no map of them is gone.
    pub(crate) fn rewrite_annotations(&mut self) {
        let is_plain = |node: &Node| {
            node.as_scalar()
                .is_some_and(|scalar| scalar.tag == Tag::Str && scalar.link == 0 && !scalar.folded)
        };
        let Some(annotations) = self.node.at(&["metadata", "annotations"]) else {
            return;
        };
        let plain = |map: &Mapping| map.iter().all(|entry| is_plain(&entry.value));
        if annotations.as_mapping().is_some_and(plain) {
            return;
        }
        let Some(metadata) = self.node.get_mut("metadata").and_then(Node::as_mapping_mut) else {
            return;
        };
        let Some(map) = metadata
            .get_mut("annotations")
            .and_then(Node::as_mapping_mut)
        else {
            metadata.remove("annotations");
            return;
        };
        for (_, value) in map.iter_mut() {
            let text = value.as_scalar().map(|scalar| scalar.text.clone());
            let line = value.line;
            *value = Node::string(text.unwrap_or_default());
            value.line = line;
        }
    }

    /// Forgets where the object came from, as kustomize does when a patch replaces all annotations.
    pub(crate) fn forget_origin(&mut self) {
        self.origin = None;
        self.transformations.clear();
    }

    /// Gives it another name, and remembers the old one for references.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.change(|node| set_metadata(node, "name", name));
    }

    /// Gives it another namespace, and remembers the old one for references.
    pub(crate) fn set_namespace(&mut self, namespace: &str) {
        self.change(|node| {
            if namespace.is_empty() {
                if let Some(metadata) = node.get_mut("metadata").and_then(Node::as_mapping_mut) {
                    metadata.remove("namespace");
                }
            } else {
                set_metadata(node, "namespace", namespace);
            }
        });
    }

    /// The former ids, oldest first, with today's group and version.
    pub(crate) fn previous_ids(&self) -> impl DoubleEndedIterator<Item = ResId> + '_ {
        self.previous.iter().map(|previous| ResId {
            gvk: Gvk {
                group: self.id.gvk.group.clone(),
                version: self.id.gvk.version.clone(),
                kind: previous.kind.clone(),
            },
            name: previous.name.clone(),
            namespace: previous.namespace.clone(),
        })
    }

    /// Every id the object ever had, today's last.
    pub(crate) fn any_ids(&self) -> impl Iterator<Item = ResId> + '_ {
        self.previous_ids().chain(std::iter::once(self.id.clone()))
    }

    /// The oldest id.
    pub(crate) fn original_id(&self) -> ResId {
        self.previous_ids()
            .next()
            .unwrap_or_else(|| self.id.clone())
    }

    /// The schemas of its file's comments; none for a generated object.
    pub(crate) fn schema_comments(&self) -> &SchemaComments {
        self.comments.as_deref().unwrap_or(SchemaComments::NONE)
    }

    /// Says in an error which object could not be changed.
    pub(crate) fn about(&self, error: impl Into<BuildError>) -> BuildError {
        let mut error: BuildError = error.into();
        if let Some(origin) = &self.origin
            && error.place.is_none()
        {
            error = error.at(origin.file.clone(), self.node.line as usize);
        }
        error.hint(format!("the object is {}", self.show()))
    }

    /// The same with the file and line that it was read from.
    pub(crate) fn show_with_place(&self) -> String {
        match &self.origin {
            Some(origin) => format!("{} in {}:{}", self.show(), origin.file, self.node.line),
            None => self.show(),
        }
    }

    /// What to call the object in a message: `Deployment apps/web`.
    pub(crate) fn show(&self) -> String {
        self.id.show()
    }
}

/// The parts of a note that stands among the annotations of a tree that is read. kustomize's notes are annotations, so
/// those of an earlier build count, and so do those that people write.
fn noted(node: &Node, name: &str) -> Vec<Text> {
    let Some(annotations) = node.at(&["metadata", "annotations"]) else {
        return Vec::new();
    };
    let note = annotations.get(&format!("{NOTE_PREFIX}{name}"));
    let parts = note
        .and_then(Node::as_text)
        .into_iter()
        .flat_map(|text| text.split(','));
    parts.map(Text::from).collect()
}

/// The former ids that notes tell of; none where their numbers differ.
fn noted_ids(node: &Node) -> Vec<PreviousId> {
    let names = noted(node, "previousNames");
    let (namespaces, kinds) = (
        noted(node, "previousNamespaces"),
        noted(node, "previousKinds"),
    );
    if names.len() != namespaces.len() || names.len() != kinds.len() {
        return Vec::new();
    }
    let ids = names.into_iter().zip(namespaces).zip(kinds);
    ids.map(|((name, namespace), kind)| PreviousId {
        name,
        namespace,
        kind,
    })
    .collect()
}

/// An error at the first line of the object.
fn problem(node: &Node, message: &str) -> BuildError {
    BuildError::from(Problem::Malformed(message.to_owned())).at("", node.line as usize)
}

/// What an object without a kind or name is recognised by in a message.
fn summary(mapping: &Mapping) -> String {
    let keys: Vec<&str> = mapping.keys().take(5).collect();
    if keys.is_empty() {
        String::new()
    } else {
        format!(" with the fields `{}`", keys.join("`, `"))
    }
}

/// Sets a text of `metadata`, which is made if it is missing.
pub(crate) fn set_metadata(node: &mut Node, key: &str, text: &str) {
    let Some(mapping) = node.as_mapping_mut() else {
        return;
    };
    let metadata = mapping.entry_or("metadata", Node::empty_mapping);
    if metadata.is_null() {
        *metadata = Node::empty_mapping();
    }
    if let Some(metadata) = metadata.as_mapping_mut() {
        metadata.insert(key, Node::string(text));
    }
}

/// kustomize makes keys without a type, and fails to print those that read as something else than text.
pub(crate) fn check_key(key: &str) -> Result<(), Problem> {
    match goyaml::resolve(key) {
        Tag::Str => Ok(()),
        tag => Err(Problem::Transform(format!(
            "key `{key}` reads as {}, and keys must be strings",
            with_article(tag.name())
        ))),
    }
}
