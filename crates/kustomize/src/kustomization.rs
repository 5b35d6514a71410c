//! Pure: the typed kustomization file, its defaults and its deprecated fields.

use goyaml::{Booleans, DuplicateKeys, Keys, Node, NodeKind, ReadOptions};

use crate::budget::Budget;
use crate::decode::{Decoder, Fields};
use crate::error::{BuildError, BuildErrors, Errors, Place, Problem};
use crate::gvk::split_api_version;
use crate::schema::FieldSpec;
use crate::selector::Selector;

/// A kustomization or component file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kustomization {
    /// Whether the file is a kustomization or a component.
    pub(crate) kind: Kind,
    /// What it was read from, for the lines of errors.
    source: Node,
    /// How many of the resources do not come from the old field `bases`.
    own_resources: usize,
    /// Files, directories and URLs, in the order in which they are read. The old field `bases` is appended.
    pub(crate) resources: Vec<String>,
    /// Directories of components, which change what was read so far.
    pub(crate) components: Vec<String>,
    /// Files with schemas (`openapi`) of custom resources. They add rows to the tables of names, labels and annotations.
    pub(crate) crds: Vec<String>,
    /// Files with further rows of the field tables.
    pub(crate) configurations: Vec<String>,
    /// Files or texts of generators, which run after the resources are read.
    pub(crate) generators: Vec<String>,
    /// Files or texts of transformers, which run after the built-in ones.
    pub(crate) transformers: Vec<String>,
    /// Files or texts of validators. kustomize runs them last; only built-in ones exist here.
    pub(crate) validators: Vec<String>,
    /// The namespace of all objects; empty for none.
    pub(crate) namespace: String,
    /// What is put before every name; empty for nothing.
    pub(crate) name_prefix: String,
    /// What is put after every name, before the hash of a generated object; empty for nothing.
    pub(crate) name_suffix: String,
    /// Labels for all objects, their selectors and their templates, in the order of their keys.
    pub(crate) common_labels: Vec<(String, String)>,
    /// Labels that say themselves where they go.
    pub(crate) labels: Vec<Label>,
    /// Annotations for all objects and their templates, in the order of their keys.
    pub(crate) common_annotations: Vec<(String, String)>,
    /// Patches of both forms, each with a target of its own or by the name in it.
    pub(crate) patches: Vec<Patch>,
    /// The old field: strategic merge patches, as files or as texts.
    pub(crate) patches_strategic_merge: Vec<String>,
    /// The old field: JSON patches, each with one target.
    pub(crate) patches_json6902: Vec<Patch>,
    /// New names, tags and digests of images.
    pub(crate) images: Vec<Image>,
    /// New numbers of replicas, by the names of the objects.
    pub(crate) replicas: Vec<Replica>,
    /// Values that are copied from a field of one object to fields of others.
    pub(crate) replacements: Vec<ReplacementEntry>,
    /// The old field: values that `$(NAME)` stands for.
    pub(crate) vars: Vec<Var>,
    /// `configMapGenerator`: ConfigMaps that are made of files and literals.
    pub(crate) config_maps: Vec<GeneratorArgs>,
    /// `secretGenerator`: Secrets that are made of files and literals.
    pub(crate) secrets: Vec<GeneratorArgs>,
    /// Labels, annotations and flags of all generators of this file.
    pub(crate) generator_options: GeneratorOptions,
    /// Whether `helmCharts` or its kin are given, which are refused.
    pub(crate) has_helm_charts: bool,
    /// The schema that decides how lists are merged, if it is not the built-in one.
    pub(crate) openapi: Option<OpenApi>,
    /// The order of the output; only the root may give one.
    pub(crate) sort: Option<SortOptions>,
    /// Which labels and annotations the output gets; only the root decides.
    pub(crate) build_metadata: Vec<String>,
    /// Old fields that were used.
    pub(crate) warnings: Vec<String>,
}

/// What a file is. The kind decides when its parts are applied, not which fields it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// `kind: Kustomization`, also where no kind is given.
    #[default]
    Kustomization,
    /// `kind: Component`: it changes the resources of the kustomization that includes it.
    Component,
}

