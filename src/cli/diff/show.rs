//! Pure: the forms of a diff: text, JSON and Markdown. Deletions come first, since they cannot be undone.

use std::fmt::Write as _;

use serde_json::{Value, json};

use overlayd_core::apply::drift::Difference;
use overlayd_core::apply::object_ref::ObjectRef;

/// What an apply would do to one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum DiffAction {
    Delete,
    Create,
    Change(Vec<Difference>),
    /// It would be refused, for this reason.
    Refuse(String),
    /// It is no longer rendered and stays, for this reason.
    Keep(String),
}

/// One object of a diff.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DiffEntry {
    pub(super) object: ObjectRef,
    pub(super) action: DiffAction,
}

impl DiffAction {
    /// The place of an action in the output: deletions first, since they matter most.
    fn order(&self) -> u8 {
        match self {
            Self::Delete => 0,
            Self::Refuse(_) => 1,
            Self::Keep(_) => 2,
            Self::Create => 3,
            Self::Change(_) => 4,
        }
    }

    /// The action in words.
    fn word(&self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Refuse(_) => "refuse",
            Self::Keep(_) => "keep",
            Self::Create => "create",
            Self::Change(_) => "change",
        }
    }

    /// The action as the first letter of its line.
    fn sign(&self) -> char {
        match self {
            Self::Delete => '-',
            Self::Refuse(_) => '!',
            Self::Keep(_) => ' ',
            Self::Create => '+',
            Self::Change(_) => '~',
        }
    }
}

/// Puts the entries into the order in which they are shown.
pub(super) fn sort(entries: &mut [DiffEntry]) {
    entries.sort_by(|a, b| {
        let (a_key, b_key) = (a.action.order(), b.action.order());
        a_key
            .cmp(&b_key)
            .then_with(|| a.object.to_string().cmp(&b.object.to_string()))
    });
}

/// `1 to delete, 2 to create, 3 to change`.
fn summary(entries: &[DiffEntry]) -> String {
    let count = |word: &str| {
        entries
            .iter()
            .filter(|entry| entry.action.word() == word)
            .count()
    };
    let words = ["delete", "create", "change", "refuse", "keep"];
    let counts = words
        .iter()
        .map(|word| (count(word), word))
        .filter(|(count, _)| *count > 0);
    let parts: Vec<String> = counts
        .map(|(count, word)| format!("{count} to {word}"))
        .collect();
    if parts.is_empty() {
        "nothing would change".to_owned()
    } else {
        parts.join(", ")
    }
}

/// For a terminal. Values come from others, so that nothing of them reaches it that steers it.
pub(super) fn text(entries: &[DiffEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(
            text,
            "{} {} {}",
            entry.action.sign(),
            entry.action.word(),
            entry.object
        );
        match &entry.action {
            DiffAction::Change(differences) => {
                for difference in differences {
                    let _ = writeln!(text, "    {}", plain(&difference.to_string()));
                }
            }
            DiffAction::Refuse(reason) | DiffAction::Keep(reason) => {
                let _ = writeln!(text, "    {}", plain(reason));
            }
            DiffAction::Delete | DiffAction::Create => {}
        }
    }
    let _ = writeln!(text, "{}", summary(entries));
    text
}

/// A text on one line: control characters are replaced, so that no value can move the cursor.
fn plain(text: &str) -> String {
    let shown = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(shown).collect()
}

/// For programs. The shape is part of what overlayd promises.
pub(super) fn to_json(entries: &[DiffEntry]) -> Value {
    let objects = entries.iter().map(|entry| {
        let object = &entry.object;
        let mut value = json!({
            "apiVersion": object.api_version(),
            "kind": object.kind,
            "namespace": object.namespace,
            "name": object.name,
            "action": entry.action.word(),
        });
        match &entry.action {
            DiffAction::Change(differences) => {
                let fields = differences.iter().map(|difference| {
                    json!({"path": difference.path, "before": difference.live, "after": difference.wanted})
                });
                value["fields"] = fields.collect();
            }
            DiffAction::Refuse(reason) | DiffAction::Keep(reason) => value["reason"] = json!(reason),
            DiffAction::Delete | DiffAction::Create => {}
        }
        value
    });
    json!({"summary": summary(entries), "objects": objects.collect::<Vec<_>>()})
}

