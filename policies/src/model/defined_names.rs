//! The names that a policy defines, which references in it are checked against.

use std::collections::BTreeMap;

use crate::model::source::{PolicySource, PolicySourceKind};
use crate::values::names::is_name;
use crate::yaml::document::{YamlNode, YamlValue};

/// The names that can be referred to. They are taken from the keys alone, so that an error inside a repository does
/// not make every reference to it a second error.
#[derive(Debug, Default)]
pub(crate) struct DefinedNames {
    pub(crate) hosts: Vec<String>,
    pub(crate) repositories: Vec<String>,
    pub(crate) retention: Vec<String>,
    pub(crate) schedules: Vec<String>,
    pub(crate) sources: Vec<String>,
    pub(crate) source_repositories: BTreeMap<String, Vec<String>>,
    /// The sources that are not database servers.
    pub(crate) non_mysql_sources: Vec<String>,
}

impl DefinedNames {
    pub(crate) fn of_document(root: &YamlNode) -> Self {
        Self {
            hosts: section_names(root, "hosts"),
            repositories: section_names(root, "repositories"),
            retention: section_names(root, "retention"),
            schedules: section_names(root, "schedules"),
            sources: section_names(root, "sources"),
            source_repositories: BTreeMap::new(),
            non_mysql_sources: Vec::new(),
        }
    }

    /// Adds what is known of sources once they are decoded.
    pub(crate) fn add_sources(&mut self, sources: &BTreeMap<String, PolicySource>) {
        self.source_repositories = sources
            .iter()
            .map(|(name, source)| (name.clone(), source.repositories.clone()))
            .collect();
        self.non_mysql_sources = sources
            .values()
            .filter(|source| !matches!(source.kind, PolicySourceKind::Mysql(_)))
            .map(|source| source.name.clone())
            .collect();
    }
}

fn section_names(root: &YamlNode, section: &str) -> Vec<String> {
    let Some((_, node)) = root.entry(section) else {
        return Vec::new();
    };
    let YamlValue::Map(entries) = &node.value else {
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|(key, _)| key.text())
        .filter(|name| is_name(name))
        .map(str::to_owned)
        .collect()
}
