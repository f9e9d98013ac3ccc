//! One policy: its decoding as a whole, with everything that refers to something else in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::copy::{self, CopyJob};
use crate::decoder::{Decoder, Field};
use crate::document::{self, Mark, Node, Value};
use crate::drill::{self, Drill};
use crate::error::{PolicyError, PolicyErrors, PolicyWarning};
use crate::names::{did_you_mean, is_name, quoted};
use crate::report::{Report, Severity};
use crate::repository::{self, Repository};
use crate::retention::{self, Retention};
use crate::source::{self, Source, SourceKind};
use crate::table::POLICY;
use crate::{lint, paths};

/// The version of the policy format that is read.
const VERSION: &str = "1";

/// What to protect, where to, for how long, and how to prove it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// Its name: given, or the file's name without its ending.
    pub name: String,
    /// The file, absolute.
    pub path: PathBuf,
    /// The file's folder, absolute, which paths in it are relative to.
    pub base_dir: PathBuf,
    /// Where days, weeks and months begin.
    pub time_zone: Tz,
    /// Repositories by name.
    pub repositories: BTreeMap<String, Repository>,
    /// Sources by name.
    pub sources: BTreeMap<String, Source>,
    /// What is copied from one repository to another, by name.
    pub copies: BTreeMap<String, CopyJob>,
    /// Named retention rules. Each source carries its own copy of those it uses.
    pub retention: BTreeMap<String, Retention>,
    /// Drills by name.
    pub drills: BTreeMap<String, Drill>,
}

/// The names that can be referred to. They are taken from the keys alone, so that a mistake inside a repository does
/// not make every reference to it a second mistake.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) repositories: Vec<String>,
    pub(crate) retention: Vec<String>,
    sources: Vec<String>,
    pub(crate) source_repositories: BTreeMap<String, Vec<String>>,
    /// The sources that are not database servers.
    pub(crate) no_servers: Vec<String>,
}

impl Known {
    fn new(root: &Node) -> Self {
        Self {
            repositories: keys(root, "repositories"),
            retention: keys(root, "retention"),
            sources: keys(root, "sources"),
            source_repositories: BTreeMap::new(),
            no_servers: Vec::new(),
        }
    }

    pub(crate) fn source_names(&self) -> &[String] {
        &self.sources
    }
}

fn keys(root: &Node, section: &str) -> Vec<String> {
    let Some((
        _,
        Node {
            value: Value::Map(entries),
            ..
        },
    )) = root.entry(section)
    else {
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|(key, _)| key.text())
        .filter(|name| is_name(name))
        .map(str::to_owned)
        .collect()
}

/// Decodes a policy file's text. `file` is how the file is called in messages, `path` its absolute path.
pub(crate) fn decode(
    file: &Path,
    path: &Path,
    text: &str,
) -> Result<(Policy, Vec<PolicyWarning>), PolicyErrors> {
    // A byte order mark is not part of the text, and would shift the first line's columns.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::default();
    let document = match document::parse(text) {
        Ok(document) => document,
        Err(fault) => {
            report.add(Severity::Error, fault.mark, "", fault.message, None);
            return failed(report, file, text);
        }
    };
    for fault in document.faults {
        report.add(Severity::Error, fault.mark, "", fault.message, None);
    }
    let base = path
        .parent()
        .map_or_else(|| PathBuf::from("/"), paths::normalise);
    let mut decoder = Decoder {
        base: &base,
        report,
    };
    let policy = decode_root(&mut decoder, &document.root, path);
    if let Some(policy) = &policy {
        lint::lint(policy, &document.root, &mut decoder.report);
    }
    let (errors, warnings) = decoder.report.finish(file, text);
    PolicyErrors::check(errors)?;
    let undecided = || PolicyError::of_file(file, "the policy could not be read".to_owned());
    Ok((policy.ok_or_else(undecided)?, warnings))
}

fn failed<T>(report: Report, file: &Path, text: &str) -> Result<T, PolicyErrors> {
    let (errors, _) = report.finish(file, text);
    PolicyErrors::check(errors)?;
    Err(PolicyError::of_file(file, "the policy could not be read".to_owned()).into())
}

