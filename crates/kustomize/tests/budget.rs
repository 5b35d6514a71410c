//! Small trees that ask for large builds end in an error that names the field, and memory stays bounded.
//!
//! One test runs the multipliers again in a process whose address space is limited: without a budget, it would abort.

use std::fmt::Write as _;
use std::process::Command;

use kustomize::{BuildErrors, BuildOptions, FileTree, Limits, Problem, Rendered, RepoPath, build};

/// The address space of the process that runs all these builds, in KiB: the budget of 128 MiB, what is transient, the
/// trees themselves, and the program.
const ADDRESS_SPACE: &str = "1000000";

/// Steps of these builds: few, so that a test of a build without optimisation ends soon.
const STEP_LIMIT: u64 = 20_000_000;

type File = (&'static str, String);

fn file(path: &'static str, text: impl Into<String>) -> File {
    (path, text.into())
}

fn build_files(files: Vec<File>) -> Result<Rendered, BuildErrors> {
    let tree = FileTree::of(files);
    let options = BuildOptions {
        limits: Limits {
            steps: STEP_LIMIT,
            ..Limits::default()
        },
        ..BuildOptions::default()
    };
    build(&tree, &RepoPath::root(), &options)
}

/// Builds files that ask for too much: the error says so, with the field, and a hint says what to do.
fn refused(files: Vec<File>, expected: &[&str]) {
    let result = build_files(files);
    let errors = result.expect_err("too much is refused");
    let text = errors.to_string();
    for part in expected {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    assert!(errors.0.iter().all(|error| error.place.is_some()), "{text}");
    assert!(errors.0.iter().all(|error| error.hint.is_some()), "{text}");
}

/// The peak of a build that is within the budget.
fn accepted(files: Vec<File>) -> Rendered {
    let result = build_files(files);
    result.expect("within the budget")
}

const BYTES: &str = "bytes of memory; its budget is";
const STEPS: &str = "steps; its budget is";

fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{text: {value}}}\n"
    )
}

fn config_maps(count: usize) -> String {
    let maps: Vec<String> = (0..count)
        .map(|at| config_map(&format!("a{at}"), "x"))
        .collect();
    maps.join("---\n")
}

fn json_patch(operations: &str) -> Vec<File> {
    let kustomization = format!(
        "resources: [a.yaml]\npatches:\n- target: {{kind: ConfigMap}}\n  patch: |-\n{operations}"
    );
    vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_map("a", &"x".repeat(900))),
    ]
}

#[test]
fn a_json_patch_that_copies_a_field_into_itself() {
    let mut operations = String::new();
    for at in 0..20 {
        let _ = writeln!(
            operations,
            "    - {{op: copy, from: /data, path: /data/k{at}}}"
        );
    }
    refused(
        json_patch(&operations),
        &[
            "kustomization.yaml:3: patches[0]: operation",
            "(copy) at `/data/k",
            BYTES,
        ],
    );
}

#[test]
fn a_json_patch_that_nests_an_object_in_itself() {
    let mut operations = String::new();
    let mut path = "/data".to_owned();
    for _ in 0..12 {
        let levels = path.matches('/').count();
        let deeper = format!("{path}/k");
        let _ = writeln!(
            operations,
            "    - {{op: copy, from: /data, path: {deeper}}}"
        );
        path.push_str(&"/k".repeat(levels));
    }
    refused(
        json_patch(&operations),
        &["levels deep; an object may have 200"],
    );
}

#[test]
fn a_json_patch_of_many_objects() {
    let value = "x".repeat(20_000);
    let kustomization = format!(
        "resources: [a.yaml]\npatches:\n- target: {{kind: ConfigMap}}\n  patch: |-\n    - {{op: add, path: /data/v, value: {value}}}\n"
    );
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_maps(10_000)),
    ];
    refused(files, &["patches[0]", "(add) at `/data/v`", BYTES]);
}

#[test]
fn a_strategic_merge_patch_of_many_objects() {
    let value = "x".repeat(20_000);
    let kustomization = format!(
        "resources: [a.yaml]\npatches:\n- target: {{kind: ConfigMap}}\n  patch: |-\n    kind: ConfigMap\n    metadata: {{name: a}}\n    data: {{v: {value}}}\n"
    );
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_maps(10_000)),
    ];
    refused(files, &["patches[0]", BYTES]);
}

