//! Any text is read or refused, and what is printed reads back as the same values.

use goyaml::{Mapping, Node, ReadOptions, Sequence, print, read, to_json};
use proptest::prelude::*;

/// Any key but `<<`, which Go too prints bare and then reads as a merge.
fn key() -> impl Strategy<Value = String> {
    "[ -~]{0,12}".prop_filter("a merge key", |key| key != "<<")
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Node::int),
        any::<bool>().prop_map(Node::bool),
        Just(Node::null()),
        "[ -~\n\téß☃]{0,100}".prop_map(Node::string),
        "(yes|no|on|0[0-9]{3}|1_0|1e3|~|null|2020-01-01|12:30|- a|a: b|#x|'|\"|\\|)"
            .prop_map(Node::string),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|nodes| nodes.into_iter().collect::<Sequence>().into()),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|entries| entries.into_iter().collect::<Mapping>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[-\\[\\]{}:,&*!|>'\"%@`?# \na-c0-9~\t]{0,200}") {
        let _ = read(&text, &ReadOptions::default());
    }

    /// A tree that is printed in the layout of its text is the same tree.
    #[test]
    fn a_layout_keeps_the_tree(node in node()) {
        let text = print(&node).unwrap();
        let documents = read(&text, &ReadOptions::default()).unwrap();
        let layout = goyaml::Layout::read(&text);
        if let (Some(layout), [document]) = (layout, &documents[..]) {
            let printed = layout.print(document);
            let again = read(&printed, &ReadOptions::default()).unwrap();
            let again = again.first().cloned().unwrap_or_else(Node::null);
            prop_assert_eq!(to_json(&again).unwrap(), to_json(document).unwrap(), "{}\n{}", text, printed);
        }
    }

    /// What looks like a date or a number at first, and goes on with letters of several bytes.
    #[test]
    fn no_letter_makes_the_reader_panic(
        start in "(2024-01-01|2024-1-|0x|-0|1_|1e|\\.|)",
        rest in "[-+.:TtZ0-9 –é☃😀\u{85}\u{2028}_e]{0,16}",
    ) {
        let text = format!("{start}{rest}");
        let _ = goyaml::resolve(&text);
        let _ = read(&format!("a: {text}\n{text}: [{text}]\n"), &ReadOptions::default());
        let _ = read(&text, &ReadOptions::sigs());
        let _ = print(&Node::plain(text.as_str()));
        let _ = print(&Node::string(text));
    }

    #[test]
    fn what_is_printed_reads_back(node in node()) {
        let text = print(&node).unwrap();
        let documents = read(&text, &ReadOptions::default()).unwrap();
        // A document that is nothing but an empty scalar is none.
        let read_back = documents.first().cloned().unwrap_or_else(Node::null);
        prop_assert_eq!(to_json(&read_back).unwrap(), to_json(&node).unwrap(), "{}", text);
        prop_assert_eq!(print(&read_back).unwrap(), text);
    }
}