/// An entry of `labels`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Label {
    /// The labels, in the order of their keys.
    pub(crate) pairs: Vec<(String, String)>,
    /// The labels go into selectors and templates too, as `commonLabels` do.
    pub(crate) include_selectors: bool,
    /// The labels go into the templates of pods too.
    pub(crate) include_templates: bool,
    /// The labels go into the templates of volume claims too.
    pub(crate) include_volume_claim_templates: bool,
    /// Further fields that get the labels.
    pub(crate) fields: Vec<FieldSpec>,
}

/// An entry of `patches`, or of the old `patchesJson6902`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patch {
    /// The file with the patch; empty if the text is given.
    pub(crate) path: String,
    /// The text of the patch; empty if a file is named.
    pub(crate) patch: String,
    /// The objects that are patched. Without it, the patch names its object itself.
    pub(crate) target: Option<Selector>,
    /// The patch may change the name; otherwise the old one is put back.
    pub(crate) allow_name_change: bool,
    /// The patch may change the kind; otherwise the old one is put back.
    pub(crate) allow_kind_change: bool,
}

/// An entry of `images`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// The image as the objects have it, without tag and digest: a regular expression that matches the whole.
    pub(crate) name: String,
    /// The new name; empty to keep the old one.
    pub(crate) new_name: String,
    /// The new tag; empty to keep the old one. An old digest is left out.
    pub(crate) new_tag: String,
    /// The new digest; empty to keep the old one. With a new tag, both are written; an old tag is left out.
    pub(crate) digest: String,
    /// What is appended to the tag that the objects have.
    pub(crate) tag_suffix: String,
}

/// An entry of `replicas`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replica {
    /// The name of the objects, today's or a former one.
    pub(crate) name: String,
    /// The number of replicas.
    pub(crate) count: i64,
}

/// An entry of `replacements`: a file of them, or one in place.
#[derive(Debug, Clone)]
pub(crate) enum ReplacementEntry {
    /// `path`: a file with one replacement or a list of them.
    File(String),
    /// The replacement itself.
    Inline(Box<Replacement>),
}

/// A value and the fields that it is copied to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replacement {
    /// The object and field that the value comes from.
    pub(crate) source: Option<ReplacementSource>,
    /// The value itself, in place of a source.
    pub(crate) source_value: Option<String>,
    /// Where the value is copied to.
    pub(crate) targets: Vec<ReplacementTarget>,
}

/// The object and field that a value comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplacementSource {
    /// Selects the object. Exactly one must match.
    pub(crate) id: Selector,
    /// The field, as `spec.containers.[name=c].image`; `metadata.name` by default.
    pub(crate) field_path: String,
    /// Which part of the field is the value.
    pub(crate) options: ReplacementOptions,
}

/// Fields that a value is copied to.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplacementTarget {
    /// Selects the objects; without it the replacement is refused.
    pub(crate) select: Option<Selector>,
    /// Objects that are left out though they are selected.
    pub(crate) reject: Vec<Selector>,
    /// The fields; `metadata.name` by default.
    pub(crate) field_paths: Vec<String>,
    /// Which part of each field is replaced, and whether a field is created.
    pub(crate) options: ReplacementOptions,
}

/// Which part of a text is meant, and what to do where a field is missing.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplacementOptions {
    /// What separates the parts of the text; empty for the whole text.
    pub(crate) delimiter: String,
    /// Which part, from 0. In a target, an index below 0 puts the value before all parts, and one beyond them after.
    pub(crate) index: i64,
    /// A missing field is created. Without it, a missing field is an error.
    pub(crate) create: bool,
}

/// An entry of `vars`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Var {
    /// The file and line where it is declared.
    pub(crate) place: Option<Place>,
    /// The name between `$(` and `)`.
    pub(crate) name: String,
    /// `objref`: the object that has the value, by kind, name and perhaps group and version.
    pub(crate) object: Selector,
    /// `fieldref.fieldpath`: where the value is; `metadata.name` by default.
    pub(crate) field_path: String,
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Debug, Clone, Default)]
pub(crate) struct GeneratorArgs {
    /// The name, to which a hash of the content is appended.
    pub(crate) name: String,
    /// The namespace; empty for none.
    pub(crate) namespace: String,
    /// `create`, `merge` or `replace`; empty for `create`. The others need an object of this name from a base.
    pub(crate) behavior: String,
    /// `[key=]path`: a file is one value, under its own name if no key is given.
    pub(crate) files: Vec<String>,
    /// `key=value`, with quotes around the value or without.
    pub(crate) literals: Vec<String>,
    /// Files of `key=value` lines, each of which is one value.
    pub(crate) envs: Vec<String>,
    /// The old field, until it is moved into `envs`.
    pub(crate) env: Option<String>,
    /// The type of a Secret; empty for `Opaque`.
    pub(crate) secret_type: String,
    /// Labels, annotations and flags of this object, over those of all generators.
    pub(crate) options: GeneratorOptions,
}