#[test]
fn patches_with_wildcard_targets_times_objects() {
    let mut kustomization = "resources: [a.yaml]\npatches:\n".to_owned();
    for _ in 0..2_000 {
        kustomization.push_str("- {target: {name: .*}, patch: \"[]\"}\n");
    }
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_maps(2_000)),
    ];
    refused(files, &["patches[", STEPS]);
}

fn doubling_replacement(times: usize) -> Vec<File> {
    let mut kustomization = "resources: [a.yaml]\nreplacements:\n".to_owned();
    for _ in 0..times {
        kustomization.push_str(
            "- source: {kind: ConfigMap, name: a, fieldPath: data.text}\n  targets:\n  - select: {name: a}\n    fieldPaths: [data.text]\n    options: {delimiter: \",\", index: -1}\n",
        );
    }
    vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_map("a", "xxxxxxx")),
    ]
}

#[test]
fn a_replacement_that_appends_a_field_to_itself() {
    refused(
        doubling_replacement(28),
        &["a.yaml:1: replacements[", "at `data.text`", BYTES],
    );
    let rendered = accepted(doubling_replacement(10));
    assert_eq!(rendered.to_yaml().matches("xxxxxxx").count(), 1 << 10);
}

#[test]
fn a_replacement_that_copies_an_object_into_itself() {
    let mut kustomization = "resources: [a.yaml]\nreplacements:\n".to_owned();
    for at in 0..24 {
        let _ = writeln!(
            kustomization,
            "- source: {{kind: ConfigMap, name: a, fieldPath: data}}\n  targets:\n  - {{select: {{name: a}}, fieldPaths: [data.k{at}], options: {{create: true}}}}"
        );
    }
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_map("a", "x")),
    ];
    refused(files, &["replacements[", BYTES]);
}

#[test]
fn replacements_with_many_targets() {
    let paths: Vec<String> = (0..2_000).map(|at| format!("data.k{at}")).collect();
    let kustomization = format!(
        "resources: [a.yaml, b.yaml]\nreplacements:\n- source: {{kind: ConfigMap, name: source, fieldPath: data.text}}\n  targets:\n  - {{select: {{name: a.*}}, fieldPaths: [{}], options: {{create: true}}}}\n",
        paths.join(", ")
    );
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_maps(1_000)),
        file("b.yaml", config_map("source", &"x".repeat(1_000))),
    ];
    refused(files, &["replacements[0]", BYTES]);
}

#[test]
fn a_field_path_deeper_than_any_object() {
    let path = "a.".repeat(100_000);
    let kustomization = format!(
        "resources: [a.yaml]\nreplacements:\n- source: {{kind: ConfigMap, name: a}}\n  targets:\n  - {{select: {{name: a}}, fieldPaths: [{path}b], options: {{create: true}}}}\n"
    );
    let result = build_files(vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_map("a", "x")),
    ]);
    let text = result.expect_err("too deep").to_string();
    assert!(
        text.contains("levels deep; an object may have 200"),
        "{text}"
    );
}

#[test]
fn a_field_spec_deeper_than_any_object() {
    let path = "a/".repeat(100_000);
    let kustomization = format!(
        "resources: [a.yaml]\nlabels:\n- pairs: {{a: b}}\n  fields:\n  - {{path: {path}b, create: true}}\n"
    );
    let result = build_files(vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_map("a", "x")),
    ]);
    let text = result.expect_err("too deep").to_string();
    assert!(
        text.contains("levels deep; an object may have 200"),
        "{text}"
    );
}

#[test]
fn aliases_that_stand_for_a_long_text() {
    let aliases = "*a, ".repeat(10_000);
    let text = format!(
        "apiVersion: v1\nkind: List\nmetadata: {{name: a}}\nx: &a {}\ny: [{aliases}]\n",
        "x".repeat(10_000)
    );
    let result = build_files(vec![
        file("kustomization.yaml", "resources: [a.yaml]\n"),
        file("a.yaml", text),
    ]);
    let text = result.expect_err("too much").to_string();
    assert!(text.contains("bytes that aliases stand for"), "{text}");
}

#[test]
fn merge_keys_that_copy_a_large_map() {
    let keys: String = (0..1_000).map(|at| format!("  k{at}: x\n")).collect();
    let merges: String = (0..1_000)
        .map(|at| format!("m{at}: {{<<: *a}}\n"))
        .collect();
    let text = format!("kind: A\nmetadata: {{name: a}}\nx: &a\n{keys}{merges}");
    let result = build_files(vec![
        file("kustomization.yaml", "resources: [a.yaml]\n"),
        file("a.yaml", text),
    ]);
    let text = result.expect_err("too much").to_string();
    assert!(
        text.contains("more than 200000 keys that `<<` merges"),
        "{text}"
    );
}

