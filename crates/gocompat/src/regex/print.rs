//! Pure: nodes to the syntax of the `regex` crate.

use super::node::{Fold, Greed, Kind, Node, Operator};

/// Prints a pattern.
pub(super) fn print(node: &Node) -> String {
    let mut out = String::new();
    push(node, &mut out);
    out
}

fn push(node: &Node, out: &mut String) {
    match &node.kind {
        Kind::Empty => {}
        Kind::Literal { text, fold } => push_literal(text, *fold, out),
        Kind::Atom(text) => out.push_str(text),
        Kind::Capture { name, sub } => {
            match name {
                Some(name) => out.push_str(&format!("(?P<{name}>")),
                None => out.push('('),
            }
            push(sub, out);
            out.push(')');
        }
        Kind::Concat(parts) => {
            for part in parts {
                match part.kind {
                    Kind::Alternate(_) => push_grouped(part, out),
                    _ => push(part, out),
                }
            }
        }
        Kind::Alternate(alternatives) => {
            for (index, alternative) in alternatives.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                push(alternative, out);
            }
        }
        Kind::Repeat {
            operator,
            greed,
            sub,
        } => push_repeat(*operator, *greed, sub, out),
    }
}

fn push_grouped(node: &Node, out: &mut String) {
    out.push_str("(?:");
    push(node, out);
    out.push(')');
}

fn push_literal(text: &str, fold: Fold, out: &mut String) {
    let escaped = ::regex::escape(text);
    match fold {
        Fold::Exact => out.push_str(&escaped),
        Fold::AnyCase => out.push_str(&format!("(?i:{escaped})")),
    }
}

fn push_repeat(operator: Operator, greed: Greed, sub: &Node, out: &mut String) {
    match &sub.kind {
        Kind::Atom(_) | Kind::Capture { .. } => push(sub, out),
        // The parser repeats single characters only.
        Kind::Literal { .. } => push(sub, out),
        _ => push_grouped(sub, out),
    }
    match operator {
        Operator::Star => out.push('*'),
        Operator::Plus => out.push('+'),
        Operator::Quest => out.push('?'),
        Operator::Counted { min, max: None } => out.push_str(&format!("{{{min},}}")),
        Operator::Counted {
            min,
            max: Some(max),
        } => out.push_str(&format!("{{{min},{max}}}")),
    }
    if greed == Greed::Lazy {
        out.push('?');
    }
}
