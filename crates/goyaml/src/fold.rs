//! Pure: what becomes of folded scalars (`>`) when go-yaml v3 writes a tree and reads it again.
//!
//! kustomize does that with each object before it prints, and the writer of folded scalars
//! (`yaml_emitter_write_folded_scalar` in go-yaml's emitterc.go) changes some texts: it adds a blank line before a
//! more-indented line, one more newline at the end under `>+`, and joins paragraphs where the text begins with a space.
//! Other styles come back as they were.

use crate::node::{Node, NodeKind};
use crate::scalar::Scalar;

/// Gives each folded scalar of a tree the text that go-yaml reads after it wrote it. Each is changed once: afterwards
/// no scalar is marked as folded. A tree without folded scalars is left shared as it is.
pub fn settle_folds(node: &mut Node) {
    if !has_folds(node) {
        return;
    }
    let change = if is_bracketed(node) {
        unmark
    } else {
        settle_folds
    };
    match &mut node.kind {
        NodeKind::Scalar(scalar) => settle(scalar),
        NodeKind::Sequence(list) => list.iter_mut().for_each(change),
        NodeKind::Mapping(map) => map.iter_mut().for_each(|(_, value)| change(value)),
    }
}

/// True for a collection in brackets, which scalars know that were read in it: what a patch puts there is quoted.
fn is_bracketed(node: &Node) -> bool {
    let is = |node: &Node| node.as_scalar().is_some_and(|scalar| scalar.bracketed);
    match &node.kind {
        NodeKind::Scalar(_) => false,
        NodeKind::Sequence(list) => list.iter().any(is),
        NodeKind::Mapping(map) => map.iter().any(|entry| is(&entry.value)),
    }
}

/// Takes the marks away and leaves the texts.
fn unmark(node: &mut Node) {
    match &mut node.kind {
        NodeKind::Scalar(scalar) => scalar.folded = false,
        NodeKind::Sequence(list) => list.iter_mut().for_each(unmark),
        NodeKind::Mapping(map) => map.iter_mut().for_each(|(_, value)| unmark(value)),
    }
}

/// True if a folded scalar stands anywhere inside.
fn has_folds(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Scalar(scalar) => scalar.folded,
        NodeKind::Sequence(list) => list.iter().any(has_folds),
        NodeKind::Mapping(map) => map.iter().any(|entry| has_folds(&entry.value)),
    }
}

fn settle(scalar: &mut Scalar) {
    if !scalar.folded {
        return;
    }
    scalar.folded = false;
    let text = &*scalar.text;
    if text.contains('\n') && may_be_block(text) {
        let body = written(text);
        scalar.text = read_back(&body, Chomping::of(text)).into();
    }
}

/// libyaml writes a text in double quotes, which keep it, where a space stands before a line break or at the end, or
/// where a character does not print.
pub(crate) fn may_be_block(text: &str) -> bool {
    let prints = |c: char| matches!(c, '\t' | '\n' | ' '..='~' | '\u{a0}'..) && c != '\u{feff}';
    !text.contains(" \n") && !text.ends_with(' ') && text.chars().all(prints)
}

/// What the header says of the line breaks at the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomping {
    Strip,
    Clip,
    Keep,
}

impl Chomping {
    fn of(text: &str) -> Self {
        match text.strip_suffix('\n') {
            None => Self::Strip,
            Some(body) if body.is_empty() || body.ends_with('\n') => Self::Keep,
            Some(_) => Self::Clip,
        }
    }
}

/// The mark of a block scalar's header for the line breaks at the end of a text.
pub(crate) fn chomping_mark(text: &str) -> &'static str {
    match Chomping::of(text) {
        Chomping::Strip => "-",
        Chomping::Clip => "",
        Chomping::Keep => "+",
    }
}

/// The lines that are written, without their indent.
pub(crate) fn written(text: &str) -> String {
    // The writer looks at the first line that is not empty where it should look at the next one.
    let first = text.trim_start_matches('\n').chars().next();
    let doubles_breaks = first.is_some_and(|c| !matches!(c, ' ' | '\t'));
    let mut body = String::with_capacity(text.len() + 8);
    let (mut after_break, mut indented_line) = (true, true);
    for character in text.chars() {
        if character == '\n' {
            if !after_break && !indented_line && doubles_breaks {
                body.push('\n');
            }
            body.push('\n');
            after_break = true;
            continue;
        }
        if after_break {
            indented_line = matches!(character, ' ' | '\t');
            after_break = false;
        }
        body.push(character);
    }
    body
}

/// The text of written lines, as `yaml_parser_scan_block_scalar` (scannerc.go) puts it together.
fn read_back(body: &str, chomping: Chomping) -> String {
    let mut text = String::with_capacity(body.len());
    let (mut pending_break, mut empty_lines, mut after_blank) = (false, 0, false);
    let ended = body.strip_suffix('\n').unwrap_or(body);
    for line in ended.split('\n') {
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        let begins_blank = line.starts_with([' ', '\t']);
        if pending_break && (after_blank || begins_blank) {
            text.push('\n');
        } else if pending_break && empty_lines == 0 {
            text.push(' ');
        }
        text.extend(std::iter::repeat_n('\n', empty_lines));
        text.push_str(line);
        (pending_break, empty_lines, after_blank) = (true, 0, begins_blank);
    }
    if pending_break && chomping != Chomping::Strip {
        text.push('\n');
    }
    if chomping == Chomping::Keep {
        text.extend(std::iter::repeat_n('\n', empty_lines));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(read_back(&written(text), Chomping::of(text)), expected);
    }

    #[test]
    fn plain_paragraphs_come_back() {
        check("one two\n", "one two\n");
        check("one\n\ntwo\nthree", "one\n\ntwo\nthree");
        check("\nafter a blank line\n", "\nafter a blank line\n");
    }

    #[test]
    fn a_more_indented_line_gains_a_blank_line_before_it() {
        check(
            "a list:\n  - x\n  - y\nend\n",
            "a list:\n\n  - x\n  - y\nend\n",
        );
    }

    #[test]
    fn kept_breaks_gain_one_more() {
        check("one\n\n", "one\n\n\n");
    }

    #[test]
    fn a_text_that_begins_with_a_space_is_joined() {
        check(" x\ny\n\nz", " x\ny\nz");
    }

    #[test]
    fn what_is_quoted_is_kept() {
        for text in ["a \nb", "a\nb ", "a\u{7}\nb"] {
            assert!(!may_be_block(text), "{text:?}");
        }
        assert!(may_be_block("é\t☃\n😀"));
    }
}