#[test]
fn aliases_of_many_files() {
    let aliases = "*a, ".repeat(15_000);
    let object = |name: &str| {
        format!(
            "kind: A\nmetadata: {{name: {name}}}\nx: &a [{}]\ny: [{aliases}]\n",
            "x, ".repeat(100)
        )
    };
    let names: Vec<String> = (0..40).map(|at| format!("f{at}.yaml")).collect();
    let mut files = vec![(
        "kustomization.yaml".to_owned(),
        format!("resources: [{}]\n", names.join(", ")),
    )];
    files.extend(names.iter().map(|name| {
        let object_name = name.replace('.', "-");
        (name.clone(), object(&object_name))
    }));
    let tree = FileTree::of(files);
    let errors = build(&tree, &RepoPath::root(), &BuildOptions::default()).expect_err("too much");
    assert!(errors.to_string().contains("bytes of memory"), "{errors}");
}

#[test]
fn labels_and_annotations_times_objects() {
    let value = "x".repeat(20_000);
    for field in ["commonLabels", "commonAnnotations"] {
        let kustomization = format!("resources: [a.yaml]\n{field}: {{a: {value}}}\n");
        let files = vec![
            file("kustomization.yaml", kustomization),
            file("a.yaml", config_maps(10_000)),
        ];
        refused(files, &[field, BYTES]);
    }
}

/// A chain of overlays, each of which adds some lines, over one file of objects.
fn chain(levels: usize, lines: &str, objects: String) -> FileTree {
    let directory = |level: usize| (0..level).map(|_| "x/").collect::<String>();
    let mut files = Vec::new();
    for level in 0..levels {
        let base = if level + 1 == levels { "a.yaml" } else { "x" };
        let path = format!("{}kustomization.yaml", directory(level));
        files.push((path, format!("resources: [{base}]\n{lines}")));
    }
    files.push((format!("{}a.yaml", directory(levels - 1)), objects));
    FileTree::of(files)
}

#[test]
fn name_prefixes_in_a_chain_of_overlays() {
    let prefix = format!("namePrefix: {}\n", "x".repeat(1_000));
    let tree = chain(64, &prefix, config_maps(500));
    let result = build(&tree, &RepoPath::root(), &BuildOptions::default());
    let text = result.expect_err("too long names").to_string();
    assert!(
        text.contains("namePrefix") && text.contains(BYTES),
        "{text}"
    );
    let honest = chain(64, "namePrefix: a-\n", config_maps(50));
    assert!(build(&honest, &RepoPath::root(), &BuildOptions::default()).is_ok());
}

#[test]
fn a_component_that_is_included_many_times() {
    let entries = "c, ".repeat(50);
    let operations = format!("- {{op: add, path: /data/v, value: {}}}", "x".repeat(1_000));
    let component = format!(
        "kind: Component\nresources: []\npatches:\n- target: {{kind: ConfigMap}}\n  patch: |-\n    {operations}\n    - {{op: copy, from: /data/v, path: /data/w}}\n    - {{op: copy, from: /data, path: /data/x}}\n    - {{op: copy, from: /data, path: /data/y}}\n"
    );
    let files = vec![
        file(
            "kustomization.yaml",
            format!("resources: [a.yaml]\ncomponents: [{entries}]\n"),
        ),
        file("c/kustomization.yaml", component),
        file("a.yaml", config_map("a", "x")),
    ];
    refused(files, &["patches[0]", BYTES]);
}

#[test]
fn a_base_that_is_included_many_times() {
    let mut files: Vec<(String, String)> = Vec::new();
    let names: Vec<String> = (0..500).map(|at| format!("o{at}")).collect();
    files.push((
        "kustomization.yaml".to_owned(),
        format!("resources: [{}]\n", names.join(", ")),
    ));
    for name in &names {
        let overlay = format!("resources: [../base]\nnamePrefix: {name}-\n");
        files.push((format!("{name}/kustomization.yaml"), overlay));
    }
    files.push((
        "base/kustomization.yaml".to_owned(),
        "resources: [a.yaml]\n".to_owned(),
    ));
    let object = config_map("a", &"x".repeat(1_000_000));
    files.push(("base/a.yaml".to_owned(), object));
    let errors = build(
        &FileTree::of(files),
        &RepoPath::root(),
        &BuildOptions::default(),
    );
    let text = errors.expect_err("500 MB of objects").to_string();
    assert!(text.contains(BYTES), "{text}");
}