/// Labels, annotations and flags of generated objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct GeneratorOptions {
    /// Labels of the objects, in the order of their keys.
    pub(crate) labels: Vec<(String, String)>,
    /// Annotations of the objects, in the order of their keys.
    pub(crate) annotations: Vec<(String, String)>,
    /// No hash is appended to the names.
    pub(crate) disable_name_suffix_hash: bool,
    /// The objects are immutable.
    pub(crate) immutable: bool,
}

/// The field `openapi`: one of the two.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenApi {
    /// A file with a schema; empty for a version.
    pub(crate) path: String,
    /// A version of Kubernetes whose schema is built in; empty for a file.
    pub(crate) version: String,
}

/// The field `sortOptions`.
#[derive(Debug, Clone, Default)]
pub(crate) struct SortOptions {
    /// The file and line where they are given.
    pub(crate) place: Option<Place>,
    /// `legacy` or `fifo`.
    pub(crate) order: String,
    /// For `legacy`: the kinds that come first and those that come last. `None` for the built-in lists.
    pub(crate) legacy: Option<(Vec<String>, Vec<String>)>,
}

/// Reads a kustomization as kustomize does: YAML 1.1 booleans, the first document, the last of a repeated key.
fn read(text: &str, file: &str) -> Result<Node, BuildErrors> {
    let options = ReadOptions {
        booleans: Booleans::Yaml11,
        duplicate_keys: DuplicateKeys::LastWins,
        keys: Keys::AsJson,
        ..ReadOptions::default()
    };
    let mut documents = goyaml::read(text, &options).map_err(|error| {
        let error_at = error.line();
        BuildError::from(Problem::Malformed(format!("invalid YAML: {error}"))).at(file, error_at)
    })?;
    if documents.is_empty() {
        return Ok(Node::empty_mapping());
    }
    Ok(documents.swap_remove(0))
}

/// True where every field but `kind` and `apiVersion` has the value that it has anyway: null, an empty text, or an
/// empty list of `bases` or `imageTags`, which move into other fields (`CheckEmpty` in kustomize's kustomization.go).
fn says_nothing(node: &Node) -> bool {
    let is = |key: &str, names: &[&str]| names.iter().any(|name| key.eq_ignore_ascii_case(name));
    let counts = |key: &str, value: &Node| match &value.kind {
        _ if is(key, &["kind", "apiVersion"]) => false,
        NodeKind::Scalar(scalar) => !value.is_null() && !scalar.text.is_empty(),
        NodeKind::Sequence(list) => !(list.is_empty() && is(key, &["bases", "imageTags"])),
        NodeKind::Mapping(_) => true,
    };
    match node.as_mapping() {
        Some(map) => !map.iter().any(|entry| counts(&entry.key, &entry.value)),
        None => node.is_null(),
    }
}

impl Kustomization {
    /// Parses and checks a kustomization file. All that is wrong with it is reported at once.
    pub(crate) fn parse(text: &str, file: &str, budget: &Budget) -> Result<Self, BuildErrors> {
        let node = read(text, file)?;
        budget
            .charge_expansion(&node)
            .map_err(|problem| BuildError::from(problem).at(file, 0))?;
        if says_nothing(&node) {
            let problem = Problem::Kustomization("kustomization.yaml is empty".to_owned());
            return Err(BuildError::from(problem)
                .at(file, 0)
                .hint("`resources: []` is the least that may stand in it")
                .into());
        }
        let mut errors = Errors::default();
        let mut decoder = Decoder::new(&mut errors, file, true);
        let kustomization = Self::decode(&mut decoder, &node);
        errors.finish()?;
        let mut kustomization =
            kustomization.ok_or_else(|| Problem::Kustomization("not a map".to_owned()))?;
        kustomization.source = node;
        for index in 0..kustomization.vars.len() {
            let line = kustomization.line_of(&format!("vars[{index}]"));
            let file = file.to_owned();
            kustomization.vars[index].place = Some(Place { file, line });
        }
        let line = kustomization.line_of("sortOptions");
        if let Some(sort) = &mut kustomization.sort {
            let file = file.to_owned();
            sort.place = Some(Place { file, line });
        }
        Ok(kustomization)
    }

