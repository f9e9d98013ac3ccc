//! Which parts of a snapshot are restored, and to which names.

use reprise_mysql::{Manifest, MysqlDatabase};

use crate::error::{Error, Result};
use crate::mysql::options::MysqlRestoreOptions;

/// A database to be restored.
#[derive(Debug, Clone)]
pub(crate) struct SelectedDatabase {
    /// The snapshot's description of it, with only the selected objects.
    pub(crate) database: MysqlDatabase,
    /// Its name at the target.
    pub(crate) target: String,
    /// Whether the whole database was selected; otherwise single tables.
    pub(crate) whole: bool,
}

/// The selected databases.
pub(crate) fn select_databases(
    manifest: &Manifest,
    options: &MysqlRestoreOptions,
    snapshot: &str,
) -> Result<Vec<SelectedDatabase>> {
    let missing = |wanted: &str| Error::NoSuchPath {
        wanted: wanted.to_owned(),
        snapshot: snapshot.to_owned(),
    };
    let mut selected: Vec<SelectedDatabase> = Vec::new();
    if options.databases.is_empty() && options.tables.is_empty() {
        selected.extend(
            manifest
                .databases
                .iter()
                .map(|database| whole_database(database, None)),
        );
    }
    for (name, target) in &options.databases {
        let database = manifest
            .databases
            .iter()
            .find(|database| database.name == *name);
        let database = database.ok_or_else(|| missing(name))?;
        // Tables of a named database narrow it; its new name applies to them too.
        if !options.tables.iter().any(|(database, _)| database == name) {
            selected.push(whole_database(database, target.as_ref()));
        }
    }
    for (name, table) in &options.tables {
        let found = manifest
            .databases
            .iter()
            .find(|database| database.name == *name);
        let database = found.ok_or_else(|| missing(name))?;
        let wanted = || missing(&format!("{name}.{table}"));
        let part = single_object(database, table).ok_or_else(wanted)?;
        let target = options
            .databases
            .iter()
            .find(|(database, _)| database == name);
        match selected
            .iter_mut()
            .find(|chosen| chosen.database.name == *name)
        {
            Some(chosen) => add_objects(&mut chosen.database, part),
            None => selected.push(SelectedDatabase {
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

fn whole_database(database: &MysqlDatabase, target: Option<&String>) -> SelectedDatabase {
    SelectedDatabase {
        target: target.unwrap_or(&database.name).clone(),
        database: database.clone(),
        whole: true,
    }
}

/// One table with its triggers, or one view or sequence.
fn single_object(database: &MysqlDatabase, name: &str) -> Option<MysqlDatabase> {
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

fn add_objects(database: &mut MysqlDatabase, part: MysqlDatabase) {
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
