//! Pure: field specs: which fields of which kinds a transformer touches.

use std::collections::BTreeMap;

use goyaml::{Node, ReadOptions, Text};

use crate::decode::Decoder;
use crate::error::{Errors, Problem};
use crate::gvk::Gvk;

/// A path of keys; on its way every list is entered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct FieldPath {
    /// The keys, from the root of the object.
    pub(crate) segments: Vec<Segment>,
}

/// One key of a path. With `list`, the key is never created.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    /// The key of a map.
    pub(crate) key: Text,
    /// The path says that a list stands there, with `[]` after the key.
    pub(crate) list: bool,
}

/// A row: a path, and the kinds it is for (an empty part matches anything).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FieldSpec {
    /// The kinds that the row is for.
    pub(crate) gvk: Gvk,
    /// Where the field is.
    pub(crate) path: FieldPath,
    /// The field is created where it is missing, with the maps that lead to it.
    pub(crate) create: bool,
}

/// The fields that hold the name of a target kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameReference {
    /// The kind whose names stand in the fields.
    pub(crate) target: Gvk,
    /// The fields, each with the kinds that have it.
    pub(crate) referrers: Vec<FieldSpec>,
}

/// Rows of one table, found by kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rows {
    rows: Vec<FieldSpec>,
    by_kind: BTreeMap<Text, Vec<usize>>,
    by_path: BTreeMap<FieldPath, Vec<usize>>,
}

/// All tables, as they stand for one kustomization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FieldTables {
    /// Fields that get the prefix of names.
    pub(crate) name_prefix: Rows,
    /// Fields that get the suffix of names.
    pub(crate) name_suffix: Rows,
    /// Fields that get the namespace.
    pub(crate) namespace: Rows,
    /// Fields that get `commonLabels`: labels, selectors and templates.
    pub(crate) common_labels: Rows,
    /// Fields that get `labels`: those of the object alone.
    pub(crate) labels: Rows,
    /// Fields that get `labels` with `includeTemplates`.
    pub(crate) template_labels: Rows,
    /// Fields that get `labels` with `includeVolumeClaimTemplates`.
    pub(crate) volume_claim_template_labels: Rows,
    /// Fields that get `commonAnnotations`.
    pub(crate) common_annotations: Rows,
    /// Fields that hold an image, beside those of containers.
    pub(crate) images: Rows,
    /// Fields that hold a number of replicas.
    pub(crate) replicas: Rows,
    /// Fields in which `$(NAME)` is replaced.
    pub(crate) var_references: Rows,
    /// Fields that hold the names of other objects, by the kind of these.
    pub(crate) name_references: Vec<NameReference>,
}

impl FieldPath {
    /// Splits at `/`; `\/` is a slash within a key.
    pub(crate) fn parse(text: &str) -> Self {
        let mut keys = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.peek() == Some(&'/') => {
                    characters.next();
                    keys.iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|key| key.push('/'));
                }
                '/' => keys.push(String::new()),
                _ => keys
                    .iter_mut()
                    .last()
                    .into_iter()
                    .for_each(|key| key.push(character)),
            }
        }
        let segments = keys.into_iter().filter(|key| !key.is_empty()).map(|key| {
            key.strip_suffix("[]").map_or_else(
                || Segment {
                    key: key.as_str().into(),
                    list: false,
                },
                |list| Segment {
                    key: list.into(),
                    list: true,
                },
            )
        });
        Self {
            segments: segments.collect(),
        }
    }

    /// True if the path has exactly these keys.
    pub(crate) fn is(&self, keys: &[&str]) -> bool {
        let mine = self.segments.iter().map(|segment| &*segment.key);
        mine.eq(keys.iter().copied())
    }

    /// True if the path ends with these keys.
    pub(crate) fn ends_with(&self, keys: &[&str]) -> bool {
        let mine = self.segments.iter().rev().map(|segment| &*segment.key);
        mine.take(keys.len()).eq(keys.iter().rev().copied())
    }

    /// The path with `/` between its keys, as configurations write it.
    pub(crate) fn show(&self) -> String {
        let keys: Vec<&str> = self.segments.iter().map(|segment| &*segment.key).collect();
        keys.join("/")
    }
}

