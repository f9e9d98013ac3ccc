//! The tree of a snapshot: the manifest, the scripts and the rows as files; and the facts in the root.

use std::collections::{BTreeMap, BTreeSet};

use reprise_mysql::{
    ConsistentSnapshot, MANIFEST_FILE, Manifest, ServerInfo, TableDataFile, table_directory,
};
use reprise_repository::{
    CommittedSnapshot, Entry, EntryKind, FileTime, RawText, Snapshot, SnapshotItem,
    SnapshotSummary, SnapshotWriter, Warning, path_order,
};
use serde_json::json;

use super::accounts::AccountsWithWarnings;
use super::script;
use super::source::MysqlSource;
use crate::error::{Error, Result};
use crate::mysql::dump::rows::read_queue::TableReadResult;
use crate::mysql::dump::schema::server_schema::ServerSchema;
use crate::run::{RunContext, source_warning};

/// The manifest without the rows; and its warnings.
pub(crate) struct ManifestWithWarnings {
    manifest: Manifest,
    warnings: Vec<Warning>,
}

/// Describes a server whose rows are stored.
pub(crate) fn build_manifest(
    server: &ServerInfo,
    moment: ConsistentSnapshot,
    schema: ServerSchema,
    found: &[TableReadResult],
    accounts: AccountsWithWarnings,
    source: &MysqlSource,
) -> ManifestWithWarnings {
    let mut warnings: Vec<String> = schema.warnings;
    warnings.extend(accounts.warnings);
    if let Some(undecided @ 1..) = moment.undecided {
        warnings.push(format!(
            "rows of prepared transactions that are neither committed nor rolled back are not included (number of transactions: {undecided}; see XA RECOVER)"
        ));
    }
    let mut databases = schema.databases;
    for (plan, found) in schema.plans.iter().zip(found) {
        let database = &mut databases[plan.database_index];
        let directory = table_directory(&database.name, &database.tables[plan.table_index].name);
        let table = &mut database.tables[plan.table_index];
        table.rows = found.checksum.rows;
        table.checksum = found.checksum.to_hex();
        table.line_bytes_max = found.line_bytes_max;
        table.pieces = found
            .files
            .iter()
            .enumerate()
            .map(|(n, piece)| TableDataFile {
                path: format!("{directory}/{:06}.tsv", n + 1),
                rows: piece.rows,
                bytes: piece.bytes,
            })
            .collect();
        if !table.consistent {
            if source.hold_nontransactional {
                table.consistent = true;
            } else {
                warnings.push(format!(
                    "{} may be inconsistent with the other tables: its engine {} is not transactional (lock such tables with --hold-nontransactional)",
                    reprise_mysql::sql::qualify_name(&database.name, &table.name),
                    table.engine
                ));
            }
        }
    }
    let manifest = Manifest {
        format: reprise_mysql::MANIFEST_FORMAT,
        server: server.facts.clone(),
        moment,
        tablespaces: schema.tablespaces,
        databases,
        accounts: accounts.accounts,
    };
    ManifestWithWarnings {
        manifest,
        warnings: warnings.into_iter().map(source_warning).collect(),
    }
}

/// A file of the snapshot's tree.
enum SnapshotFile {
    Text(Vec<u8>),
    Stream(reprise_repository::StreamId, u64),
}

/// Adds the files of the tree, and commits the snapshot.
pub(crate) fn store_snapshot(
    mut writer: SnapshotWriter,
    described: ManifestWithWarnings,
    found: &[TableReadResult],
    source: &MysqlSource,
    run: &RunContext,
    parent: Option<&Snapshot>,
) -> Result<CommittedSnapshot> {
    let ManifestWithWarnings {
        manifest,
        mut warnings,
    } = described;
    let time = manifest.moment.time;
    let mtime = FileTime(time.timestamp(), time.timestamp_subsec_nanos());
    let files = collect_files(&manifest, found)?;
    add_files(&mut writer, files, mtime)?;
    let facts = summary_facts(&manifest);
    let committed = writer.finish(|counts, _| {
        warnings.extend(run.shrink_alarms(parent, counts));
        Ok(SnapshotSummary {
            data_time: time,
            finished: (run.clock)(),
            facts,
            location: RawText::from(source.address.to_string().as_str()),
            warnings,
        })
    })?;
    Ok(committed)
}

