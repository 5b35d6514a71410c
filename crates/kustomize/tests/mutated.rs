//! Trees that were damaged at random are built or refused, the same every time: no panic, no hang.

mod generator;

use kustomize::{BuildOptions, FileTree, RepoPath, build};
use proptest::prelude::*;

/// What a careless or hostile hand may put anywhere.
const PIECES: [&str; 24] = [
    "~",
    "[]",
    "{}",
    "null",
    "- ",
    "\n",
    "\n  ",
    ": ",
    "a: b\n",
    "&x ",
    "*x",
    "!!binary ",
    "..",
    "/",
    "name",
    "metadata",
    "\"",
    "'",
    "|",
    "$patch: delete\n",
    "9999999999999999999",
    "\u{0}",
    "é",
    "---\n",
];

/// Replaces a part of a text, at character boundaries.
fn damage(text: &mut String, from: usize, length: usize, piece: &str) {
    let boundary = |at: usize| {
        (0..=at.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
    };
    let from = boundary(from % (text.len() + 1)).unwrap_or_default();
    let to = boundary(from + length).unwrap_or(from).max(from);
    text.replace_range(from..to, piece);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn damaged_trees_end_in_objects_or_errors(
        seed in 1_u64..100_000,
        damages in prop::collection::vec((any::<usize>(), any::<usize>(), 0_usize..24, 0_usize..PIECES.len()), 1..5),
    ) {
        let (root, mut files) = generator::tree(seed);
        for (file, from, length, piece) in damages {
            let file = file % files.len();
            damage(&mut files[file].1, from, length, PIECES[piece]);
        }
        let directory = RepoPath::root().join(&root).unwrap();
        let outcome = || {
            let rendered = build(&FileTree::of(files.clone()), &directory, &BuildOptions::default());
            rendered.map(|rendered| rendered.to_yaml()).map_err(|errors| errors.to_string())
        };
        prop_assert_eq!(outcome(), outcome());
    }
}
