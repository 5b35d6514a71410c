//! Any tree is built or refused; a build is the same every time.

use kustomize::{BuildOptions, FileTree, RepoPath, build};
use proptest::prelude::*;

const FIELDS: &str = "(resources|patches|images|namePrefix|labels|replacements|configMapGenerator|components|vars|xyz)";
const VALUE: &str = "(\\[\\]|\\[a.yaml\\]|\\[\\.\\]|\\[\\{name: a\\}\\]|a-|\\{a: b\\}|\\[\\{patch: \"\\[\\]\", target: \\{\\}\\}\\]|9|~)";

proptest! {
    #[test]
    fn no_tree_makes_a_build_panic(
        fields in prop::collection::vec((FIELDS, VALUE), 0..6),
        manifest in "[-\\[\\]{}:,&* \na-cA-Z0-9]{0,120}",
    ) {
        let lines: Vec<String> = fields.iter().map(|(field, value)| format!("{field}: {value}\n")).collect();
        let tree = || FileTree::of([("kustomization.yaml", lines.concat()), ("a.yaml", manifest.clone())]);
        let outcome = |tree: FileTree| {
            build(&tree, &RepoPath::root(), &BuildOptions::default()).map(|rendered| rendered.to_yaml()).map_err(|errors| errors.to_string())
        };
        prop_assert_eq!(outcome(tree()), outcome(tree()));
    }
}
