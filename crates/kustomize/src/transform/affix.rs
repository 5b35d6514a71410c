//! Pure: `namePrefix` and `nameSuffix`.

use goyaml::{Node, Text};

use crate::budget::{Budget, Cost, NODE_BYTES, as_u64};
use crate::error::{BuildError, Problem};
use crate::resource::{ResId, ResMap};
use crate::schema::Rows;
use crate::walk::{Missing, walk_mut};

/// Which end of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affix {
    Prefix,
    Suffix,
}

impl Affix {
    /// The transformer that adds it.
    pub(super) fn transformer(self) -> &'static str {
        match self {
            Self::Prefix => "PrefixTransformer",
            Self::Suffix => "SuffixTransformer",
        }
    }
}

/// Definitions, namespaces and API services are called what they are called.
fn keeps_its_name(id: &ResId) -> bool {
    matches!(&*id.gvk.kind, "CustomResourceDefinition" | "Namespace")
        || (&*id.gvk.kind == "APIService" && &*id.gvk.group == "apiregistration.k8s.io")
}

/// Puts a prefix before, or a suffix after, the names of all objects, in the fields of the table.
pub(crate) fn transform(
    resources: &mut ResMap,
    affix: Affix,
    text: &str,
    rows: &Rows,
    budget: &Budget,
) -> Result<(), BuildError> {
    if text.is_empty() {
        return Ok(());
    }
    let shared: Text = text.into();
    for resource in resources.iter_mut() {
        let original = resource.original_id();
        if keeps_its_name(&original) {
            continue;
        }
        for row in rows.matching(&original.gvk) {
            let is_name = row.path.is(&["metadata", "name"]);
            if is_name {
                resource.remember_id();
                match affix {
                    Affix::Prefix => resource.prefixes.push(shared.clone()),
                    Affix::Suffix => resource.suffixes.push(shared.clone()),
                }
            }
            let missing = if row.create {
                Missing::Scalar
            } else {
                Missing::Skip
            };
            let result = resource.metered(budget, |resource| {
                resource.change(|node| {
                    walk_mut(node, &row.path, missing, &mut |field| {
                        charge(field, text, budget)?;
                        apply(field, affix, text)
                    })
                })
            });
            result.map_err(|problem| resource.about(problem))?;
        }
    }
    Ok(())
}

/// Charges the longer name; the former one stays in the history of its object.
fn charge(field: &Node, text: &str, budget: &Budget) -> Result<(), Problem> {
    let name = field.as_scalar().map_or(0, |scalar| scalar.text.len());
    budget.charge(Cost::Steps, 1)?;
    budget.charge(Cost::Bytes, NODE_BYTES + as_u64(name + text.len()))
}

/// Changes one field. What is no text stays as it is.
fn apply(field: &mut Node, affix: Affix, text: &str) -> Result<(), Problem> {
    let Some(scalar) = field.as_scalar() else {
        return Err(Problem::Transform(format!(
            "a name prefix or suffix needs a string, not a {}",
            field.kind_name()
        )));
    };
    let name = match affix {
        Affix::Prefix => format!("{text}{}", scalar.text),
        Affix::Suffix => format!("{}{text}", scalar.text),
    };
    let line = field.line;
    *field = Node::string(name);
    field.line = line;
    Ok(())
}
