//! One policy: decodes it as a whole, with all references inside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::copy::{self, CopyJob};
use crate::model::defined_names::DefinedNames;
use crate::model::drill::{self, Drill};
use crate::model::host::{self, PolicyHost};
use crate::model::repository::{self, PolicyRepository};
use crate::model::retention;
use crate::model::schedules::maintenance::{self, Maintenance};
use crate::model::schedules::schedule::{self, ScheduleScope};
use crate::model::source::{self, PolicySource};
use crate::retention::Retention;
use crate::schedule::Schedule;
use crate::schema::policy_keys::POLICY;
use crate::values::names::{is_name, quote};
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
    /// Named schedules. What uses them carries its own copy.
    pub schedules: BTreeMap<String, Schedule>,
    /// What is done to repositories besides storing, by the repository's name.
    pub maintenance: BTreeMap<String, Maintenance>,
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
        |field| schedule::decode_time_zone(decoder, &field),
    );
    let mut known = DefinedNames::of_document(root);
    // An invalid zone was reported; what uses it is checked all the same.
    let clocks = time_zone.clone().unwrap_or_else(TimeZone::utc);
    let schedules = decode_section(decoder, fields.get("schedules"), |decoder, _, field| {
        schedule::decode(decoder, field, &clocks)
    });
    let schedule_names = known.schedules.clone();
    let scope = ScheduleScope {
        names: &schedule_names,
        schedules: &schedules,
        time_zone: &clocks,
    };
    let hosts = decode_section(decoder, fields.get("hosts"), host::decode);
    let repositories = decode_section(decoder, fields.get("repositories"), repository::decode);
    let retention = decode_section(decoder, fields.get("retention"), |decoder, _, field| {
        retention::decode(decoder, field)
    });
    let sources = decode_section(decoder, fields.get("sources"), |decoder, name, field| {
        source::decode(decoder, name, field, &known, &retention, &scope)
    });
    known.add_sources(&sources);
    let mut drills = decode_section(decoder, fields.get("drills"), |decoder, name, field| {
        drill::decode(decoder, name, field, &known, &scope)
    });
    let copies = decode_section(decoder, fields.get("copies"), |decoder, name, field| {
        copy::decode(decoder, name, field, &known, &scope)
    });
    let maintenance = decode_section(
        decoder,
        fields.get("maintenance"),
        |decoder, name, field| maintenance::decode(decoder, name, field, &known, &scope),
    );
    for required in ["repositories", "sources"] {
        refuse_empty(decoder, fields.get(required));
    }
    complete_identities(&mut drills, &repositories);
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
        schedules,
        maintenance,
    })
}

/// A drill reads with its own identity, or else the repository's.
fn complete_identities(
    drills: &mut BTreeMap<String, Drill>,
    repositories: &BTreeMap<String, PolicyRepository>,
) {
    for drill in drills.values_mut().filter(|drill| drill.identity.is_none()) {
        drill.identity = repositories
            .get(&drill.repository)
            .and_then(|repository| repository.identity.clone());
    }
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