#[test]
fn generators_that_read_the_same_large_file() {
    let mut kustomization = "configMapGenerator:\n".to_owned();
    for at in 0..100 {
        let _ = writeln!(kustomization, "- {{name: g{at}, files: [large.txt]}}");
    }
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("large.txt", "x".repeat(4 << 20)),
    ];
    refused(files, &["configMapGenerator[", ".files[0]", BYTES]);
}

#[test]
fn vars_in_many_places() {
    let places = "- $(V)$(V)$(V)$(V)\n    ".repeat(5_000);
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: {{v: {}}}\nspec:\n  containers:\n  - name: c\n    image: i\n    args:\n    {places}\n",
        "x".repeat(20_000)
    );
    let kustomization = "resources: [a.yaml]\nvars:\n- name: V\n  objref: {apiVersion: v1, kind: Pod, name: p}\n  fieldref: {fieldPath: metadata.annotations.v}\n";
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", pod),
    ];
    refused(files, &[BYTES]);
}

#[test]
fn images_times_containers() {
    let mut kustomization = "resources: [a.yaml]\nimages:\n".to_owned();
    for at in 0..500 {
        let _ = writeln!(kustomization, "- {{name: i{at}, newTag: v}}");
    }
    let containers = "  - {name: c, image: x}\n".repeat(20_000);
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n{containers}"
    );
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", pod),
    ];
    refused(files, &["images", STEPS]);
}

#[test]
fn images_that_are_large_expressions() {
    let mut kustomization = "resources: [a.yaml]\nimages:\n".to_owned();
    for at in 0..1_000 {
        let _ = writeln!(kustomization, "- {{name: 'i{at}\\w{{200}}', newTag: v}}");
    }
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_map("a", "x")),
    ];
    refused(files, &["images", BYTES]);
}

#[test]
fn types_of_crds_that_name_each_other_twice() {
    let mut types = Vec::new();
    for at in 0..40 {
        let reference = format!("{{\"$ref\": \"T{}\"}}", at + 1);
        types.push(format!(
            "\"T{at}\": {{\"Schema\": {{\"properties\": {{\"apiVersion\": {{}}, \"kind\": {{}}, \"metadata\": {{}}, \"a\": {reference}, \"b\": {reference}}}}}}}"
        ));
    }
    let files = vec![
        file(
            "kustomization.yaml",
            "resources: [a.yaml]\ncrds: [crds.json]\n",
        ),
        file("crds.json", format!("{{{}}}", types.join(", "))),
        file("a.yaml", config_map("a", "x")),
    ];
    refused(files, &["crds[0]", STEPS]);
}

#[test]
fn configurations_with_many_rows_of_one_path() {
    let rows: String = (0..20_000)
        .map(|at| format!("- {{path: spec/x, kind: K{at}}}\n"))
        .collect();
    let result = build_files(vec![
        file(
            "kustomization.yaml",
            "resources: [a.yaml]\nconfigurations: [c.yaml]\n",
        ),
        file("c.yaml", format!("commonLabels:\n{rows}")),
        file("a.yaml", config_map("a", "x")),
    ]);
    let text = result.expect_err("too many rows").to_string();
    assert!(text.contains("more than 10000 field specs"), "{text}");
}

#[test]
fn notes_of_transformers_times_objects() {
    let mut kustomization =
        "resources: [a.yaml]\nbuildMetadata: [transformerAnnotations]\npatches:\n".to_owned();
    for _ in 0..500 {
        kustomization.push_str("- {target: {name: none}, patch: \"[]\"}\n");
    }
    let files = vec![
        file("kustomization.yaml", kustomization),
        file("a.yaml", config_maps(5_000)),
    ];
    refused(files, &[BYTES]);
}

/// Builds within a memory that is smaller than what the files would be granted.
fn within(memory_bytes: usize, files: Vec<File>) -> Result<Rendered, BuildErrors> {
    let options = BuildOptions {
        limits: Limits {
            memory_bytes,
            ..Limits::default()
        },
        ..BuildOptions::default()
    };
    build(&FileTree::of(files), &RepoPath::root(), &options)
}

#[track_caller]
fn needs_memory(files: Vec<File>, expected: &str) {
    let errors = within(8 << 20, files).expect_err("too much for the process");
    let text = errors.to_string();
    assert!(text.contains(expected), "no `{expected}` in: {text}");
    let is_memory = |error: &kustomize::BuildError| matches!(error.problem, Problem::Memory(_));
    assert!(errors.0.iter().all(is_memory), "{text}");
}

