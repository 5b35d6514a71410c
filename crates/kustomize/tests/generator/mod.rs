//! Random trees for the oracle: bases, components and overlays that use every field against each other.
//!
//! A tree is made from a seed alone, so a number names a case. Values are drawn from small sets, so that names meet.

mod objects;
mod random;

use std::fmt::Write as _;

use random::{IMAGES, KEYS, NAMES, Random, SCALARS, VALUES};

/// The tree of a seed: the directory to build, and the files.
pub(crate) fn tree(seed: u64) -> (String, Vec<(String, String)>) {
    let mut tree = Tree {
        random: Random(seed),
        files: Vec::new(),
        known: Vec::new(),
    };
    let root = tree.make();
    (root, tree.files)
}

struct Tree {
    random: Random,
    files: Vec<(String, String)>,
    /// What was made so far, so that most patches find their object.
    known: Vec<Known>,
}

#[derive(Clone)]
struct Known {
    kind: &'static str,
    name: &'static str,
    namespace: &'static str,
}

impl Known {
    /// The lines of its metadata.
    fn metadata(&self) -> String {
        let mut text = format!("metadata:\n  name: {}\n", self.name);
        if !self.namespace.is_empty() {
            let _ = writeln!(text, "  namespace: {}", self.namespace);
        }
        text
    }
}

impl Tree {
    fn make(&mut self) -> String {
        self.directory("base", &[], "Kustomization");
        let mut bases = vec!["../base"];
        if self.random.one_in(3) {
            let of_base = std::mem::take(&mut self.known);
            self.directory("other", &[], "Kustomization");
            self.known.extend(of_base);
            bases.push("../other");
        }
        if self.random.one_in(3) {
            self.directory("part", &[], "Component");
        }
        self.directory("middle", &bases, "Kustomization");
        if self.random.one_in(2) {
            return "middle".to_owned();
        }
        let mut bases = vec!["../middle"];
        if self.random.one_in(12) {
            bases.push("../base");
        }
        self.directory("top", &bases, "Kustomization");
        "top".to_owned()
    }

    fn has(&self, directory: &str) -> bool {
        self.files
            .iter()
            .any(|(name, _)| name.starts_with(&format!("{directory}/")))
    }

