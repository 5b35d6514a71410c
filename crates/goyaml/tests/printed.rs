//! Generated values are printed byte for byte as Go's `sigs.k8s.io/yaml` prints them, and read back equal.
//! `printed.txt` keeps a hash of each of Go's texts; `cargo xtask oracle values --generated 5000 --record` asks anew.

mod values;

use goyaml::{Node, ReadOptions, from_json, print, read, to_json};
use sha2::{Digest, Sha256};

#[test]
fn generated_values_are_printed_as_go_prints_them() {
    let mut checked = 0;
    for line in include_str!("printed.txt").lines() {
        let (seed, expected) = line.split_once(' ').unwrap();
        let value = values::value(seed.parse().unwrap());
        let text = print(&from_json(&value)).unwrap();
        let digest = Sha256::digest(text.as_bytes());
        let hash: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hash, expected, "seed {seed}: {value}\n{text}");
        checked += 1;
    }
    assert!(checked >= 5000, "only {checked} values were checked");
}

#[test]
fn what_is_printed_is_read_back() {
    for seed in 1..2000 {
        let value = values::value(seed);
        let node = from_json(&value);
        let text = print(&node).unwrap();
        // `<<` is printed bare, here as in Go, and is then read as a merge.
        if text.contains("<<") {
            continue;
        }
        let documents = read(&text, &ReadOptions::default()).unwrap();
        let back = documents.first().cloned().unwrap_or_else(Node::null);
        let same = to_json(&back).unwrap() == to_json(&node).unwrap();
        assert!(same, "seed {seed}: {value}\n{text}");
    }
}