    /// The line of a field that an error names, such as `resources[3]`; 0 if it does not stand in the file so.
    pub(crate) fn line_of(&self, field: &str) -> usize {
        let end = field.find(['[', ' ', '.']).unwrap_or(field.len());
        let (name, rest) = field.split_at(end);
        let mut entries = self.source.as_mapping().into_iter().flatten();
        let Some(entry) = entries.find(|entry| entry.key.eq_ignore_ascii_case(name)) else {
            return 0;
        };
        let index = rest
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(index, _)| index.parse::<usize>().ok());
        let node = match (index, entry.value.as_sequence()) {
            (Some(index), Some(items)) => items.get(index).unwrap_or(&entry.value),
            _ => &entry.value,
        };
        usize::try_from(node.line).unwrap_or_default()
    }

    /// What to call an entry of `resources` in a message: those of `bases` come after the others.
    pub(crate) fn resource_field(&self, index: usize) -> String {
        match index.checked_sub(self.own_resources) {
            None => format!("resources[{index}]"),
            Some(index) => format!("bases[{index}]"),
        }
    }

    fn decode(decoder: &mut Decoder<'_>, node: &Node) -> Option<Self> {
        let mut fields = decoder.fields(node, "")?;
        let kind = decode_kind(decoder, &mut fields);
        let mut this = Self {
            kind,
            resources: fields.strings(decoder, "resources"),
            components: fields.strings(decoder, "components"),
            crds: fields.strings(decoder, "crds"),
            configurations: fields.strings(decoder, "configurations"),
            generators: fields.strings(decoder, "generators"),
            transformers: fields.strings(decoder, "transformers"),
            validators: fields.strings(decoder, "validators"),
            namespace: fields.string(decoder, "namespace"),
            name_prefix: fields.string(decoder, "namePrefix"),
            name_suffix: fields.string(decoder, "nameSuffix"),
            common_labels: fields.string_map(decoder, "commonLabels"),
            labels: fields.list(decoder, "labels", Label::decode),
            common_annotations: fields.string_map(decoder, "commonAnnotations"),
            patches: fields.list(decoder, "patches", Patch::decode),
            patches_strategic_merge: fields.strings(decoder, "patchesStrategicMerge"),
            patches_json6902: fields.list(decoder, "patchesJson6902", Patch::decode),
            images: fields.list(decoder, "images", Image::decode),
            replicas: fields.list(decoder, "replicas", Replica::decode),
            replacements: fields.list(decoder, "replacements", ReplacementEntry::decode),
            vars: fields.list(decoder, "vars", Var::decode),
            config_maps: fields.list(decoder, "configMapGenerator", GeneratorArgs::decode),
            secrets: fields.list(decoder, "secretGenerator", GeneratorArgs::decode),
            generator_options: fields
                .object(decoder, "generatorOptions", GeneratorOptions::decode)
                .unwrap_or_default(),
            openapi: fields.object(decoder, "openapi", OpenApi::decode),
            sort: fields.object(decoder, "sortOptions", SortOptions::decode),
            build_metadata: fields.strings(decoder, "buildMetadata"),
            ..Self::default()
        };
        for ignored in ["metadata", "helmGlobals"] {
            fields.node(ignored);
        }
        let charts = [
            fields.node("helmCharts"),
            fields.node("helmChartInflationGenerator"),
        ];
        this.has_helm_charts = charts
            .into_iter()
            .flatten()
            .any(|node| !node.is_null() && !node.is_empty_collection());
        this.take_old_fields(decoder, &mut fields);
        fields.finish(decoder);
        Some(this)
    }

    /// Old names of fields go where they belong today, with a warning.
    fn take_old_fields(&mut self, decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) {
        let bases = fields.strings(decoder, "bases");
        let images: Vec<Image> = fields.list(decoder, "imageTags", Image::decode);
        let env = self
            .config_maps
            .iter()
            .chain(&self.secrets)
            .any(|args| args.env.is_some());
        let old = [
            ("bases", "resources", !bases.is_empty()),
            ("imageTags", "images", !images.is_empty()),
            ("env", "envs", env),
            ("commonLabels", "labels", !self.common_labels.is_empty()),
            (
                "patchesStrategicMerge",
                "patches",
                !self.patches_strategic_merge.is_empty(),
            ),
            (
                "patchesJson6902",
                "patches",
                !self.patches_json6902.is_empty(),
            ),
            ("vars", "replacements", !self.vars.is_empty()),
        ];
        let used = old.iter().filter(|(_, _, used)| *used);
        self.warnings = used
            .map(|(name, new, _)| format!("'{name}' is deprecated. Please use '{new}' instead."))
            .collect();
        self.own_resources = self.resources.len();
        self.resources.extend(bases);
        self.images.extend(images);
        for args in self.config_maps.iter_mut().chain(&mut self.secrets) {
            args.envs.extend(args.env.take());
        }
    }
}

