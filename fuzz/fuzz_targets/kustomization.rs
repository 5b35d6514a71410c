//! Any kustomization over two good files is built or refused, the same every time.
#![no_main]

use kustomize::{BuildOptions, FileTree, RepoPath, build};
use libfuzzer_sys::fuzz_target;

const FILES: [(&str, &str); 2] = [
    (
        "a.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: c, image: i:1}]}}}\n",
    ),
    (
        "b/kustomization.yaml",
        "kind: Component\nconfigMapGenerator: [{name: m, literals: [k=v]}]\n",
    ),
];

fuzz_target!(|text: &str| {
    let outcome = || {
        let own = ("kustomization.yaml", text);
        let tree = FileTree::of(FILES.into_iter().chain([own]));
        let rendered = build(&tree, &RepoPath::root(), &BuildOptions::default());
        rendered
            .map(|rendered| rendered.to_yaml())
            .map_err(|errors| errors.to_string())
    };
    assert_eq!(outcome(), outcome());
});
