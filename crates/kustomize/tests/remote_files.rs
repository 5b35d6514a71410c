//! An http URL may stand wherever a kustomization names a file. The engine says what it needs and fetches nothing.

use kustomize::{BuildOptions, FileTree, Outcome, Provided, Remote, RepoPath, build_or_need};

const HOST: &str = "https://files.example";

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

/// The files that stand elsewhere.
fn elsewhere() -> Vec<(&'static str, String)> {
    let patch = format!("{}data: {{merged: \"1\"}}\n", config_map("a"));
    let old = format!("{}data: {{listed: \"1\"}}\n", config_map("a"));
    let replacement = "source: {kind: ConfigMap, name: a, fieldPath: metadata.name}\n\
        targets:\n- select: {kind: ConfigMap, name: a}\n  fieldPaths: [data.replaced]\n  options: {create: true}\n";
    vec![
        ("a.yaml", config_map("a")),
        ("patch.yaml", patch),
        ("old.yaml", old),
        (
            "json.yaml",
            "[{\"op\": \"add\", \"path\": \"/data/json\", \"value\": \"1\"}]".to_owned(),
        ),
        ("board.json", "{}\n".to_owned()),
        ("env", "K=v\n".to_owned()),
        ("replacement.yaml", replacement.to_owned()),
        ("fields.yaml", "namePrefix: []\n".to_owned()),
        ("crd.json", "{}".to_owned()),
        ("schema.json", "{\"definitions\": {}}".to_owned()),
    ]
}

fn kustomization() -> String {
    format!(
        "resources: ['{HOST}/a.yaml']\n\
         configurations: ['{HOST}/fields.yaml']\n\
         crds: ['{HOST}/crd.json']\n\
         openapi: {{path: '{HOST}/schema.json'}}\n\
         patches: [{{path: '{HOST}/patch.yaml'}}]\n\
         patchesStrategicMerge: ['{HOST}/old.yaml']\n\
         patchesJson6902: [{{target: {{version: v1, kind: ConfigMap, name: a}}, path: '{HOST}/json.yaml'}}]\n\
         replacements: [{{path: '{HOST}/replacement.yaml'}}]\n\
         generatorOptions: {{disableNameSuffixHash: true}}\n\
         configMapGenerator: [{{name: g, files: ['{HOST}/board.json'], envs: ['{HOST}/env']}}]\n\
         secretGenerator: [{{name: s, env: '{HOST}/env', files: ['k={HOST}/board.json']}}]\n"
    )
}

/// Builds, and provides what is needed until nothing is.
fn build(mut answer: impl FnMut(&str) -> Result<Provided, String>) -> Result<String, String> {
    let mut tree = FileTree::of([("kustomization.yaml", kustomization())]);
    for _ in 0..20 {
        let outcome = build_or_need(&tree, &RepoPath::root(), &BuildOptions::default());
        match outcome.map_err(|errors| errors.to_string())? {
            Outcome::Done(rendered) => return Ok(rendered.to_yaml()),
            Outcome::Needs(remotes) => {
                for remote in remotes {
                    let Remote::File(url) = &remote else {
                        return Err(format!("{remote} is no file"));
                    };
                    let provided = answer(url.strip_prefix(HOST).unwrap_or_default());
                    tree.provide(remote, provided);
                }
            }
        }
    }
    Err("the build needs more and more".to_owned())
}

#[test]
fn every_file_may_stand_elsewhere() {
    let files = elsewhere();
    let mut asked = Vec::new();
    let printed = build(|path| {
        let name = path.trim_start_matches('/');
        asked.push(name.to_owned());
        let found = files.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, text)| Provided::Bytes(text.clone().into_bytes()))
            .ok_or_else(|| "404".to_owned())
    });
    let expected = "\
apiVersion: v1
data:
  K: v
  board.json: |
    {}
kind: ConfigMap
metadata:
  name: g
---
apiVersion: v1
data:
  json: \"1\"
  listed: \"1\"
  merged: \"1\"
  replaced: a
kind: ConfigMap
metadata:
  name: a
---
apiVersion: v1
data:
  K: dg==
  k: e30K
kind: Secret
metadata:
  name: s
type: Opaque
";
    let mut sorted = printed
        .unwrap()
        .split("---\n")
        .map(str::to_owned)
        .collect::<Vec<_>>();
    sorted.sort();
    let mut wanted = expected
        .split("---\n")
        .map(str::to_owned)
        .collect::<Vec<_>>();
    wanted.sort();
    assert_eq!(sorted, wanted);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), files.len(), "{asked:?}");
}

#[test]
fn a_file_that_cannot_be_had_is_named_with_its_place() {
    let error = build(|path| match path {
        "/a.yaml" => Ok(Provided::Bytes(config_map("a").into_bytes())),
        "/schema.json" => Ok(Provided::Bytes(b"{}".to_vec())),
        _ => Err("404 Not Found".to_owned()),
    });
    let message = "kustomization.yaml:2: configurations[0]: cannot load `https://files.example/fields.yaml`: 404 Not Found";
    assert_eq!(error.unwrap_err(), message);
}