    fn scalar(&mut self) -> &'static str {
        self.random.pick(&SCALARS)
    }

    fn any(&mut self) -> &'static str {
        if self.random.one_in(2) {
            self.random.pick(&VALUES)
        } else {
            self.scalar()
        }
    }

    /// An object of a kind that is there, most often; rarely one that is not.
    fn one_of(&mut self, kind: &str) -> Option<Known> {
        let of_kind: Vec<Known> = self
            .known
            .iter()
            .filter(|known| known.kind == kind)
            .cloned()
            .collect();
        if of_kind.is_empty() && !self.random.one_in(30) {
            return None;
        }
        if of_kind.is_empty() || self.random.one_in(40) {
            return Some(Known {
                kind: "",
                name: self.name(),
                namespace: "",
            });
        }
        Some(of_kind[self.random.below(of_kind.len())].clone())
    }

    fn name(&mut self) -> &'static str {
        self.random.pick(&NAMES)
    }

    fn directory(&mut self, directory: &str, bases: &[&str], kind: &str) {
        let mut text = String::new();
        if kind == "Component" {
            text.push_str("apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n");
        }
        let mut resources: Vec<String> = bases.iter().map(|base| (*base).to_owned()).collect();
        for file in 0..self.random.below(2) + usize::from(bases.is_empty()) {
            let objects = 1 + self.random.below(4);
            let documents: Vec<String> = (0..objects).map(|_| self.object()).collect();
            let name = format!("objects-{file}.yaml");
            self.files
                .push((format!("{directory}/{name}"), documents.join("---\n")));
            resources.push(name);
        }
        let _ = writeln!(text, "resources: [{}]", resources.join(", "));
        if kind != "Component" && self.has("part") && self.random.one_in(2) {
            text.push_str("components: [../part]\n");
        }
        let sections: [fn(&mut Self, &str) -> String; 14] = [
            Self::names,
            Self::labels,
            Self::annotations,
            Self::images,
            Self::replicas,
            Self::patches,
            Self::old_patches,
            Self::config_maps,
            Self::secrets,
            Self::replacements,
            Self::transformers,
            Self::configurations,
            Self::sorting,
            Self::vars,
        ];
        for section in sections {
            if self.random.one_in(3) {
                let section = section(self, directory);
                text.push_str(&section);
            }
        }
        self.files
            .push((format!("{directory}/kustomization.yaml"), text));
    }

    fn names(&mut self, _: &str) -> String {
        let mut text = String::new();
        if self.random.one_in(2) {
            let namespace = self.random.pick(&["team", "default", "prod"]);
            let _ = writeln!(text, "namespace: {namespace}");
        }
        if self.random.one_in(2) {
            let prefix = self.random.pick(&["a-", "b-", "p"]);
            let _ = writeln!(text, "namePrefix: {prefix}");
        }
        if self.random.one_in(2) {
            let suffix = self.random.pick(&["-x", "-y"]);
            let _ = writeln!(text, "nameSuffix: {suffix}");
        }
        text
    }

    fn labels(&mut self, _: &str) -> String {
        let (key, value) = (self.random.pick(&KEYS), self.scalar());
        if self.random.one_in(3) {
            return format!("commonLabels: {{'{key}': {value}}}\n");
        }
        let mut text = format!("labels:\n- pairs: {{'{key}': {value}}}\n");
        for flag in [
            "includeSelectors",
            "includeTemplates",
            "includeVolumeClaimTemplates",
        ] {
            if self.random.one_in(3) {
                let _ = writeln!(text, "  {flag}: true");
            }
        }
        if self.random.one_in(4) {
            text.push_str("  fields: [{path: spec/custom/labels, kind: Foo, create: true}]\n");
        }
        text
    }

    fn annotations(&mut self, _: &str) -> String {
        let (key, value) = (self.random.pick(&KEYS), self.scalar());
        format!("commonAnnotations: {{'{key}': {value}}}\n")
    }

    fn images(&mut self, _: &str) -> String {
        let mut text = "images:\n".to_owned();
        for _ in 0..=self.random.below(2) {
            let name = self
                .random
                .pick(&["nginx", "r.io:5000/team/app", "app", "busybox", "ng.*"]);
            let _ = writeln!(text, "- name: '{name}'");
            for (field, values) in [
                ("newName", ["mirror/x", "host:80/y"]),
                ("newTag", ["v2", "1.0"]),
                ("digest", ["sha256:dead", "sha256:beef"]),
                ("tagSuffix", ["-s", "-t"]),
            ] {
                if self.random.one_in(3) {
                    let value = self.random.pick(&values);
                    let _ = writeln!(text, "  {field}: '{value}'");
                }
            }
        }
        text
    }

    fn replicas(&mut self, _: &str) -> String {
        let Some(known) = self.one_of("Deployment") else {
            return String::new();
        };
        let count = self.random.below(9);
        format!("replicas: [{{name: {}, count: {count}}}]\n", known.name)
    }

    fn patches(&mut self, _: &str) -> String {
        let mut entries = String::new();
        for _ in 0..=self.random.below(2) {
            match self.random.below(3) {
                0 => {
                    let (target, operation) = self.operation();
                    let _ = write!(
                        entries,
                        "- target: {target}\n  patch: |-\n    - {operation}\n"
                    );
                }
                1 => {
                    let Some(patch) = self.merge_patch() else {
                        continue;
                    };
                    let target = self.target();
                    let patch = indented(&patch, 4);
                    let _ = write!(entries, "- target: {target}\n  patch: |-\n{patch}");
                    if self.random.one_in(6) {
                        entries.push_str(
                            "  options: {allowNameChange: true, allowKindChange: true}\n",
                        );
                    }
                }
                _ => {
                    let Some(patch) = self.merge_patch() else {
                        continue;
                    };
                    let patch = indented(&patch, 4);
                    let _ = write!(entries, "- patch: |-\n{patch}");
                }
            }
        }
        if entries.is_empty() {
            return entries;
        }
        format!("patches:\n{entries}")
    }

    fn old_patches(&mut self, directory: &str) -> String {
        let Some(patch) = self.merge_patch() else {
            return String::new();
        };
        self.files.push((format!("{directory}/patch.yaml"), patch));
        "patchesStrategicMerge: [patch.yaml]\n".to_owned()
    }

    fn target(&mut self) -> String {
        match self.random.below(7) {
            0 => "{kind: Deployment}".to_owned(),
            1 => format!("{{kind: Service, name: {}}}", self.name()),
            2 => "{kind: Foo, labelSelector: 'app in (web,api)'}".to_owned(),
            3 => "{kind: 'Stateful.*|Deploy.*', name: '.*'}".to_owned(),
            4 => "{kind: ConfigMap, namespace: default, version: v1}".to_owned(),
            5 => "{kind: Foo, annotationSelector: 'on'}".to_owned(),
            _ => format!("{{kind: ConfigMap, name: '{}.*'}}", self.name()),
        }
    }

    fn operation(&mut self) -> (&'static str, String) {
        let value = self.any();
        match self.random.below(8) {
            0 => ("{kind: .*}", format!("{{op: add, path: /metadata/annotations, value: {{a: {}}}}}", self.scalar())),
            1 => ("{kind: Deployment}", format!("{{op: add, path: /spec/extra, value: {value}}}")),
            2 => ("{name: 'w.*'}", format!("{{op: replace, path: /metadata/labels, value: {{app: {}}}}}", self.name())),
            3 => ("{kind: Service, name: web}", "{op: replace, path: /metadata/name, value: renamed}".to_owned()),
            4 => ("{kind: Foo}", "{op: test, path: /apiVersion, value: example.com/v1}".to_owned()),
            5 => ("{kind: ConfigMap}", format!("{{op: add, path: /data, value: {{n: {value}}}}}")),
            6 => ("{kind: Deployment}", "{op: add, path: /spec/template/spec/containers/-, value: {name: added, image: nginx}}".to_owned()),
            _ => ("{kind: Foo}", "{op: remove, path: /spec/list/0}".to_owned()),
        }
    }

    /// A patch that meets one of the objects that [`Self::object`] made.
    fn merge_patch(&mut self) -> Option<String> {
        let (kind, body) = match self.random.below(8) {
            0 => ("Deployment", format!(
                "spec:\n  template:\n    spec:\n      containers:\n      - name: main\n        env:\n        - name: B\n          value: {}\n        ports:\n        - containerPort: 80\n          name: http\n      - name: side\n        image: busybox\n",
                self.scalar()
            )),
            1 => ("Service", format!(
                "spec:\n  ports:\n  - port: 80\n    targetPort: {}\n  - port: 443\n    protocol: TCP\n",
                self.random.below(9000)
            )),
            2 => ("ConfigMap", format!("data:\n  a: null\n  new: {}\n", self.any())),
            3 | 4 => ("Foo", format!("spec:\n  list: [{}]\n  empty:\n  map:\n    $patch: replace\n    only: {}\n", self.any(), self.any())),
            5 => ("StatefulSet", "$patch: delete\n".to_owned()),
            6 => ("CronJob", "spec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          containers:\n          - {name: main, envFrom: [{secretRef: {name: db}}]}\n          tolerations: [{key: a}]\n".to_owned()),
            _ => ("Deployment", format!(
                "spec:\n  template:\n    spec:\n      volumes:\n      - name: conf\n        $patch: delete\n      containers:\n      - name: main\n        env:\n        - $patch: replace\n        - name: ONLY\n          value: {}\n",
                self.scalar()
            )),
        };
        let known = self.one_of(kind)?;
        let api_version = match kind {
            "Deployment" | "StatefulSet" => "apps/v1",
            "CronJob" => "batch/v1",
            "Foo" => "example.com/v1",
            _ => "v1",
        };
        Some(format!(
            "apiVersion: {api_version}\nkind: {kind}\n{}{body}",
            known.metadata()
        ))
    }

    fn config_maps(&mut self, directory: &str) -> String {
        self.generator("configMapGenerator", directory)
    }

    fn secrets(&mut self, directory: &str) -> String {
        let mut text = self.generator("secretGenerator", directory);
        if self.random.one_in(3) {
            text.push_str("  type: kubernetes.io/basic-auth\n");
        }
        text
    }

    fn generator(&mut self, field: &str, directory: &str) -> String {
        let kind = if field == "secretGenerator" {
            "Secret"
        } else {
            "ConfigMap"
        };
        let existing = if self.random.one_in(2) {
            self.one_of(kind)
        } else {
            None
        };
        let behavior = match &existing {
            Some(_) => self.random.pick(&["merge", "replace"]),
            None => self.random.pick(&["create", ""]),
        };
        let known = match existing {
            Some(known) => known,
            None => self.new_object(kind),
        };
        let mut text = format!("{field}:\n- name: {}\n", known.name);
        if !known.namespace.is_empty() {
            let _ = writeln!(text, "  namespace: {}", known.namespace);
        }
        if !behavior.is_empty() {
            let _ = writeln!(text, "  behavior: {behavior}");
        }
        match self.random.below(3) {
            0 => {
                let value = self.scalar();
                let _ = writeln!(
                    text,
                    "  literals: ['k=v', 'quoted=\"x\"', {value:?}]",
                    value = format!("odd={}", value.trim_matches(['\'', '"']))
                );
            }
            1 => {
                let file = format!("{field}.txt");
                let content = format!("line one\n{}\n", "x".repeat(self.random.below(120)));
                self.files.push((format!("{directory}/{file}"), content));
                let _ = writeln!(text, "  files: [{file}, other={file}]");
            }
            _ => {
                let file = format!("{field}.env");
                self.files.push((
                    format!("{directory}/{file}"),
                    "# comment\nA=1\n B=two words \n\nC\n".to_owned(),
                ));
                let _ = writeln!(text, "  envs: [{file}]");
            }
        }
        if self.random.one_in(3) {
            let (key, value) = (self.random.pick(&KEYS), self.scalar());
            let _ = writeln!(
                text,
                "  options: {{labels: {{'{key}': {value}}}, disableNameSuffixHash: {}}}",
                self.random.one_in(2)
            );
        }
        text
    }

    fn replacements(&mut self, _: &str) -> String {
        let (kind, field) = match self.random.below(4) {
            0 => ("ConfigMap", "data.b"),
            1 => ("Service", "metadata.name"),
            2 => (
                "Deployment",
                "spec.template.spec.containers.[name=main].image",
            ),
            _ => ("Foo", "spec.map"),
        };
        let Some(known) = self.one_of(kind) else {
            return String::new();
        };
        let mut source = format!("kind: {kind}, name: {}", known.name);
        if !known.namespace.is_empty() {
            let _ = write!(source, ", namespace: {}", known.namespace);
        }
        let target = match self.random.below(5) {
            0 => {
                "select: {kind: Deployment}\n    fieldPaths: [spec.template.spec.containers.*.image]"
            }
            1 => {
                "select: {kind: ConfigMap}\n    fieldPaths: [data.copied]\n    options: {create: true}"
            }
            2 => "select: {kind: Foo}\n    fieldPaths: [spec.list.0]",
            3 => {
                "select: {kind: Ingress}\n    fieldPaths: ['spec.rules.0.host']\n    options: {delimiter: '.', index: 0}"
            }
            _ => {
                "select: {name: '.*'}\n    reject: [{kind: ConfigMap}]\n    fieldPaths: ['metadata.annotations.[a.b/c]']\n    options: {create: true}"
            }
        };
        format!(
            "replacements:\n- source: {{{source}, fieldPath: '{field}'}}\n  targets:\n  - {target}\n"
        )
    }

    fn transformers(&mut self, _: &str) -> String {
        let body = match self.random.below(4) {
            0 => {
                "kind: LabelTransformer\n  metadata: {name: t}\n  labels: {from: plugin}\n  fieldSpecs: [{path: metadata/labels, create: true}, {path: spec/custom/labels, kind: Foo, create: true}]"
            }
            1 => {
                "kind: NamespaceTransformer\n  metadata: {name: t, namespace: plug}\n  unsetOnly: true\n  setRoleBindingSubjects: allServiceAccounts\n  fieldSpecs: [{path: metadata/namespace, create: true}]"
            }
            2 => {
                "kind: PrefixTransformer\n  metadata: {name: t}\n  prefix: plug-\n  fieldSpecs: [{path: metadata/name}]"
            }
            _ => {
                "kind: AnnotationsTransformer\n  metadata: {name: t}\n  annotations: {from: plugin}\n  fieldSpecs: [{path: metadata/annotations, create: true}]"
            }
        };
        format!("transformers:\n- |-\n  apiVersion: builtin\n  {body}\n")
    }

    fn configurations(&mut self, directory: &str) -> String {
        let text = "nameReference:\n- kind: ConfigMap\n  fieldSpecs: [{kind: Foo, path: spec/configRef/name}]\nnamePrefix: [{kind: Foo, path: spec/prefixed}]\ncommonLabels: [{kind: Foo, path: spec/selector, create: true}]\nimages: [{kind: Foo, path: spec/image}]\n";
        self.files
            .push((format!("{directory}/config.yaml"), text.to_owned()));
        "configurations: [config.yaml]\n".to_owned()
    }

    fn sorting(&mut self, _: &str) -> String {
        let words = [
            "sortOptions: {order: fifo}\n",
            "sortOptions: {order: legacy}\n",
            "buildMetadata: [managedByLabel, originAnnotations]\n",
            "buildMetadata: [transformerAnnotations]\n",
            "generatorOptions: {disableNameSuffixHash: true, annotations: {gen: 'yes'}}\n",
        ];
        self.random.pick(&words).to_owned()
    }

    fn vars(&mut self, _: &str) -> String {
        let Some(known) = self.one_of("Service") else {
            return String::new();
        };
        // A name may be declared once in a tree.
        let number = self.files.len();
        format!(
            "vars: [{{name: SVC_{number}, objref: {{kind: Service, name: {}, apiVersion: v1}}}}]\n",
            known.name
        )
    }

    /// A new object, whose id is not taken; rarely one that is.
    fn new_object(&mut self, kind: &'static str) -> Known {
        loop {
            let known = Known {
                kind,
                name: self.name(),
                namespace: if self.random.one_in(4) {
                    self.random.pick(&["default", "team", "prod"])
                } else {
                    ""
                },
            };
            let is_taken = self
                .known
                .iter()
                .any(|other| other.kind == kind && other.name == known.name);
            if !is_taken || self.random.one_in(60) {
                self.known.push(known.clone());
                return known;
            }
            if self.random.one_in(40) {
                return known;
            }
        }
    }

    fn metadata(&mut self, kind: &'static str) -> String {
        let mut text = self.new_object(kind).metadata();
        if self.random.one_in(3) {
            let (key, value) = (self.random.pick(&KEYS), self.scalar());
            let _ = writeln!(text, "  labels: {{'{key}': {value}, env: {}}}", self.name());
        }
        if self.random.one_in(3) {
            let (key, value) = (self.random.pick(&KEYS), self.any());
            let _ = writeln!(text, "  annotations: {{'{key}': {value}}}");
        }
        text
    }

    fn pod(&mut self, indent: usize) -> String {
        let mut text = format!(
            "containers:\n- name: main\n  image: {}\n  env:\n  - name: A\n    value: {}\n  - name: FROM\n    valueFrom: {{configMapKeyRef: {{name: {}, key: a}}}}\n  args: [\"$(SVC_3)\", \"x $(SVC_2) $$(SVC_4)\"]\n",
            self.random.pick(&IMAGES),
            self.scalar(),
            self.name()
        );
        if self.random.one_in(3) {
            text.push_str(
                "  ports:\n  - containerPort: 80\n  - containerPort: 53\n    protocol: UDP\n",
            );
        }
        if self.random.one_in(3) {
            let _ = writeln!(
                text,
                "initContainers: [{{name: init, image: '{}'}}]",
                self.random.pick(&IMAGES)
            );
        }
        if self.random.one_in(2) {
            let _ = write!(
                text,
                "volumes:\n- name: conf\n  configMap: {{name: {}}}\n- name: sec\n  secret: {{secretName: {}}}\n",
                self.name(),
                self.name()
            );
        }
        if self.random.one_in(3) {
            let _ = writeln!(text, "serviceAccountName: {}", self.name());
        }
        indented(&text, indent)
    }
}

fn indented(text: &str, indent: usize) -> String {
    text.lines()
        .map(|line| format!("{}{line}\n", " ".repeat(indent)))
        .collect()
}