/// For a comment on a pull request.
pub(super) fn markdown(entries: &[DiffEntry]) -> String {
    let mut text = format!("### overlayd diff: {}\n", summary(entries));
    for entry in entries {
        let (sign, word, object) = (entry.action.sign(), entry.action.word(), &entry.object);
        let name = code(&object.to_string());
        match &entry.action {
            DiffAction::Delete | DiffAction::Create => {
                let _ = write!(text, "\n- {sign} **{word}** {name}\n");
            }
            DiffAction::Refuse(reason) | DiffAction::Keep(reason) => {
                let _ = write!(
                    text,
                    "\n- {sign} **{word}** {name}: {}\n",
                    code(&plain(reason))
                );
            }
            DiffAction::Change(differences) => {
                let lines = differences.iter().flat_map(lines);
                let body = lines.collect::<Vec<_>>().join("\n");
                let fence = fence(&body);
                let _ = write!(
                    text,
                    "\n<details><summary>{sign} <b>{word}</b> {}</summary>\n\n{fence}diff\n{body}\n{fence}\n\n</details>\n",
                    escape(&object.to_string())
                );
            }
        }
    }
    text
}

/// A field in the form that pull requests colour.
fn lines(difference: &Difference) -> Vec<String> {
    let shown = |sign: char, value: &Option<Value>| {
        let text = match value {
            None => return Vec::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        text.lines()
            .map(|line| format!("{sign} {}", plain(line)))
            .collect::<Vec<_>>()
    };
    let mut all = vec![format!("  {}:", plain(&difference.path))];
    all.extend(shown('-', &difference.live));
    all.extend(shown('+', &difference.wanted));
    all
}

/// A fence that nothing in the text ends.
fn fence(text: &str) -> String {
    "`".repeat(longest(text).max(2) + 1)
}

/// A text between backquotes of Markdown, however many backquotes it holds.
fn code(text: &str) -> String {
    let ticks = "`".repeat(longest(text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// The longest run of backticks.
fn longest(text: &str) -> usize {
    text.split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// A text in which nothing is HTML, which Markdown would pass on.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<DiffEntry> {
        let entry = |kind: &str, name: &str, action: DiffAction| DiffEntry {
            object: ObjectRef::new("v1", kind, "shop", name),
            action,
        };
        let change = Difference {
            path: "data.key".to_owned(),
            live: Some(json!("one\u{1b}[2J```")),
            wanted: Some(json!("two\nthree")),
        };
        let mut entries = vec![
            entry("ConfigMap", "b", DiffAction::Change(vec![change])),
            entry("ConfigMap", "new", DiffAction::Create),
            entry(
                "Service",
                "bad",
                DiffAction::Refuse("port: Invalid value: 0".to_owned()),
            ),
            entry("Secret", "old", DiffAction::Delete),
        ];
        sort(&mut entries);
        entries
    }

    #[test]
    fn deletions_come_first_and_nothing_steers_the_terminal() {
        assert_eq!(
            text(&entries()),
            "- delete Secret/shop/old\n! refuse Service/shop/bad\n    port: Invalid value: 0\n+ create ConfigMap/shop/new\n\
             ~ change ConfigMap/shop/b\n    data.key: one\u{fffd}[2J``` → two\\nthree\n1 to delete, 1 to create, 1 to change, 1 to refuse\n"
        );
        assert_eq!(text(&[]), "nothing would change\n");
    }

    #[test]
    fn a_value_cannot_end_the_block_that_it_stands_in() {
        let text = markdown(&entries());
        assert!(text.starts_with("### overlayd diff: 1 to delete, 1 to create, 1 to change, 1 to refuse\n\n- - **delete** `Secret/shop/old`\n"), "{text}");
        assert!(
            text.contains("````diff\n  data.key:\n- one\u{fffd}[2J```\n+ two\n+ three\n````\n"),
            "{text}"
        );
    }

    #[test]
    fn programs_get_every_value() {
        let json = to_json(&entries());
        assert_eq!(json["objects"][0]["action"], "delete");
        assert_eq!(
            json["objects"][3]["fields"][0],
            json!({"path": "data.key", "before": "one\u{1b}[2J```", "after": "two\nthree"})
        );
    }
}
