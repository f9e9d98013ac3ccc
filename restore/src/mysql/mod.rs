//! Restores a MySQL or MariaDB server: rows first, then keys, then everything that runs by itself, then the comparison
//! with the snapshot.
//!
//! ```text
//! preflight ─► databases, accounts ─► tables ─► rows and keys (several connections) ─► foreign keys ─►
//! routines, views, triggers ─► comparison ─► grants, views that need them, events
//! ```
//!
//! `load` loads a snapshot, `pitr` finds the way to a point in time, `replay` applies the log. `restore_state` has the
//! steps done, kept at the target.

mod load;
mod options;
mod pitr;
pub mod replay;
pub(crate) mod restore_state;

use std::collections::BTreeMap;
use std::sync::Arc;

use reprise_mysql::load_statements::LOAD_SESSION_SETTINGS;
use reprise_mysql::sql::quote_name;
use reprise_mysql::{MANIFEST_FILE, Manifest, MysqlAccount, Session, try_set_variable};
use reprise_repository::{
    ChunkId, ContentReader, Outcome, Progress, RawText, Repository, Snapshot, SourceKind, Warning,
};

use sha2::Digest as _;

use crate::error::{Error, Result};
use crate::mysql::load::objects::ObjectCreator;
use crate::mysql::load::preflight::TargetServer;
use crate::mysql::load::rows::{DumpFileReader, TableLoad};
use crate::mysql::load::selection::SelectedDatabase;
use crate::mysql::load::target_settings::TargetSettings;
use crate::mysql::pitr::roll_forward::RollForward;
use restore_state::RestoreState;

pub use crate::mysql::pitr::catalog::{
    RecoveryCatalog, RecoveryPath, RecoveryTarget, RecoveryWindow,
};
pub use crate::mysql::pitr::roll_forward::{
    PointInTimeOptions, RollForwardPlan, RollForwardReport, TransactionSummary,
};
pub use options::{
    AccountSelection, MysqlRestoreOptions, MysqlRestorePlan, MysqlRestoreReport, PlannedTable,
    VerifyLevel,
};

/// Session variables for loading, set where the server knows them and lets this account set them.
const OPTIONAL_SETTINGS: [&str; 12] = [
    "SET SESSION innodb_strict_mode = 0",
    "SET SESSION sql_require_primary_key = 0",
    "SET SESSION sql_generate_invisible_primary_key = 0",
    "SET SESSION system_versioning_insert_history = 1",
    "SET SESSION restrict_fk_on_non_standard_key = 0",
    "SET SESSION max_error_count = 65535",
    "SET SESSION wait_timeout = 86400",
    "SET SESSION net_read_timeout = 86400",
    "SET SESSION net_write_timeout = 86400",
    "SET SESSION max_execution_time = 0",
    "SET SESSION max_statement_time = 0",
    // A session that holds a table for longer than these seconds is named instead of waited for.
    "SET SESSION lock_wait_timeout = 30",
];

/// A snapshot of a server, opened for a restore.
struct OpenedMysqlSnapshot {
    manifest: Manifest,
    chunks: BTreeMap<String, Vec<ChunkId>>,
    reader: ContentReader,
}

/// Describes what a restore would do, without doing it.
///
/// # Errors
/// As for [`restore`], except that what does not fit is in the plan.
pub fn plan_restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    progress: &Arc<Progress>,
) -> Result<MysqlRestorePlan> {
    plan_with(repository, snapshot, options, None, progress)
}

/// Describes what a restore to a recovery target would do.
///
/// # Errors
/// As for [`plan_restore`], and when there is no recovery path to the target.
pub fn plan_point_in_time(
    repository: &Repository,
    archive: &RecoveryCatalog,
    wanted: &PointInTimeOptions,
    options: &MysqlRestoreOptions,
    progress: &Arc<Progress>,
) -> Result<(Snapshot, MysqlRestorePlan)> {
    let way = archive.find_path(repository, &wanted.target)?;
    let forward = RollForward::new(repository, &way, wanted)?;
    let plan = plan_with(repository, way.snapshot, options, Some(&forward), progress)?;
    Ok((way.snapshot.clone(), plan))
}

