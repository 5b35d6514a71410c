//! Pure: `images`.

use goyaml::{Node, NodeKind};
use regex::Regex;

use crate::budget::{Budget, Cost, as_u64};
use crate::error::{BuildError, Problem};
use crate::kustomization::Image;
use crate::resource::ResMap;
use crate::schema::Rows;
use crate::selector::compile_regex;
use crate::walk::{Missing, walk_mut};

/// Two passes for each entry, as kustomize has them: every list of containers at any depth, then the rows of the
/// table. So a tag suffix comes twice on ordinary pod containers.
pub(crate) fn transform(
    resources: &mut ResMap,
    images: &[Image],
    rows: &Rows,
    budget: &Budget,
) -> Result<(), BuildError> {
    let regex_bytes = images.iter().map(Change::regex_bytes).sum();
    budget.charge(Cost::Bytes, regex_bytes)?;
    let changes: Vec<Change<'_>> = images
        .iter()
        .filter_map(|image| Change::new(image, budget))
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    for resource in resources
        .iter_mut()
        .filter(|resource| &*resource.id().gvk.kind != "CustomResourceDefinition")
    {
        let gvk = resource.id().gvk.clone();
        let walk = resource.walk_steps();
        budget.charge(Cost::Steps, walk)?;
        let has_containers = mentions_containers(resource.node());
        let walks = as_u64(changes.len()).saturating_mul(if has_containers { walk } else { 1 });
        budget.charge(Cost::Steps, walks)?;
        let result = resource.metered(budget, |resource| {
            resource.change_body(|node| {
                for change in &changes {
                    if has_containers {
                        change.containers(node)?;
                    }
                    let rows = rows.matching(&gvk);
                    budget.charge_steps(rows.len())?;
                    for row in rows {
                        walk_mut(node, &row.path, Missing::Skip, &mut |field| {
                            change.field(field)
                        })?;
                    }
                }
                Ok(())
            })
        });
        result.map_err(|problem: Problem| resource.about(problem))?;
    }
    budget.release(regex_bytes);
    Ok(())
}

struct Change<'i> {
    image: &'i Image,
    regex: Regex,
    budget: &'i Budget,
}

/// Looks before anything is copied: most objects have no containers.
fn mentions_containers(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Scalar(_) => false,
        NodeKind::Sequence(elements) => elements.iter().any(mentions_containers),
        NodeKind::Mapping(mapping) => mapping.iter().any(|entry| {
            (is_container_list(&entry.key) && entry.value.as_sequence().is_some())
                || mentions_containers(&entry.value)
        }),
    }
}

fn is_container_list(key: &str) -> bool {
    matches!(key, "containers" | "initContainers")
}

impl<'i> Change<'i> {
    /// The name is a regular expression; one that is none matches nothing.
    fn new(image: &'i Image, budget: &'i Budget) -> Option<Self> {
        let pattern = format!(
            "^{}(:[a-zA-Z0-9_.{{}}-]*)?(@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[a-zA-Z0-9_.{{}}-]*)?$",
            image.name
        );
        let regex = compile_regex(&pattern).ok()?;
        Some(Self {
            image,
            regex,
            budget,
        })
    }

    /// About what the compiled expression takes. Repetitions and classes can make it as large as the compiler allows.
    fn regex_bytes(image: &Image) -> u64 {
        let name = image.name.as_str();
        if name.contains(['{', '\\', '[']) {
            return 1 << 20;
        }
        16_384 + 64 * as_u64(name.len())
    }
}

impl Change<'_> {
    fn containers(&self, node: &mut Node) -> Result<(), Problem> {
        match &mut node.kind {
            NodeKind::Scalar(_) => Ok(()),
            NodeKind::Sequence(elements) => elements
                .iter_mut()
                .try_for_each(|element| self.containers(element)),
            NodeKind::Mapping(mapping) => {
                for (key, value) in mapping.iter_mut() {
                    if is_container_list(key)
                        && let Some(list) = value.as_sequence_mut()
                    {
                        self.list(list)?;
                    }
                    self.containers(value)?;
                }
                Ok(())
            }
        }
    }

    fn list(&self, list: &mut goyaml::Sequence) -> Result<(), Problem> {
        for container in list.iter_mut() {
            let kind = container.kind_name();
            let Some(container) = container.as_mapping_mut() else {
                return Err(Problem::Transform(format!(
                    "a container must be a map, not a {kind}"
                )));
            };
            if let Some(field) = container.get_mut("image") {
                self.field(field)?;
            }
        }
        Ok(())
    }

    fn field(&self, field: &mut Node) -> Result<(), Problem> {
        let Some(text) = field.as_text() else {
            return Ok(());
        };
        self.budget.charge_steps(1 + text.len())?;
        if self.regex.is_match(text) {
            let image = self.image;
            let parts = [
                &image.new_name,
                &image.new_tag,
                &image.digest,
                &image.tag_suffix,
            ];
            let added: usize = parts.iter().map(|part| part.len()).sum();
            self.budget.charge_bytes(added)?;
            let line = field.line;
            *field = Node::string(self.rewrite(text));
            field.line = line;
        }
        Ok(())
    }

    fn rewrite(&self, text: &str) -> String {
        let image = self.image;
        let (name, tag, digest) = split(text);
        let name = if image.new_name.is_empty() {
            name
        } else {
            &image.new_name
        };
        let mut result = name.to_owned();
        match (image.new_tag.as_str(), image.digest.as_str()) {
            ("", "") if image.tag_suffix.is_empty() => {
                push(&mut result, ':', tag);
                push(&mut result, '@', digest);
            }
            ("", "") => push(
                &mut result,
                ':',
                Some(&format!("{}{}", tag.unwrap_or_default(), image.tag_suffix)),
            ),
            (new_tag, new_digest) => {
                push(
                    &mut result,
                    ':',
                    Some(new_tag).filter(|tag| !tag.is_empty()),
                );
                push(
                    &mut result,
                    '@',
                    Some(new_digest).filter(|digest| !digest.is_empty()),
                );
            }
        }
        result
    }
}

fn push(result: &mut String, separator: char, part: Option<&str>) {
    if let Some(part) = part {
        result.push(separator);
        result.push_str(part);
    }
}

/// The text before and after the first separator that stands at a byte or behind it.
fn split_after(text: &str, from: usize, separator: char) -> (&str, Option<&str>) {
    let found = text.get(from..).and_then(|rest| rest.split_once(separator));
    match found.and_then(|(before, after)| Some((text.get(..from + before.len())?, after))) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Name, tag and digest. A colon before the first slash belongs to a port.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let search_from = text.find('/').map_or(0, |slash| slash + 1);
    let (rest, digest) = split_after(text, search_from, '@');
    let (name, tag) = split_after(rest, search_from, ':');
    (name, tag, digest)
}
