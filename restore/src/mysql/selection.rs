//! Which parts of a snapshot go where.

use reprise_snapshotters::mysql::{Database, Manifest};

use super::options::MysqlRestore;
use crate::error::{Error, Result};

/// A database to be restored.
#[derive(Debug, Clone)]
pub(super) struct Selected {
    /// What the snapshot says, with only what was chosen.
    pub(super) database: Database,
    /// Its name at the target.
    pub(super) target: String,
    /// Whether the whole database was chosen; otherwise single tables.
    pub(super) whole: bool,
}

/// The chosen databases.
pub(super) fn select(
    manifest: &Manifest,
    options: &MysqlRestore,
    snapshot: &str,
) -> Result<Vec<Selected>> {
    let missing = |wanted: &str| Error::NoSuchPath {
        wanted: wanted.to_owned(),
        snapshot: snapshot.to_owned(),
    };
    let mut selected: Vec<Selected> = Vec::new();
    if options.databases.is_empty() && options.tables.is_empty() {
        selected.extend(
            manifest
                .databases
                .iter()
                .map(|database| whole(database, None)),
        );
    }
    for (name, target) in &options.databases {
        let database = manifest
            .databases
            .iter()
            .find(|database| database.name == *name);
        let database = database.ok_or_else(|| missing(name))?;
        // Tables of a named database narrow it; its new name holds for them too.
        if !options.tables.iter().any(|(database, _)| database == name) {
            selected.push(whole(database, target.as_ref()));
        }
    }
    for (name, table) in &options.tables {
        let found = manifest
            .databases
            .iter()
            .find(|database| database.name == *name);
        let database = found.ok_or_else(|| missing(name))?;
        let wanted = || missing(&format!("{name}.{table}"));
        let part = only(database, table).ok_or_else(wanted)?;
        let target = options
            .databases
            .iter()
            .find(|(database, _)| database == name);
        match selected
            .iter_mut()
            .find(|chosen| chosen.database.name == *name)
        {
            Some(chosen) => join(&mut chosen.database, part),
            None => selected.push(Selected {
                target: target
                    .and_then(|(_, target)| target.clone())
                    .unwrap_or_else(|| name.clone()),
                database: part,
                whole: false,
            }),
        }
    }
    Ok(selected)
}

fn whole(database: &Database, target: Option<&String>) -> Selected {
    Selected {
        target: target.unwrap_or(&database.name).clone(),
        database: database.clone(),
        whole: true,
    }
}

/// One table with its triggers, or one view or sequence.
fn only(database: &Database, name: &str) -> Option<Database> {
    let mut part = database.clone();
    part.tables.retain(|table| table.name == name);
    part.views.retain(|view| view.name == name);
    part.sequences.retain(|sequence| sequence.name == name);
    part.triggers
        .retain(|trigger| trigger.table.as_deref() == Some(name));
    part.routines.clear();
    part.events.clear();
    let found = !part.tables.is_empty() || !part.views.is_empty() || !part.sequences.is_empty();
    found.then_some(part)
}

fn join(database: &mut Database, part: Database) {
    let new = |name: &str, known: &[String]| !known.iter().any(|known| known == name);
    let known: Vec<String> = database
        .tables
        .iter()
        .map(|table| table.name.clone())
        .collect();
    database.tables.extend(
        part.tables
            .into_iter()
            .filter(|table| new(&table.name, &known)),
    );
    let known: Vec<String> = database
        .views
        .iter()
        .map(|view| view.name.clone())
        .collect();
    database.views.extend(
        part.views
            .into_iter()
            .filter(|view| new(&view.name, &known)),
    );
    let known: Vec<String> = database
        .sequences
        .iter()
        .map(|sequence| sequence.name.clone())
        .collect();
    database.sequences.extend(
        part.sequences
            .into_iter()
            .filter(|sequence| new(&sequence.name, &known)),
    );
    let known: Vec<String> = database
        .triggers
        .iter()
        .map(|trigger| trigger.name.clone())
        .collect();
    database.triggers.extend(
        part.triggers
            .into_iter()
            .filter(|trigger| new(&trigger.name, &known)),
    );
}