fn plan_with(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    forward: Option<&RollForward<'_>>,
    progress: &Arc<Progress>,
) -> Result<MysqlRestorePlan> {
    let opened = open_snapshot(repository, snapshot)?;
    let selected = crate::mysql::load::selection::select_databases(
        &opened.manifest,
        options,
        &snapshot.id.short(),
    )?;
    let mut control = connect_to_target(options, progress)?;
    let target = crate::mysql::load::preflight::inspect_target(
        &mut control,
        &opened.manifest,
        &selected,
        options,
    )?;
    let accounts = accounts_to_create(&opened.manifest, &selected, options, &target).len();
    let mut plan = target.build_plan(&selected, accounts, options);
    plan.forward = forward.map(RollForward::build_plan);
    Ok(plan)
}

/// Restores a snapshot of a server, and compares the server with the snapshot.
///
/// # Errors
/// When the target is refused or cannot hold the snapshot, the snapshot cannot be read, or the server fails. What was
/// loaded until then is kept for `resume`.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    announce: &mut dyn FnMut(&MysqlRestorePlan),
    progress: &Arc<Progress>,
) -> Result<MysqlRestoreReport> {
    restore_with(repository, snapshot, options, None, announce, progress)
}

/// Restores a server to a recovery target: the snapshot before it, and the log up to it. Returns the snapshot too.
///
/// # Errors
/// As for [`restore`], and when there is no recovery path to the target or the log cannot be replayed.
pub fn restore_point_in_time(
    repository: &Repository,
    archive: &RecoveryCatalog,
    wanted: &PointInTimeOptions,
    options: &MysqlRestoreOptions,
    announce: &mut dyn FnMut(&Snapshot, &MysqlRestorePlan),
    progress: &Arc<Progress>,
) -> Result<(Snapshot, MysqlRestoreReport)> {
    let way = archive.find_path(repository, &wanted.target)?;
    let forward = RollForward::new(repository, &way, wanted)?;
    let mut announce = |plan: &MysqlRestorePlan| announce(way.snapshot, plan);
    let report = restore_with(
        repository,
        way.snapshot,
        options,
        Some(&forward),
        &mut announce,
        progress,
    )?;
    Ok((way.snapshot.clone(), report))
}

fn restore_with(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    forward: Option<&RollForward<'_>>,
    announce: &mut dyn FnMut(&MysqlRestorePlan),
    progress: &Arc<Progress>,
) -> Result<MysqlRestoreReport> {
    let opened = open_snapshot(repository, snapshot)?;
    let selected = crate::mysql::load::selection::select_databases(
        &opened.manifest,
        options,
        &snapshot.id.short(),
    )?;
    let mut control = connect_to_target(options, progress)?;
    let mut name = restore_fingerprint(snapshot, &selected);
    if let Some(forward) = forward {
        name.push_str(&format!(" to {}", forward.fingerprint()));
    }
    if !options.overwrite {
        restore_state::check_resumable(&mut control, &name, options.resume)?;
    }
    let target = crate::mysql::load::preflight::inspect_target(
        &mut control,
        &opened.manifest,
        &selected,
        options,
    )?;
    let accounts = accounts_to_create(&opened.manifest, &selected, options, &target);
    let mut plan = target.build_plan(&selected, accounts.len(), options);
    plan.forward = forward.map(RollForward::build_plan);
    announce(&plan);
    if !plan.problems.is_empty() {
        return Err(Error::TargetIncompatible {
            target: plan.target,
            problems: plan.problems,
        });
    }
    let run = MysqlRestoreRun {
        options,
        opened: &opened,
        selected: &selected,
        accounts,
        progress,
    };
    restore_state::lock_target(&mut control)?;
    if options.overwrite {
        restore_state::delete_state(&mut control)
            .map_err(|e| Error::from_database("delete the state of the interrupted restore", e))?;
    }
    drop_existing_objects(&mut control, &target)?;
    let done = restore_state::begin_restore(&mut control, &name, options.resume)?;
    let mut settings = TargetSettings::from_earlier_attempt(&done);
    let changed = settings.change_settings(&mut control, &target, options, forward.is_some());
    let result =
        changed.and_then(|()| run.restore_and_replay(&mut control, &done, forward, &mut settings));
    let back = settings.revert_settings(options);
    let mut report = result.map_err(Error::into_unfinished)?;
    back.map_err(Error::into_unfinished)?;
    restore_state::delete_state(&mut control)
        .map_err(|e| Error::from_database("delete the state of the finished restore", e))?;
    report.warnings.splice(
        0..0,
        target
            .warnings
            .iter()
            .map(|text| warning_without_path(text.clone())),
    );
    report.outcome = if report.warnings.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Degraded
    };
    Ok(report)
}

