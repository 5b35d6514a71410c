//! Any text is read or refused; what was read prints, and reads back as what it was.
#![no_main]

use goyaml::{Keys, Node, ReadOptions, print, read, to_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let options = ReadOptions {
        keys: Keys::AsJson,
        ..ReadOptions::default()
    };
    let _ = read(text, &options);
    let Ok(documents) = read(text, &ReadOptions::default()) else {
        return;
    };
    for document in documents {
        let (Ok(text), Ok(value)) = (print(&document), to_json(&document)) else {
            continue;
        };
        // A printed `<<` is read as a merge, as in Go.
        if text.contains("<<") {
            continue;
        }
        let again = read(&text, &ReadOptions::default()).expect("what was printed is read");
        let again = again.first().cloned().unwrap_or_else(Node::null);
        assert_eq!(to_json(&again).expect("JSON again"), value, "{text}");
    }
});