impl FieldSpec {
    /// A row for every kind. `path` has `/` between its keys, and `\/` for a slash in a key.
    pub(crate) fn new(path: &str, create: bool) -> Self {
        Self {
            gvk: Gvk::default(),
            path: FieldPath::parse(path),
            create,
        }
    }

    /// Reads a row of a configuration. Errors go to the decoder, and then there is no row.
    pub(crate) fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let gvk = Gvk {
            group: fields.string(decoder, "group").into(),
            version: fields.string(decoder, "version").into(),
            kind: fields.string(decoder, "kind").into(),
        };
        let path = FieldPath::parse(&fields.string(decoder, "path"));
        let create = fields.flag(decoder, "create");
        fields.finish(decoder);
        Some(Self { gvk, path, create })
    }
}

/// Each new row is compared with all of its path, so that more of them would take long.
const MAX_ROWS_PER_PATH: usize = 10_000;

impl Rows {
    /// A table of these rows, indexed by kind and by path.
    pub(crate) fn of(rows: impl IntoIterator<Item = FieldSpec>) -> Self {
        let mut table = Self::default();
        rows.into_iter().for_each(|row| table.push(row));
        table
    }

    fn push(&mut self, row: FieldSpec) {
        self.by_kind
            .entry(row.gvk.kind.clone())
            .or_default()
            .push(self.rows.len());
        self.by_path
            .entry(row.path.clone())
            .or_default()
            .push(self.rows.len());
        self.rows.push(row);
    }

    /// The rows, in the order in which they were added.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, FieldSpec> {
        self.rows.iter()
    }

    /// The rows for a kind, in the table's order.
    pub(crate) fn matching(&self, gvk: &Gvk) -> Vec<&FieldSpec> {
        let for_kind = |kind: &str| self.by_kind.get(kind).map_or(&[][..], Vec::as_slice);
        let mut positions: Vec<usize> = for_kind(&gvk.kind).to_vec();
        if !gvk.kind.is_empty() {
            positions.extend(for_kind(""));
            positions.sort_unstable();
        }
        positions
            .into_iter()
            .map(|position| &self.rows[position])
            .filter(|row| row.gvk.selects(gvk))
            .collect()
    }

    /// Adds a row, unless one of the same path covers its kinds, as kustomize does (`fieldspec.go`).
    ///
    /// # Errors
    /// The two differ in `create`, or the path has too many rows.
    pub(crate) fn merge_one(&mut self, row: FieldSpec) -> Result<(), Problem> {
        let same_path = self.by_path.get(&row.path);
        if same_path.is_some_and(|rows| rows.len() >= MAX_ROWS_PER_PATH) {
            return Err(Problem::Limit(format!(
                "more than {MAX_ROWS_PER_PATH} field specs have the path `{}`",
                row.path.show()
            )));
        }
        for old in same_path.into_iter().flatten().map(|&at| &self.rows[at]) {
            if row.gvk.selects(&old.gvk) {
                if old.create != row.create {
                    return Err(Problem::Transform(format!(
                        "conflicting fieldspecs for `{}`",
                        row.path.show()
                    )));
                }
                return Ok(());
            }
        }
        self.push(row);
        Ok(())
    }

    /// Adds rows, each as [`Self::merge_one`] does.
    pub(crate) fn merge_all(
        &mut self,
        rows: impl IntoIterator<Item = FieldSpec>,
    ) -> Result<(), Problem> {
        rows.into_iter().try_for_each(|row| self.merge_one(row))
    }
}