/// Drops conflicting objects. No record exists before all are dropped: a resumed restore finds only its own objects.
fn drop_existing_objects(control: &mut Session, target: &TargetServer) -> Result<()> {
    for statement in &target.drop_statements {
        control
            .execute(statement)
            .map_err(|error| Error::from_database(format!("run {statement}"), error))?;
    }
    Ok(())
}

fn warning_without_path(message: String) -> Warning {
    Warning {
        path: RawText::default(),
        message,
    }
}

/// Reads the manifest, and the locations of the files' chunks.
fn open_snapshot(repository: &Repository, snapshot: &Snapshot) -> Result<OpenedMysqlSnapshot> {
    if snapshot.root.kind != SourceKind::Mysql {
        return Err(Error::SnapshotNotOfServer {
            snapshot: snapshot.id.short(),
            kind: snapshot.root.kind.to_string(),
        });
    }
    let reader = repository.content_reader()?;
    let mut chunks = BTreeMap::new();
    let mut entries = reader.snapshot_reader(snapshot).entries();
    while let Some((entry, ids)) = entries.next_entry()? {
        chunks.insert(entry.path.display(), ids);
    }
    drop(entries);
    let ids = chunks.remove(MANIFEST_FILE).unwrap_or_default();
    let mut json = Vec::new();
    let mut content = reader.stream_content(ids, MANIFEST_FILE.to_owned());
    while let Some(chunk) = content.next_chunk()? {
        json.extend_from_slice(&chunk);
    }
    drop(content);
    let manifest = Manifest::parse(&json).map_err(|reason| reprise_repository::Error::Damaged {
        object: format!("{MANIFEST_FILE} of snapshot {}", snapshot.id.short()),
        reason,
    })?;
    Ok(OpenedMysqlSnapshot {
        manifest,
        chunks,
        reader,
    })
}

/// The accounts to create. Another flavour would not understand them.
fn accounts_to_create<'a>(
    manifest: &'a Manifest,
    selected: &[SelectedDatabase],
    options: &MysqlRestoreOptions,
    target: &TargetServer,
) -> &'a [MysqlAccount] {
    let everything =
        options.databases.is_empty() && options.tables.is_empty() && !selected.is_empty();
    let wanted = options.users.unwrap_or(if everything {
        AccountSelection::Missing
    } else {
        AccountSelection::None
    });
    match (&manifest.accounts, wanted) {
        (Some(accounts), AccountSelection::Missing)
            if target.is_flavour(manifest.server.flavour) =>
        {
            accounts
        }
        _ => &[],
    }
}

