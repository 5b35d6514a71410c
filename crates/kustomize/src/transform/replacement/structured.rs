//! Pure: a field whose text is YAML or JSON of its own: parsed, changed inside, written back.

use goyaml::{Node, ReadOptions};

use crate::budget::{Budget, Cost, weigh};
use crate::error::Problem;
use crate::gojson::go_escape;

/// Changes the structure inside a text and gives the new text.
pub(super) fn rewrite(
    text: &str,
    budget: &Budget,
    change: &mut dyn FnMut(&mut Node) -> Result<(), Problem>,
) -> Result<String, Problem> {
    let unreadable = || {
        Problem::Transform("the path goes on below a text that is neither YAML nor JSON".to_owned())
    };
    budget.charge_steps(text.len())?;
    let mut documents = goyaml::read(text, &ReadOptions::default()).map_err(|_| unreadable())?;
    let [node] = &mut documents[..] else {
        return Err(unreadable());
    };
    if node.as_scalar().is_some() {
        return Err(unreadable());
    }
    change(node)?;
    // What is printed holds everything that aliases share, once as a tree and once as text.
    let weight = weigh(node);
    budget.charge(Cost::Steps, weight.nodes)?;
    budget.charge(Cost::Bytes, 2 * weight.bytes)?;
    budget.release(2 * weight.bytes);
    let print_error = |error: goyaml::PrintError| Problem::Transform(error.to_string());
    if text.trim_start().starts_with(['{', '[']) {
        let json = goyaml::to_json(node).map_err(print_error)?;
        let indented = text.contains('\n') && text.contains("  ");
        let printed = if indented {
            serde_json::to_string_pretty(&json)
        } else {
            serde_json::to_string(&json)
        };
        return printed
            .map(|json| go_escape(&json))
            .map_err(|error| Problem::Transform(error.to_string()));
    }
    // kustomize writes it with go-yaml v3, which keeps comments, order and styles.
    if let Some(layout) = goyaml::Layout::read(text) {
        return Ok(layout.print(node).trim().to_owned());
    }
    let printed = goyaml::print(node).map_err(print_error)?;
    Ok(printed.trim().to_owned())
}
