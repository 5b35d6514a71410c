//! Pure: the objects of a text: its YAML documents, with lists taken apart.

use goyaml::{Node, ReadOptions};

use crate::budget::{Weight, as_u64, weigh};
use crate::error::{BuildError, BuildErrors, Problem};
use crate::schema::SchemaComments;

/// A parsed file of resources.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) nodes: Vec<Node>,
    pub(crate) comments: SchemaComments,
    /// How large each of the nodes is.
    pub(crate) weights: Vec<Weight>,
    /// Bytes of the text.
    pub(crate) text_bytes: usize,
}

impl Documents {
    /// The size for the cache, in bytes of text as they usually are: a text that is small for its tree counts for more.
    pub(crate) fn cached_bytes(&self) -> usize {
        /// The memory that a byte of text usually takes once it is parsed.
        const USUAL: u64 = 8;
        let by_tree = usize::try_from(self.bytes() / USUAL).unwrap_or(usize::MAX);
        self.text_bytes.max(by_tree)
    }

    /// Bytes that the objects hold once nothing of them is shared.
    pub(crate) fn bytes(&self) -> u64 {
        self.weights.iter().map(|weight| weight.bytes).sum()
    }
}

/// Reads the bytes of a file of resources.
pub(crate) fn parse(bytes: &[u8], shown: &str) -> Result<Documents, BuildErrors> {
    let text = utf8(bytes, shown)?;
    let nodes = read_text(text, shown)?;
    Ok(Documents {
        weights: nodes.iter().map(weigh).collect(),
        nodes,
        comments: SchemaComments::read(text),
        text_bytes: text.len(),
    })
}

/// The text of a file, or where it is not UTF-8.
pub(crate) fn utf8<'b>(bytes: &'b [u8], shown: &str) -> Result<&'b str, BuildError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = String::from_utf8_lossy(&bytes[..error.valid_up_to()])
            .matches('\n')
            .count()
            + 1;
        BuildError::from(Problem::Malformed("invalid UTF-8".to_owned())).at(shown, line)
    })
}

/// The objects of a text: its documents, lists taken apart.
pub(crate) fn read_text(text: &str, shown: &str) -> Result<Vec<Node>, BuildError> {
    read_text_as(text, shown, &ReadOptions::default())
}

/// The same, read in another way.
pub(crate) fn read_text_as(
    text: &str,
    shown: &str,
    options: &ReadOptions,
) -> Result<Vec<Node>, BuildError> {
    let mut documents = goyaml::read(text, options).map_err(|error| {
        BuildError::from(Problem::Malformed(format!(
            "MalformedYAMLError: yaml: {error}"
        )))
        .at(shown, error.line())
    })?;
    documents.retain(|document| !document.is_null());
    check_expansion(&documents, text).map_err(|problem| BuildError::from(problem).at(shown, 0))?;
    if let [single] = &documents[..]
        && matches!(kind_of(single), "List" | "ResourceList")
        && let Some(items) = single.get("items").and_then(Node::as_sequence)
    {
        return Ok(expand_lists(items.iter().cloned().collect()));
    }
    Ok(expand_lists(documents))
}

/// Refuses a text whose aliases and merge keys make it much larger, before its parts are copied.
fn check_expansion(documents: &[Node], text: &str) -> Result<(), Problem> {
    let bytes: u64 = documents.iter().map(|node| weigh(node).bytes).sum();
    let limit = as_u64(text.len())
        .saturating_mul(64)
        .saturating_add(16 << 20);
    if bytes <= limit {
        return Ok(());
    }
    Err(Problem::Budget(format!(
        "the aliases of the text expand it to {bytes} bytes of memory; a text of {} bytes may need {limit}",
        text.len()
    )))
}

fn kind_of(node: &Node) -> &str {
    node.get("kind").and_then(Node::as_text).unwrap_or_default()
}

/// Takes apart every `…List` that has items; its items go to the end.
fn expand_lists(nodes: Vec<Node>) -> Vec<Node> {
    let is_list = |node: &Node| {
        kind_of(node).ends_with("List")
            && node
                .as_mapping()
                .is_some_and(|mapping| mapping.contains_key("items"))
    };
    let (lists, mut plain): (Vec<Node>, Vec<Node>) = nodes.into_iter().partition(is_list);
    let items = lists
        .into_iter()
        .filter_map(|mut list| list.as_mapping_mut()?.remove("items"));
    let items: Vec<Node> = items
        .filter_map(|items| items.as_sequence().cloned())
        .flatten()
        .map(through_json)
        .collect();
    if !items.is_empty() {
        plain.extend(expand_lists(items));
    }
    plain
}

/// kustomize takes the items of a list of some kind through JSON (inlineAnyEmbeddedLists in factory.go), so numbers lose
/// their spelling there also where they become texts later. What has no JSON form is reported when it is printed.
fn through_json(item: Node) -> Node {
    let line = item.line;
    let Ok(json) = goyaml::to_json(&item) else {
        return item;
    };
    let mut item = goyaml::from_json(&json);
    item.line = line;
    item
}