fn decode_root(decoder: &mut Decoder<'_>, root: &Node, path: &Path) -> Option<Policy> {
    let field = Field {
        node: root,
        key: None,
        path: String::new(),
    };
    check_version(decoder, root)?;
    let fields = decoder.object(field, &POLICY)?;
    if let Some(field) = fields.get("version") {
        decoder.text(&field);
    }
    let name = match fields.get("name") {
        Some(field) => decoder.name(&field),
        None => name_of_file(decoder, path),
    };
    let time_zone = fields
        .get("time_zone")
        .map_or(Some(Tz::UTC), |field| time_zone(decoder, &field));
    let mut known = Known::new(root);
    let repositories = section(decoder, fields.get("repositories"), repository::decode);
    let retention = section(decoder, fields.get("retention"), |decoder, _, field| {
        retention::decode(decoder, field)
    });
    let sources = section(decoder, fields.get("sources"), |decoder, name, field| {
        source::decode(decoder, name, field, &known, &retention)
    });
    known.source_repositories = sources
        .iter()
        .map(|(name, source)| (name.clone(), source.repositories.clone()))
        .collect();
    known.no_servers = sources
        .values()
        .filter(|source| !matches!(source.kind, SourceKind::Mysql(_)))
        .map(|source| source.name.clone())
        .collect();
    let mut drills = section(decoder, fields.get("drills"), |decoder, name, field| {
        drill::decode(decoder, name, field, &known)
    });
    let copies = section(decoder, fields.get("copies"), |decoder, name, field| {
        copy::decode(decoder, name, field, &known)
    });
    for required in ["repositories", "sources"] {
        refuse_empty(decoder, fields.get(required));
    }
    for drill in drills.values_mut().filter(|drill| drill.identity.is_none()) {
        drill.identity = repositories
            .get(&drill.repository)
            .and_then(|repository| repository.identity.clone());
    }
    let (path, base_dir) = (path.to_owned(), decoder.base.to_owned());
    let (name, time_zone) = (name?, time_zone?);
    Some(Policy {
        name,
        path,
        base_dir,
        time_zone,
        repositories,
        sources,
        copies,
        retention,
        drills,
    })
}

/// Another version may mean other keys: its mistakes cannot be judged here.
fn check_version(decoder: &mut Decoder<'_>, root: &Node) -> Option<()> {
    let Some((key, node)) = root.entry("version") else {
        return Some(());
    };
    let field = Field {
        node,
        key: Some(key),
        path: "version".to_owned(),
    };
    match node.text() {
        Some(text) if text != VERSION => {
            let message = format!(
                "version {} is not supported; this version of reprise supports version {VERSION}",
                quoted(text)
            );
            decoder.error(&field, message);
            None
        }
        _ => Some(()),
    }
}

fn section<T>(
    decoder: &mut Decoder<'_>,
    field: Option<Field<'_>>,
    mut decode: impl FnMut(&mut Decoder<'_>, &str, Field<'_>) -> Option<T>,
) -> BTreeMap<String, T> {
    let Some(field) = field else {
        return BTreeMap::new();
    };
    let mut result = BTreeMap::new();
    for (name, field) in decoder.entries(&field) {
        if let Some(value) = decode(decoder, &name, field) {
            result.insert(name, value);
        }
    }
    result
}

fn refuse_empty(decoder: &mut Decoder<'_>, field: Option<Field<'_>>) {
    if let Some(field) = field
        && matches!(&field.node.value, Value::Map(entries) if entries.is_empty())
    {
        let message = format!("`{}` is empty; a policy needs at least one", field.path);
        decoder.error(&field, message);
    }
}

fn name_of_file(decoder: &mut Decoder<'_>, path: &Path) -> Option<String> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if is_name(stem) {
        return Some(stem.to_owned());
    }
    let message = format!("the file name {} is not a valid policy name", quoted(stem));
    decoder.report.add(
        Severity::Error,
        Mark::point(1, 1),
        "",
        message,
        Some("add `name: NAME`".to_owned()),
    );
    None
}

fn time_zone(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Tz> {
    let text = decoder.text(field)?;
    match text.parse() {
        Ok(zone) => Some(zone),
        Err(_) => {
            let help = did_you_mean(text, TZ_VARIANTS.iter().map(|zone| zone.name()));
            decoder.error_with(
                field,
                format!("{} is not an IANA time zone", quoted(text)),
                help,
            );
            None
        }
    }
}
