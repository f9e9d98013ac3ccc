//! One policy: decodes it as a whole, with all references inside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::copy::{self, CopyJob};
use crate::model::defined_names::DefinedNames;
use crate::model::drill::{self, Drill};
use crate::model::host::{self, PolicyHost};
use crate::model::repository::{self, PolicyRepository};
use crate::model::retention;
use crate::model::source::{self, PolicySource, PolicySourceKind};
use crate::retention::Retention;
use crate::schema::policy_keys::POLICY;
use crate::values::names::{did_you_mean, is_name, quote};
use crate::yaml::decoder::{Decoder, Field};
use crate::yaml::document::{YamlMark, YamlNode, YamlValue};
use crate::yaml::report::Severity;
use reprise_times::TimeZone;

/// The supported version of the policy format.
const VERSION: &str = "1";

/// What to back up, where to, for how long, and how to prove it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// Its name: given, or the file's name without its extension.
    pub name: String,
    /// The file, absolute.
    pub path: PathBuf,
    /// The file's directory, absolute, which paths in it are relative to.
    pub base_dir: PathBuf,
    /// The time zone in which days, weeks and months begin.
    pub time_zone: TimeZone,
    /// Hosts by name.
    pub hosts: BTreeMap<String, PolicyHost>,
    /// Repositories by name.
    pub repositories: BTreeMap<String, PolicyRepository>,
    /// Sources by name.
    pub sources: BTreeMap<String, PolicySource>,
    /// The copies between repositories, by name.
    pub copies: BTreeMap<String, CopyJob>,
    /// Named retention rules. Each source carries its own copy of those it uses.
    pub retention: BTreeMap<String, Retention>,
    /// Drills by name.
    pub drills: BTreeMap<String, Drill>,
}

/// Decodes the tree of a file. `path` is the file's absolute path.
pub(crate) fn decode(decoder: &mut Decoder<'_>, root: &YamlNode, path: &Path) -> Option<Policy> {
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
        None => name_from_file(decoder, path),
    };
    let time_zone = fields.get("time_zone").map_or_else(
        || Some(TimeZone::utc()),
        |field| decode_time_zone(decoder, &field),
    );
    let mut known = DefinedNames::of_document(root);
    let hosts = decode_section(decoder, fields.get("hosts"), host::decode);
    let repositories = decode_section(decoder, fields.get("repositories"), repository::decode);
    let retention = decode_section(decoder, fields.get("retention"), |decoder, _, field| {
        retention::decode(decoder, field)
    });
    let sources = decode_section(decoder, fields.get("sources"), |decoder, name, field| {
        source::decode(decoder, name, field, &known, &retention)
    });
    known.source_repositories = sources
        .iter()
        .map(|(name, source)| (name.clone(), source.repositories.clone()))
        .collect();
    known.non_mysql_sources = sources
        .values()
        .filter(|source| !matches!(source.kind, PolicySourceKind::Mysql(_)))
        .map(|source| source.name.clone())
        .collect();
    let mut drills = decode_section(decoder, fields.get("drills"), |decoder, name, field| {
        drill::decode(decoder, name, field, &known)
    });
    let copies = decode_section(decoder, fields.get("copies"), |decoder, name, field| {
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
        hosts,
        repositories,
        sources,
        copies,
        retention,
        drills,
    })
}

/// Another version may have other keys: its errors cannot be judged here.
fn check_version(decoder: &mut Decoder<'_>, root: &YamlNode) -> Option<()> {
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
                quote(text)
            );
            decoder.report_error(&field, message);
            None
        }
        _ => Some(()),
    }
}

fn decode_section<T>(
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
        && matches!(&field.node.value, YamlValue::Map(entries) if entries.is_empty())
    {
        let message = format!("`{}` is empty; a policy needs at least one", field.path);
        decoder.report_error(&field, message);
    }
}

fn name_from_file(decoder: &mut Decoder<'_>, path: &Path) -> Option<String> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if is_name(stem) {
        return Some(stem.to_owned());
    }
    let message = format!("the file name {} is not a valid policy name", quote(stem));
    decoder.report.add_finding(
        Severity::Error,
        YamlMark::at_point(1, 1),
        "",
        message,
        Some("add `name: NAME`".to_owned()),
    );
    None
}

fn decode_time_zone(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<TimeZone> {
    let text = decoder.text(field)?;
    match TimeZone::find(text) {
        Some(zone) => Some(zone),
        None => {
            let help = did_you_mean(text, TimeZone::names());
            decoder.report_error_with_help(
                field,
                format!("{} is not an IANA time zone", quote(text)),
                help,
            );
            None
        }
    }
}