fn connect_to_target(options: &MysqlRestoreOptions, progress: &Arc<Progress>) -> Result<Session> {
    let open = || {
        let mut session = Session::open(&options.address, progress)?;
        for statement in LOAD_SESSION_SETTINGS {
            session.execute(statement)?;
        }
        for statement in OPTIONAL_SETTINGS {
            try_set_variable(&mut session, statement)?;
        }
        // Without a binary log, nothing needs to be kept out of it.
        if !options.write_binlog {
            try_set_variable(&mut session, "SET SESSION sql_log_bin = 0")?;
        }
        Ok(session)
    };
    open().map_err(|error| Error::from_database(format!("connect to {}", options.address), error))
}

/// Identifies this restore: the snapshot, and which parts of it go where.
fn restore_fingerprint(snapshot: &Snapshot, selected: &[SelectedDatabase]) -> String {
    let mut names = String::new();
    for chosen in selected {
        names.push_str(&format!(
            "{} {} {}\n",
            chosen.database.name, chosen.target, chosen.whole
        ));
        for table in &chosen.database.tables {
            names.push_str(&format!("\t{}\n", table.name));
        }
    }
    format!("{} {}", snapshot.id, short_hash(&names))
}

/// The first half of a hash, in hexadecimal digits.
fn short_hash(text: &str) -> String {
    hex::encode(&sha2::Sha256::digest(text)[..8])
}

struct MysqlRestoreRun<'a> {
    options: &'a MysqlRestoreOptions,
    opened: &'a OpenedMysqlSnapshot,
    selected: &'a [SelectedDatabase],
    accounts: &'a [MysqlAccount],
    progress: &'a Arc<Progress>,
}