fn decode_kind(decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) -> Kind {
    let line = u32::try_from(fields.line()).unwrap_or_default();
    let kind = fields.string(decoder, "kind");
    let api_version = fields.string(decoder, "apiVersion");
    let (kind, expected) = match kind.as_str() {
        "" | "Kustomization" => (Kind::Kustomization, "kustomize.config.k8s.io/v1beta1"),
        "Component" => (Kind::Component, "kustomize.config.k8s.io/v1alpha1"),
        _ => {
            let message = format!("kind should be Kustomization or Component, not `{kind}`");
            decoder.fail_with(
                line,
                message,
                "an object of another kind goes under `resources`",
            );
            return Kind::Kustomization;
        }
    };
    if !(api_version.is_empty() && kind == Kind::Kustomization)
        && api_version != expected
        && !api_version.is_empty()
    {
        decoder.fail_with(
            line,
            format!("apiVersion for {kind:?} should be {expected}, not `{api_version}`"),
            "change it, or leave `apiVersion` and `kind` out of a kustomization",
        );
    }
    kind
}

impl Label {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let label = Self {
            pairs: fields.string_map(decoder, "pairs"),
            include_selectors: fields.flag(decoder, "includeSelectors"),
            include_templates: fields.flag(decoder, "includeTemplates"),
            include_volume_claim_templates: fields.flag(decoder, "includeVolumeClaimTemplates"),
            fields: fields.list(decoder, "fields", FieldSpec::decode),
        };
        fields.finish(decoder);
        Some(label)
    }
}

impl Patch {
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let mut patch = Self {
            path: fields.string(decoder, "path"),
            patch: fields.string(decoder, "patch"),
            target: fields.object(decoder, "target", Selector::decode),
            ..Self::default()
        };
        let options = fields.object(decoder, "options", |decoder, node, name| {
            let mut fields = decoder.fields(node, name)?;
            let flags = (
                fields.flag(decoder, "allowNameChange"),
                fields.flag(decoder, "allowKindChange"),
            );
            fields.finish(decoder);
            Some(flags)
        });
        (patch.allow_name_change, patch.allow_kind_change) = options.unwrap_or_default();
        fields.finish(decoder);
        Some(patch)
    }
}

impl Image {
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let image = Self {
            name: fields.string(decoder, "name"),
            new_name: fields.string(decoder, "newName"),
            new_tag: fields.string(decoder, "newTag"),
            digest: fields.string(decoder, "digest"),
            tag_suffix: fields.string(decoder, "tagSuffix"),
        };
        fields.finish(decoder);
        Some(image)
    }
}

impl Replica {
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let replica = Self {
            name: fields.string(decoder, "name"),
            count: fields.int(decoder, "count"),
        };
        fields.finish(decoder);
        Some(replica)
    }
}

impl ReplacementEntry {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let path = fields.string(decoder, "path");
        let replacement = Replacement::decode_fields(decoder, &mut fields);
        fields.finish(decoder);
        if path.is_empty() {
            Some(Self::Inline(Box::new(replacement)))
        } else {
            Some(Self::File(path))
        }
    }
}

impl Replacement {
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let replacement = Self::decode_fields(decoder, &mut fields);
        fields.finish(decoder);
        Some(replacement)
    }

    fn decode_fields(decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) -> Self {
        Self {
            source: fields.object(decoder, "source", ReplacementSource::decode),
            source_value: fields.optional_string(decoder, "sourceValue"),
            targets: fields.list(decoder, "targets", ReplacementTarget::decode),
        }
    }
}