impl IntoIterator for Rows {
    type Item = FieldSpec;
    type IntoIter = std::vec::IntoIter<FieldSpec>;
    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl FieldTables {
    /// Reads the embedded tables.
    pub(super) fn parse_builtin(text: &str) -> Result<Self, String> {
        let documents =
            goyaml::read(text, &ReadOptions::default()).map_err(|error| error.to_string())?;
        let mut errors = Errors::default();
        let mut decoder = Decoder::new(&mut errors, "fieldspecs.yaml", true);
        let tables = documents
            .first()
            .and_then(|node| Self::decode(&mut decoder, node, References::Embedded));
        errors.finish().map_err(|errors| errors.to_string())?;
        tables.ok_or_else(|| "no tables".to_owned())
    }

    /// Reads a file of `configurations`.
    pub(crate) fn parse_configuration(decoder: &mut Decoder<'_>, node: &Node) -> Option<Self> {
        Self::decode(decoder, node, References::Configuration)
    }

    fn decode(decoder: &mut Decoder<'_>, node: &Node, references: References) -> Option<Self> {
        let mut fields = decoder.fields(node, "")?;
        let mut rows = |decoder: &mut Decoder<'_>, name| {
            Rows::of(fields.list(decoder, name, FieldSpec::decode))
        };
        let mut tables = Self {
            name_prefix: rows(decoder, "namePrefix"),
            name_suffix: rows(decoder, "nameSuffix"),
            namespace: rows(decoder, "namespace"),
            common_labels: rows(decoder, "commonLabels"),
            labels: rows(decoder, "labels"),
            template_labels: rows(decoder, "templateLabels"),
            volume_claim_template_labels: rows(decoder, "volumeClaimTemplateLabels"),
            common_annotations: rows(decoder, "commonAnnotations"),
            images: rows(decoder, "images"),
            replicas: rows(decoder, "replicas"),
            var_references: rows(decoder, "varReference"),
            name_references: Vec::new(),
        };
        tables.name_references =
            fields.list(
                decoder,
                "nameReference",
                |decoder, node, name| match references {
                    References::Embedded => NameReference::decode_embedded(decoder, node, name),
                    References::Configuration => NameReference::decode(decoder, node, name),
                },
            );
        fields.finish(decoder);
        Some(tables)
    }

    /// Adds the rows of other tables.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), Problem> {
        let pairs = [
            (&mut self.name_prefix, &other.name_prefix),
            (&mut self.name_suffix, &other.name_suffix),
            (&mut self.namespace, &other.namespace),
            (&mut self.common_labels, &other.common_labels),
            (&mut self.labels, &other.labels),
            (&mut self.template_labels, &other.template_labels),
            (
                &mut self.volume_claim_template_labels,
                &other.volume_claim_template_labels,
            ),
            (&mut self.common_annotations, &other.common_annotations),
            (&mut self.images, &other.images),
            (&mut self.replicas, &other.replicas),
            (&mut self.var_references, &other.var_references),
        ];
        for (mine, theirs) in pairs {
            mine.merge_all(theirs.iter().cloned())?;
        }
        for reference in &other.name_references {
            self.merge_reference(reference)?;
        }
        Ok(())
    }

    /// Adds the referrers of a kind to those that are there.
    fn merge_reference(&mut self, reference: &NameReference) -> Result<(), Problem> {
        let same = self
            .name_references
            .iter_mut()
            .find(|mine| mine.target == reference.target);
        let Some(mine) = same else {
            if self.name_references.len() >= MAX_ROWS_PER_PATH {
                return Err(Problem::Limit(format!(
                    "more than {MAX_ROWS_PER_PATH} kinds have name references"
                )));
            }
            self.name_references.push(reference.clone());
            return Ok(());
        };
        if mine.referrers == reference.referrers {
            return Ok(());
        }
        let mut rows = Rows::of(std::mem::take(&mut mine.referrers));
        rows.merge_all(reference.referrers.iter().cloned())?;
        mine.referrers = rows.into_iter().collect();
        Ok(())
    }
}

/// In which of two layouts name references are written.
#[derive(Clone, Copy)]
enum References {
    /// `{target: {…}, referrers: […]}`
    Embedded,
    /// `{group, version, kind, fieldSpecs: […]}`
    Configuration,
}

impl NameReference {
    fn decode_embedded(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let target = fields.object(decoder, "target", FieldSpec::decode)?.gvk;
        let referrers = fields.list(decoder, "referrers", FieldSpec::decode);
        fields.finish(decoder);
        Some(Self { target, referrers })
    }

    fn decode(decoder: &mut Decoder<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = decoder.fields(node, name)?;
        let target = Gvk {
            group: fields.string(decoder, "group").into(),
            version: fields.string(decoder, "version").into(),
            kind: fields.string(decoder, "kind").into(),
        };
        let referrers = fields.list(decoder, "fieldSpecs", FieldSpec::decode);
        fields.finish(decoder);
        Some(Self { target, referrers })
    }
}