impl MysqlRestoreRun<'_> {
    /// The snapshot, and the log after it, if requested.
    fn restore_and_replay(
        &self,
        control: &mut Session,
        done: &RestoreState,
        forward: Option<&RollForward<'_>>,
        settings: &mut TargetSettings,
    ) -> Result<MysqlRestoreReport> {
        let Some(forward) = forward else {
            return self.restore_snapshot(control, done);
        };
        let mut report = match RollForward::is_snapshot_restored(done) {
            true => self.report_earlier_attempt()?,
            false => self.restore_snapshot(control, done)?,
        };
        if !report.differences.is_empty() {
            return Ok(report);
        }
        RollForward::record_snapshot_restored(control)?;
        if forward.options.keep_gtids {
            settings.relax_durability(control, done, self.selected)?;
        }
        let accounts: Vec<String> = self
            .opened
            .manifest
            .accounts
            .iter()
            .flatten()
            .map(|account| account.user.clone())
            .collect();
        let replayed = forward.replay_log(control, self.options, done, &accounts, self.progress)?;
        let (mut told, warnings) = forward.build_report(&replayed);
        report.warnings.extend(warnings);
        if let RecoveryTarget::Snapshot(later) = &forward.options.target
            && forward.options.skip.is_empty()
        {
            report.differences = self.compare_with_snapshot(control, forward.repository, later)?;
            told.compared_with = Some(later.id.short());
        }
        report.forward = Some(told);
        Ok(report)
    }

    /// Reads what an earlier, interrupted attempt has done.
    fn report_earlier_attempt(&self) -> Result<MysqlRestoreReport> {
        let fillings = self.table_loads()?;
        Ok(MysqlRestoreReport {
            outcome: Outcome::Ok,
            tables: fillings.len(),
            rows: fillings.iter().map(|filling| filling.table.rows).sum(),
            warnings: Vec::new(),
            verified: self.options.verify,
            differences: Vec::new(),
            forward: None,
        })
    }

    /// Compares every table with the checksums of another snapshot.
    fn compare_with_snapshot(
        &self,
        control: &mut Session,
        repository: &Repository,
        snapshot: &Snapshot,
    ) -> Result<Vec<String>> {
        let opened = open_snapshot(repository, snapshot)?;
        let selected = crate::mysql::load::selection::select_databases(
            &opened.manifest,
            self.options,
            &snapshot.id.short(),
        )?;
        let run = MysqlRestoreRun {
            opened: &opened,
            selected: &selected,
            accounts: &[],
            ..*self
        };
        let fillings = run.table_loads()?;
        let mut differences = run.compare_tables(control, &fillings)?;
        let whole = selected.iter().filter(|chosen| chosen.whole);
        for chosen in whole.filter(|_| self.options.verify != VerifyLevel::None) {
            differences.extend(crate::mysql::load::verify::find_extra_tables(
                control, chosen,
            )?);
        }
        Ok(differences)
    }

    fn restore_snapshot(
        &self,
        control: &mut Session,
        done: &RestoreState,
    ) -> Result<MysqlRestoreReport> {
        self.create_databases(control)?;
        let mut warnings = Vec::new();
        // Owners must exist before their objects.
        let made = self.with_object_creator(control, &mut warnings, |maker| {
            maker.create_accounts(self.accounts, done)
        })?;
        let fillings = self.table_loads()?;
        self.load_tables(control, &fillings, done)?;
        let waiting = self.with_object_creator(control, &mut warnings, |maker| {
            maker.create_code(self.selected)
        })?;
        let mut differences = self.compare_tables(control, &fillings)?;
        self.with_object_creator(control, &mut warnings, |maker| {
            let refused = maker.grant_privileges(&made)?;
            maker.create_pending_views(waiting)?;
            maker.retry_grants(&refused)
        })?;
        if differences.is_empty() {
            self.with_object_creator(control, &mut warnings, |maker| {
                maker.create_events(self.selected)
            })?;
            differences = self.compare_objects(control, &warnings)?;
            self.make_databases_read_only(control)?;
        } else {
            warnings.push(warning_without_path(
                "events were not created because restored rows differ from the snapshot".to_owned(),
            ));
        }
        Ok(MysqlRestoreReport {
            outcome: Outcome::Ok,
            tables: fillings.len(),
            rows: fillings.iter().map(|filling| filling.table.rows).sum(),
            warnings,
            verified: self.options.verify,
            differences,
            forward: None,
        })
    }

    /// Makes databases read-only again that were read-only.
    fn make_databases_read_only(&self, control: &mut Session) -> Result<()> {
        let read_only = |chosen: &&SelectedDatabase| chosen.whole && chosen.database.is_read_only();
        for chosen in self.selected.iter().filter(read_only) {
            let name = quote_name(&chosen.target);
            control
                .execute(format!("ALTER DATABASE {name} READ ONLY = 1"))
                .map_err(|error| {
                    Error::from_database(format!("set database {name} to read-only"), error)
                })?;
        }
        Ok(())
    }

    fn with_object_creator<T>(
        &self,
        control: &mut Session,
        warnings: &mut Vec<Warning>,
        work: impl FnOnce(&mut ObjectCreator<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut maker = ObjectCreator {
            session: control,
            definer: self.options.definer.as_deref(),
            warnings: Vec::new(),
        };
        let made = work(&mut maker);
        warnings.append(&mut maker.warnings);
        made
    }

    /// Whether all stored objects exist, unless some were reported as left out.
    fn compare_objects(&self, control: &mut Session, warnings: &[Warning]) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        if self.options.verify == VerifyLevel::None || !warnings.is_empty() {
            return Ok(differences);
        }
        for chosen in self.selected.iter().filter(|chosen| chosen.whole) {
            let database = &chosen.database;
            let wanted = [
                &database.views,
                &database.routines,
                &database.triggers,
                &database.events,
            ];
            let found = crate::mysql::load::verify::count_objects(control, &chosen.target)?;
            for ((wanted, found), what) in wanted
                .iter()
                .zip(found)
                .zip(["views", "routines", "triggers", "events"])
            {
                if wanted.len() as u64 != found {
                    let name = quote_name(&chosen.target);
                    differences.push(format!(
                        "database {name} has {found} {what} instead of {}",
                        wanted.len()
                    ));
                }
            }
        }
        Ok(differences)
    }

    fn create_databases(&self, control: &mut Session) -> Result<()> {
        for tablespace in &self.opened.manifest.tablespaces {
            let used = self.selected.iter().any(|chosen| {
                let name = format!("TABLESPACE {}", quote_name(&tablespace.name));
                let tables = &chosen.database.tables;
                tables.iter().any(|table| {
                    memchr::memmem::find(table.sql.as_bytes(), name.as_bytes()).is_some()
                })
            });
            if used {
                match control.execute(tablespace.sql.as_bytes()) {
                    Ok(_) => {}
                    // It exists.
                    Err(error) if error.code() == Some(3120) => {}
                    Err(error) => {
                        return Err(Error::from_database(
                            format!("create tablespace {}", tablespace.name),
                            error,
                        ));
                    }
                }
            }
        }
        for chosen in self.selected {
            control
                .execute(crate::mysql::load::preflight::create_database_statement(
                    chosen,
                ))
                .map_err(|error| {
                    Error::from_database(
                        format!("create database {}", quote_name(&chosen.target)),
                        error,
                    )
                })?;
        }
        Ok(())
    }

    fn table_loads(&self) -> Result<Vec<TableLoad>> {
        let mut fillings = Vec::new();
        for chosen in self.selected {
            for table in &chosen.database.tables {
                let parsed = crate::mysql::load::ddl::parse_create_table(table.sql.as_bytes())
                    .map_err(|reason| reprise_repository::Error::Damaged {
                        object: format!(
                            "the definition of {}.{}",
                            chosen.database.name, table.name
                        ),
                        reason,
                    })?;
                fillings.push(TableLoad {
                    database: chosen.target.clone(),
                    definition: parsed.renamed_to(&chosen.target, &table.name),
                    table: table.clone(),
                });
            }
        }
        Ok(fillings)
    }

    fn load_tables(
        &self,
        control: &mut Session,
        fillings: &[TableLoad],
        done: &RestoreState,
    ) -> Result<()> {
        let total = fillings
            .iter()
            .flat_map(|filling| &filling.table.pieces)
            .map(|piece| piece.bytes)
            .sum();
        Progress::add(&self.progress.bytes_total, total);
        Progress::add(&self.progress.items_total, fillings.len() as u64);
        // Defaults of tables may use sequences.
        self.create_sequences(control)?;
        crate::mysql::load::rows::create_tables(control, fillings, done)?;
        let mut sessions = (0..self.options.connections.max(1))
            .map(|_| connect_to_target(self.options, self.progress))
            .collect::<Result<Vec<_>>>()?;
        let content = DumpFileReader {
            reader: &self.opened.reader,
            chunks: self.opened.chunks.clone(),
        };
        crate::mysql::load::rows::load_rows_and_keys(
            &mut sessions,
            fillings,
            &content,
            done,
            self.progress,
        )?;
        crate::mysql::load::rows::add_foreign_keys(control, fillings, done)
    }

    fn create_sequences(&self, control: &mut Session) -> Result<()> {
        for chosen in self.selected {
            for sequence in &chosen.database.sequences {
                let failed = |error| {
                    Error::from_database(format!("create sequence {}", sequence.name), error)
                };
                control
                    .execute(format!("USE {}", quote_name(&chosen.target)))
                    .map_err(failed)?;
                match control.execute(sequence.sql.as_bytes()) {
                    Ok(_) => {}
                    Err(error) if error.code() == Some(1050) => {}
                    Err(error) => return Err(failed(error)),
                }
                let set = reprise_mysql::load_statements::set_sequence_statement(
                    &chosen.target,
                    sequence,
                );
                control.execute(set).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn compare_tables(&self, control: &mut Session, fillings: &[TableLoad]) -> Result<Vec<String>> {
        crate::mysql::load::verify::compare_tables(
            control,
            &self.options.address,
            fillings,
            self.options.verify,
            self.options.connections,
            self.progress,
        )
    }
}