impl ReplacementSource {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let id = Selector {
            group: fields.string(decoder, "group"),
            version: fields.string(decoder, "version"),
            kind: fields.string(decoder, "kind"),
            name: fields.string(decoder, "name"),
            namespace: fields.string(decoder, "namespace"),
            ..Selector::default()
        };
        let source = Self {
            id,
            field_path: fields.string(decoder, "fieldPath"),
            options: fields
                .object(decoder, "options", ReplacementOptions::decode)
                .unwrap_or_default(),
        };
        fields.finish(decoder);
        Some(source)
    }
}

impl ReplacementTarget {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let target = Self {
            select: fields.object(decoder, "select", Selector::decode),
            reject: fields.list(decoder, "reject", Selector::decode),
            field_paths: fields.strings(decoder, "fieldPaths"),
            options: fields
                .object(decoder, "options", ReplacementOptions::decode)
                .unwrap_or_default(),
        };
        fields.finish(decoder);
        Some(target)
    }
}

impl ReplacementOptions {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let options = Self {
            delimiter: fields.string(decoder, "delimiter"),
            index: fields.int(decoder, "index"),
            create: fields.flag(decoder, "create"),
        };
        // Read by kustomize and used by nothing.
        fields.node("encoding");
        fields.finish(decoder);
        Some(options)
    }
}

impl Var {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let var_name = fields.string(decoder, "name");
        let object = fields.object(decoder, "objref", |decoder, node, name| {
            let mut fields = decoder.fields(node, name)?;
            let api_version = fields.string(decoder, "apiVersion");
            let (group, version) = split_api_version(&api_version);
            let (group, version) = (group.to_owned(), version.to_owned());
            let or = |text: String, other: String| if text.is_empty() { other } else { text };
            let selector = Selector {
                group: or(fields.string(decoder, "group"), group),
                version: or(fields.string(decoder, "version"), version),
                kind: fields.string(decoder, "kind"),
                name: fields.string(decoder, "name"),
                namespace: fields.string(decoder, "namespace"),
                ..Selector::default()
            };
            fields.finish(decoder);
            Some(selector)
        });
        let field_path = fields.object(decoder, "fieldref", |decoder, node, name| {
            let mut fields = decoder.fields(node, name)?;
            let path = fields.string(decoder, "fieldPath");
            // Kustomize wrote both spellings.
            let old = fields.string(decoder, "fieldpath");
            fields.finish(decoder);
            Some(if path.is_empty() { old } else { path })
        });
        fields.finish(decoder);
        let field_path = field_path
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "metadata.name".to_owned());
        Some(Self {
            place: None,
            name: var_name,
            object: object.unwrap_or_default(),
            field_path,
        })
    }
}

impl GeneratorArgs {
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let args = Self {
            name: fields.string(decoder, "name"),
            namespace: fields.string(decoder, "namespace"),
            behavior: fields.string(decoder, "behavior"),
            files: fields.strings(decoder, "files"),
            literals: fields.strings(decoder, "literals"),
            envs: fields.strings(decoder, "envs"),
            env: fields
                .optional_string(decoder, "env")
                .filter(|env| !env.is_empty()),
            secret_type: fields.string(decoder, "type"),
            options: fields
                .object(decoder, "options", GeneratorOptions::decode)
                .unwrap_or_default(),
        };
        for old in ["kvSources", "apiVersion", "kind", "metadata"] {
            fields.node(old);
        }
        fields.finish(decoder);
        Some(args)
    }
}

impl GeneratorOptions {
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let options = Self {
            labels: fields.string_map(decoder, "labels"),
            annotations: fields.string_map(decoder, "annotations"),
            disable_name_suffix_hash: fields.flag(decoder, "disableNameSuffixHash"),
            immutable: fields.flag(decoder, "immutable"),
        };
        fields.finish(decoder);
        Some(options)
    }
}

impl OpenApi {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let openapi = Self {
            path: fields.string(decoder, "path"),
            version: fields.string(decoder, "version"),
        };
        fields.finish(decoder);
        Some(openapi)
    }
}

impl SortOptions {
    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let order = fields.string(decoder, "order");
        let legacy = fields.object(decoder, "legacySortOptions", |decoder, node, name| {
            let mut fields = decoder.fields(node, name)?;
            let lists = (
                fields.strings(decoder, "orderFirst"),
                fields.strings(decoder, "orderLast"),
            );
            fields.finish(decoder);
            Some(lists)
        });
        fields.finish(decoder);
        Some(Self {
            place: None,
            order,
            legacy,
        })
    }
}