#[test]
fn the_memory_of_the_process_bounds_builds_of_large_files() {
    let list = "1,".repeat(1 << 20);
    let text = format!("kind: A\nmetadata: {{name: a}}\nx: [{list}]\n");
    let resources = vec![
        file("kustomization.yaml", "resources: [a.yaml]\n"),
        file("a.yaml", text.clone()),
    ];
    needs_memory(
        resources,
        "with `a.yaml`, the objects of the build may need",
    );
    let patches = vec![
        file(
            "kustomization.yaml",
            "resources: [b.yaml]\npatches: [{path: a.yaml}]\n",
        ),
        file("b.yaml", config_map("b", "x")),
        file("a.yaml", text),
    ];
    needs_memory(patches, "with `a.yaml`, the objects of the build may need");
}

#[test]
fn configurations_stay_in_memory_and_are_charged() {
    let replacements: String = (0..400).map(|at| format!("- path: r{at}.yaml\n")).collect();
    let mut files = vec![
        (
            "kustomization.yaml".to_owned(),
            format!("resources: [b.yaml]\nreplacements:\n{replacements}"),
        ),
        ("b.yaml".to_owned(), config_map("b", "x")),
    ];
    let targets = "{select: {name: b}, fieldPaths: [data.text]},".repeat(100);
    for at in 0..400 {
        let text = format!(
            "source: {{kind: ConfigMap, name: b, fieldPath: data.text}}\ntargets: [{targets}]\n"
        );
        files.push((format!("r{at}.yaml"), text));
    }
    let options = BuildOptions {
        limits: Limits {
            memory_bytes: 8 << 20,
            ..Limits::default()
        },
        ..BuildOptions::default()
    };
    let errors = build(&FileTree::of(files), &RepoPath::root(), &options).expect_err("too much");
    assert!(errors.to_string().contains(BYTES), "{errors}");
}

#[test]
fn an_honest_build_fits_the_smallest_memory() {
    let files = vec![
        file(
            "kustomization.yaml",
            "resources: [a.yaml]\nnamePrefix: p-\n",
        ),
        file("a.yaml", config_maps(500)),
    ];
    assert_eq!(within(8 << 20, files).expect("it fits").objects.len(), 500);
}

#[test]
fn helm_charts_are_refused() {
    let kustomization = "helmCharts: [{name: a}]\n";
    refused(
        vec![file("kustomization.yaml", kustomization)],
        &["`helmCharts` is not supported"],
    );
}

#[test]
fn large_honest_trees_are_within_the_budget() {
    let names: Vec<String> = (0..200).map(|at| format!("f{at}.yaml")).collect();
    let mut files = vec![(
        "kustomization.yaml".to_owned(),
        format!(
            "resources: [{}]\nnamePrefix: p-\nnamespace: ns\ncommonLabels: {{app: a, team: t}}\nimages: [{{name: i, newTag: v2}}]\npatches:\n- target: {{kind: Deployment}}\n  patch: |-\n    - {{op: add, path: /metadata/annotations, value: {{a: b}}}}\n- target: {{kind: Deployment}}\n  patch: |-\n    kind: Deployment\n    metadata: {{name: x}}\n    spec: {{replicas: 3}}\n",
            names.join(", ")
        ),
    )];
    for (at, name) in names.iter().enumerate() {
        let objects: Vec<String> = (0..100)
            .map(|object| {
                format!(
                    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d{at}-{object}}}\nspec:\n  template:\n    spec:\n      containers:\n      - name: c\n        image: i:v1\n        env: [{{name: A, value: b}}, {{name: C, value: d}}]\n"
                )
            })
            .collect();
        files.push((name.clone(), objects.join("---\n")));
    }
    let tree = FileTree::of(files);
    let rendered = build(&tree, &RepoPath::root(), &BuildOptions::default());
    assert_eq!(rendered.expect("within the budget").objects.len(), 20_000);
}

#[test]
fn refused_builds_fit_in_a_limited_address_space() {
    let program = std::env::current_exe().expect("a test is a program");
    let script = format!("ulimit -v {ADDRESS_SPACE} && exec \"$0\" \"$@\"");
    let filters = [
        "a_json_patch",
        "a_replacement",
        "generators",
        "merge_keys",
        "aliases",
    ];
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .arg("--test-threads=1")
        .args(filters)
        .output()
        .expect("sh runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("9 passed"), "{text}");
}