/// All files by path.
fn collect_files(
    manifest: &Manifest,
    found: &[TableReadResult],
) -> Result<Vec<(String, SnapshotFile)>> {
    let json = serde_json::to_vec_pretty(manifest).map_err(|error| {
        reprise_repository::Error::Internal(format!("writing the manifest: {error}"))
    })?;
    let mut files = vec![
        (MANIFEST_FILE.to_owned(), SnapshotFile::Text(json)),
        (
            script::LOAD_SCRIPT_FILE.to_owned(),
            SnapshotFile::Text(script::build_load_script(manifest)),
        ),
        (
            script::README_FILE.to_owned(),
            SnapshotFile::Text(script::build_readme(manifest).into_bytes()),
        ),
    ];
    if let Some(accounts) = &manifest.accounts {
        let text = SnapshotFile::Text(script::build_accounts_script(accounts));
        files.push((script::ACCOUNTS_SCRIPT_FILE.to_owned(), text));
        let text = SnapshotFile::Text(script::build_grants_script(accounts));
        files.push((script::GRANTS_SCRIPT_FILE.to_owned(), text));
    }
    if let Some(text) = script::build_broken_views_script(manifest) {
        files.push((
            script::BROKEN_VIEWS_SCRIPT_FILE.to_owned(),
            SnapshotFile::Text(text),
        ));
    }
    let tables = manifest
        .databases
        .iter()
        .flat_map(|database| &database.tables);
    for (table, found) in tables.zip(found) {
        for (piece, stream) in table.pieces.iter().zip(&found.files) {
            files.push((
                piece.path.clone(),
                SnapshotFile::Stream(stream.stream, stream.bytes),
            ));
        }
    }
    files.sort_by(|a, b| path_order(a.0.as_bytes(), b.0.as_bytes()));
    Ok(files)
}

fn add_files(
    writer: &mut SnapshotWriter,
    files: Vec<(String, SnapshotFile)>,
    mtime: FileTime,
) -> Result<()> {
    let mut chunker = writer.content_chunker();
    let mut directories = BTreeSet::new();
    for (path, file) in files {
        for (end, _) in path.match_indices('/') {
            if directories.insert(path[..end].to_owned()) {
                let directory = Entry {
                    mode: 0o700,
                    mtime,
                    uid: rustix::process::geteuid().as_raw(),
                    gid: rustix::process::getegid().as_raw(),
                    ..Entry::new(RawText::from(&path[..end]), EntryKind::Directory)
                };
                writer.add_item(SnapshotItem::Entry {
                    entry: directory,
                    chunks: Vec::new(),
                    stamp: None,
                })?;
            }
        }
        let entry = |size| Entry {
            size,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..Entry::generated_file(&path, mtime)
        };
        match file {
            SnapshotFile::Stream(stream, bytes) => writer.add_item(SnapshotItem::StreamedFile {
                entry: entry(bytes),
                streams: vec![stream],
            })?,
            SnapshotFile::Text(text) => {
                let stored = writer.add_stream(&mut chunker, &mut text.as_slice())?;
                let size = stored.map_err(|source| Error::Unreadable {
                    path: path.clone().into(),
                    source,
                })?;
                writer.add_item(SnapshotItem::Entry {
                    entry: entry(size),
                    chunks: Vec::new(),
                    stamp: None,
                })?;
            }
        }
    }
    Ok(())
}

/// Facts that are readable without a recovery identity: no names.
fn summary_facts(manifest: &Manifest) -> BTreeMap<String, serde_json::Value> {
    let moment = &manifest.moment;
    BTreeMap::from([
        ("consistency".to_owned(), json!(moment.consistency)),
        ("connections".to_owned(), json!(moment.connections)),
        ("coordinates_exact".to_owned(), json!(moment.exact)),
        ("flavour".to_owned(), json!(manifest.server.flavour)),
        ("server_version".to_owned(), json!(manifest.server.version)),
        ("server_uuid".to_owned(), json!(manifest.server.uuid)),
        ("gtid".to_owned(), json!(moment.gtid)),
        ("binary_log_file".to_owned(), json!(moment.file)),
        ("binary_log_position".to_owned(), json!(moment.position)),
        ("log_from".to_owned(), json!(moment.log_from)),
        ("objects".to_owned(), json!(manifest.object_counts())),
        ("rows".to_owned(), json!(manifest.row_count())),
    ])
}
