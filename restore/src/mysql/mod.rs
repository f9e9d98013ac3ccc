//! Bringing a MySQL or MariaDB server back: rows first, then keys, then everything that acts by itself, then
//! the comparison with what the snapshot says.
//!
//! ```text
//! preflight ─► databases, accounts ─► tables ─► rows and keys (several connections) ─► foreign keys ─►
//! routines, views, triggers ─► comparison ─► grants, views that need them, events
//! ```

pub(crate) mod ddl;
pub(crate) mod definer;
mod forward;
mod load;
pub mod moments;
mod objects;
mod options;
mod preflight;
mod progress;
mod renaming;
pub mod replay;
pub(crate) mod scratch;
mod selection;
mod settings;
mod verify;
mod xa;

use std::collections::BTreeMap;
use std::sync::Arc;

use reprise_repository::{
    ChunkId, ContentReader, Outcome, Progress, RawText, Repository, Snapshot, SourceKind, Warning,
};
use reprise_snapshotters::mysql::script::LOADING;
use reprise_snapshotters::mysql::sql::quoted;
use reprise_snapshotters::mysql::{Account, MANIFEST, Manifest, Session, set_if_known};

use sha2::Digest as _;

use crate::error::{Error, Result};
use forward::Forward;
use load::{Content, Filling};
use moments::{Archive, Moment};
use objects::Maker;
use preflight::Target;
use progress::Done;
use selection::Selected;
use settings::Settings;

pub use forward::{ForwardPlan, ForwardReport, Named, PointInTime};
pub use options::{MysqlPlan, MysqlReport, MysqlRestore, PlannedTable, Users, VerifyLevel};

/// What loading needs where the server knows it and lets this account set it.
const IF_KNOWN: [&str; 12] = [
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
    // Whoever holds a table for longer than these seconds is named instead of waited for.
    "SET SESSION lock_wait_timeout = 30",
];

/// A snapshot of a server, opened for a restore.
struct Opened {
    manifest: Manifest,
    chunks: BTreeMap<String, Vec<ChunkId>>,
    reader: ContentReader,
}

/// Says what a restore would do, without doing it.
///
/// # Errors
/// As for [`restore`], except that what will not fit is in the plan.
pub fn plan(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestore,
    progress: &Arc<Progress>,
) -> Result<MysqlPlan> {
    plan_with(repository, snapshot, options, None, progress)
}

/// Says what a restore to a moment would do.
///
/// # Errors
/// As for [`plan_restore`], and when there is no way to the moment.
pub fn plan_moment(
    repository: &Repository,
    archive: &Archive,
    wanted: &PointInTime,
    options: &MysqlRestore,
    progress: &Arc<Progress>,
) -> Result<(Snapshot, MysqlPlan)> {
    let way = archive.way(repository, &wanted.moment)?;
    let forward = Forward::new(repository, &way, wanted)?;
    let plan = plan_with(repository, way.snapshot, options, Some(&forward), progress)?;
    Ok((way.snapshot.clone(), plan))
}

fn plan_with(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestore,
    forward: Option<&Forward<'_>>,
    progress: &Arc<Progress>,
) -> Result<MysqlPlan> {
    let opened = open(repository, snapshot)?;
    let selected = selection::select(&opened.manifest, options, &snapshot.id.short())?;
    let mut control = connect(options, progress)?;
    let target = preflight::look(&mut control, &opened.manifest, &selected, options)?;
    let accounts = accounts(&opened.manifest, &selected, options, &target).len();
    let mut plan = target.plan(&selected, accounts, options);
    plan.forward = forward.map(Forward::plan);
    Ok(plan)
}

/// Brings a snapshot of a server back, and compares it with what the snapshot says.
///
/// # Errors
/// When the target is refused or will not fit, the snapshot cannot be read, or the server fails. What was
/// loaded until then is kept for `resume`.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestore,
    announce: &mut dyn FnMut(&MysqlPlan),
    progress: &Arc<Progress>,
) -> Result<MysqlReport> {
    restore_with(repository, snapshot, options, None, announce, progress)
}

/// Brings a server back as it was at a moment: the snapshot before it, and the log that leads there. Returns the
/// snapshot too.
///
/// # Errors
/// As for [`restore`], and when there is no way to the moment or the log cannot be replayed.
pub fn restore_moment(
    repository: &Repository,
    archive: &Archive,
    wanted: &PointInTime,
    options: &MysqlRestore,
    announce: &mut dyn FnMut(&Snapshot, &MysqlPlan),
    progress: &Arc<Progress>,
) -> Result<(Snapshot, MysqlReport)> {
    let way = archive.way(repository, &wanted.moment)?;
    let forward = Forward::new(repository, &way, wanted)?;
    let mut announce = |plan: &MysqlPlan| announce(way.snapshot, plan);
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
    options: &MysqlRestore,
    forward: Option<&Forward<'_>>,
    announce: &mut dyn FnMut(&MysqlPlan),
    progress: &Arc<Progress>,
) -> Result<MysqlReport> {
    let opened = open(repository, snapshot)?;
    let selected = selection::select(&opened.manifest, options, &snapshot.id.short())?;
    let mut control = connect(options, progress)?;
    let mut name = run_name(snapshot, &selected);
    if let Some(forward) = forward {
        name.push_str(&format!(" to {}", forward.name()));
    }
    if !options.overwrite {
        progress::check(&mut control, &name, options.resume)?;
    }
    let target = preflight::look(&mut control, &opened.manifest, &selected, options)?;
    let accounts = accounts(&opened.manifest, &selected, options, &target);
    let mut plan = target.plan(&selected, accounts.len(), options);
    plan.forward = forward.map(Forward::plan);
    announce(&plan);
    if !plan.problems.is_empty() {
        return Err(Error::WillNotFit {
            target: plan.target,
            problems: plan.problems,
        });
    }
    let run = Run {
        options,
        opened: &opened,
        selected: &selected,
        accounts,
        progress,
    };
    progress::take(&mut control)?;
    if options.overwrite {
        progress::forget(&mut control)
            .map_err(|e| Error::database("delete the state of the interrupted restore", e))?;
    }
    make_room(&mut control, &target)?;
    let done = progress::begin(&mut control, &name, options.resume)?;
    let mut settings = Settings::left_by(&done);
    let changed = settings.change(&mut control, &target, options, forward.is_some());
    let result = changed.and_then(|()| run.all(&mut control, &done, forward, &mut settings));
    let back = settings.restore(options);
    let mut report = result.map_err(Error::unfinished)?;
    back.map_err(Error::unfinished)?;
    progress::forget(&mut control)
        .map_err(|e| Error::database("delete the state of the finished restore", e))?;
    report.warnings.splice(
        0..0,
        target.warnings.iter().map(|text| warning(text.clone())),
    );
    report.outcome = if report.warnings.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Degraded
    };
    Ok(report)
}

/// Drops what is in the way. There is no record before all of it is gone: what goes on later finds only its own.
fn make_room(control: &mut Session, target: &Target) -> Result<()> {
    for statement in &target.drops {
        control
            .execute(statement)
            .map_err(|error| Error::database(format!("run {statement}"), error))?;
    }
    Ok(())
}

fn warning(message: String) -> Warning {
    Warning {
        path: RawText::default(),
        message,
    }
}

/// Reads the manifest, and where the files' chunks are.
fn open(repository: &Repository, snapshot: &Snapshot) -> Result<Opened> {
    if snapshot.root.kind != SourceKind::Mysql {
        return Err(Error::NotAServer {
            snapshot: snapshot.id.short(),
            kind: snapshot.root.kind.to_string(),
        });
    }
    let reader = repository.content_reader()?;
    let mut chunks = BTreeMap::new();
    let mut entries = reader.snapshot(snapshot).entries();
    while let Some((entry, ids)) = entries.next_entry()? {
        chunks.insert(entry.path.display(), ids);
    }
    drop(entries);
    let ids = chunks.remove(MANIFEST).unwrap_or_default();
    let mut json = Vec::new();
    let mut content = reader.content(ids, MANIFEST.to_owned());
    while let Some(chunk) = content.next_chunk()? {
        json.extend_from_slice(&chunk);
    }
    drop(content);
    let manifest = Manifest::parse(&json).map_err(|reason| reprise_repository::Error::Damaged {
        object: format!("{MANIFEST} of snapshot {}", snapshot.id.short()),
        reason,
    })?;
    Ok(Opened {
        manifest,
        chunks,
        reader,
    })
}

/// The accounts to make. Another flavour would not understand them.
fn accounts<'a>(
    manifest: &'a Manifest,
    selected: &[Selected],
    options: &MysqlRestore,
    target: &Target,
) -> &'a [Account] {
    let everything =
        options.databases.is_empty() && options.tables.is_empty() && !selected.is_empty();
    let wanted = options.users.unwrap_or(if everything {
        Users::Missing
    } else {
        Users::None
    });
    match (&manifest.accounts, wanted) {
        (Some(accounts), Users::Missing) if target.is(manifest.server.flavour) => accounts,
        _ => &[],
    }
}

fn connect(options: &MysqlRestore, progress: &Arc<Progress>) -> Result<Session> {
    let open = || {
        let mut session = Session::open(&options.address, progress)?;
        for statement in LOADING {
            session.execute(statement)?;
        }
        for statement in IF_KNOWN {
            set_if_known(&mut session, statement)?;
        }
        // Where there is no binary log, nothing needs to be kept out of it.
        if !options.write_binlog {
            set_if_known(&mut session, "SET SESSION sql_log_bin = 0")?;
        }
        Ok(session)
    };
    open().map_err(|error| Error::database(format!("connect to {}", options.address), error))
}

/// What tells this restore from another: the snapshot, and what of it goes where.
fn run_name(snapshot: &Snapshot, selected: &[Selected]) -> String {
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

struct Run<'a> {
    options: &'a MysqlRestore,
    opened: &'a Opened,
    selected: &'a [Selected],
    accounts: &'a [Account],
    progress: &'a Arc<Progress>,
}

impl Run<'_> {
    /// The snapshot, and the log after it, if that is wanted.
    fn all(
        &self,
        control: &mut Session,
        done: &Done,
        forward: Option<&Forward<'_>>,
        settings: &mut Settings,
    ) -> Result<MysqlReport> {
        let Some(forward) = forward else {
            return self.perform(control, done);
        };
        let mut report = match Forward::has_snapshot(done) {
            true => self.restored_before()?,
            false => self.perform(control, done)?,
        };
        if !report.differences.is_empty() {
            return Ok(report);
        }
        Forward::note_snapshot(control)?;
        if forward.wanted.keep_numbers {
            settings.flush_lazily(control, done, self.selected)?;
        }
        let accounts: Vec<String> = self
            .opened
            .manifest
            .accounts
            .iter()
            .flatten()
            .map(|account| account.user.clone())
            .collect();
        let replayed = forward.run(control, self.options, done, &accounts, self.progress)?;
        let (mut told, warnings) = forward.report(&replayed);
        report.warnings.extend(warnings);
        if let Moment::Snapshot(later) = &forward.wanted.moment
            && forward.wanted.skip.is_empty()
        {
            report.differences = self.compare_with(control, forward.repository, later)?;
            told.compared_with = Some(later.id.short());
        }
        report.forward = Some(told);
        Ok(report)
    }

    /// What an attempt that was interrupted later has done.
    fn restored_before(&self) -> Result<MysqlReport> {
        let fillings = self.fillings()?;
        Ok(MysqlReport {
            outcome: Outcome::Ok,
            tables: fillings.len(),
            rows: fillings.iter().map(|filling| filling.table.rows).sum(),
            warnings: Vec::new(),
            verified: self.options.verify,
            differences: Vec::new(),
            forward: None,
        })
    }

    /// Compares every table with what another snapshot says of it.
    fn compare_with(
        &self,
        control: &mut Session,
        repository: &Repository,
        snapshot: &Snapshot,
    ) -> Result<Vec<String>> {
        let opened = open(repository, snapshot)?;
        let selected = selection::select(&opened.manifest, self.options, &snapshot.id.short())?;
        let run = Run {
            opened: &opened,
            selected: &selected,
            accounts: &[],
            ..*self
        };
        let fillings = run.fillings()?;
        let mut differences = run.compare(control, &fillings)?;
        let whole = selected.iter().filter(|chosen| chosen.whole);
        for chosen in whole.filter(|_| self.options.verify != VerifyLevel::None) {
            differences.extend(verify::extra(control, chosen)?);
        }
        Ok(differences)
    }

    fn perform(&self, control: &mut Session, done: &Done) -> Result<MysqlReport> {
        self.databases(control)?;
        let mut warnings = Vec::new();
        // Owners must exist before what belongs to them.
        let made = self.make(control, &mut warnings, |maker| {
            maker.accounts(self.accounts, done)
        })?;
        let fillings = self.fillings()?;
        self.rows(control, &fillings, done)?;
        let waiting = self.make(control, &mut warnings, |maker| maker.code(self.selected))?;
        let mut differences = self.compare(control, &fillings)?;
        self.make(control, &mut warnings, |maker| {
            let refused = maker.grants(&made)?;
            maker.last_views(waiting)?;
            maker.last_grants(&refused)
        })?;
        if differences.is_empty() {
            self.make(control, &mut warnings, |maker| maker.events(self.selected))?;
            differences = self.compare_objects(control, &warnings)?;
            self.protect(control)?;
        } else {
            warnings.push(warning(
                "events were not created because restored rows differ from the snapshot".to_owned(),
            ));
        }
        Ok(MysqlReport {
            outcome: Outcome::Ok,
            tables: fillings.len(),
            rows: fillings.iter().map(|filling| filling.table.rows).sum(),
            warnings,
            verified: self.options.verify,
            differences,
            forward: None,
        })
    }

    /// Databases that could only be read can again only be read.
    fn protect(&self, control: &mut Session) -> Result<()> {
        let read_only = |chosen: &&Selected| chosen.whole && chosen.database.read_only();
        for chosen in self.selected.iter().filter(read_only) {
            let name = quoted(&chosen.target);
            control
                .execute(format!("ALTER DATABASE {name} READ ONLY = 1"))
                .map_err(|error| {
                    Error::database(format!("set database {name} to read-only"), error)
                })?;
        }
        Ok(())
    }

    fn make<T>(
        &self,
        control: &mut Session,
        warnings: &mut Vec<Warning>,
        work: impl FnOnce(&mut Maker<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut maker = Maker {
            session: control,
            definer: self.options.definer.as_deref(),
            warnings: Vec::new(),
        };
        let made = work(&mut maker);
        warnings.append(&mut maker.warnings);
        made
    }

    /// Whether everything with a body is there, unless something was said to be left out.
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
            let found = verify::objects(control, &chosen.target)?;
            for ((wanted, found), what) in wanted
                .iter()
                .zip(found)
                .zip(["views", "routines", "triggers", "events"])
            {
                if wanted.len() as u64 != found {
                    let name = quoted(&chosen.target);
                    differences.push(format!(
                        "database {name} has {found} {what} instead of {}",
                        wanted.len()
                    ));
                }
            }
        }
        Ok(differences)
    }

    fn databases(&self, control: &mut Session) -> Result<()> {
        for tablespace in &self.opened.manifest.tablespaces {
            let used = self.selected.iter().any(|chosen| {
                let name = format!("TABLESPACE {}", quoted(&tablespace.name));
                let tables = &chosen.database.tables;
                tables.iter().any(|table| {
                    memchr::memmem::find(table.sql.as_bytes(), name.as_bytes()).is_some()
                })
            });
            if used {
                match control.execute(tablespace.sql.as_bytes()) {
                    Ok(_) => {}
                    // It is there.
                    Err(error) if error.code() == Some(3120) => {}
                    Err(error) => {
                        return Err(Error::database(
                            format!("create tablespace {}", tablespace.name),
                            error,
                        ));
                    }
                }
            }
        }
        for chosen in self.selected {
            control
                .execute(preflight::create_database(chosen))
                .map_err(|error| {
                    Error::database(format!("create database {}", quoted(&chosen.target)), error)
                })?;
        }
        Ok(())
    }

    fn fillings(&self) -> Result<Vec<Filling>> {
        let mut fillings = Vec::new();
        for chosen in self.selected {
            for table in &chosen.database.tables {
                let parsed = ddl::parse(table.sql.as_bytes()).map_err(|reason| {
                    reprise_repository::Error::Damaged {
                        object: format!(
                            "the definition of {}.{}",
                            chosen.database.name, table.name
                        ),
                        reason,
                    }
                })?;
                fillings.push(Filling {
                    database: chosen.target.clone(),
                    definition: parsed.named(&chosen.target, &table.name),
                    table: table.clone(),
                });
            }
        }
        Ok(fillings)
    }

    fn rows(&self, control: &mut Session, fillings: &[Filling], done: &Done) -> Result<()> {
        let total = fillings
            .iter()
            .flat_map(|filling| &filling.table.pieces)
            .map(|piece| piece.bytes)
            .sum();
        Progress::add(&self.progress.bytes_total, total);
        Progress::add(&self.progress.items_total, fillings.len() as u64);
        // Defaults of tables may use sequences.
        self.sequences(control)?;
        load::create(control, fillings, done)?;
        let mut sessions = (0..self.options.connections.max(1))
            .map(|_| connect(self.options, self.progress))
            .collect::<Result<Vec<_>>>()?;
        let content = Content {
            reader: &self.opened.reader,
            chunks: self.opened.chunks.clone(),
        };
        load::fill(&mut sessions, fillings, &content, done, self.progress)?;
        load::bind(control, fillings, done)
    }

    fn sequences(&self, control: &mut Session) -> Result<()> {
        for chosen in self.selected {
            for sequence in &chosen.database.sequences {
                let failed =
                    |error| Error::database(format!("create sequence {}", sequence.name), error);
                control
                    .execute(format!("USE {}", quoted(&chosen.target)))
                    .map_err(failed)?;
                match control.execute(sequence.sql.as_bytes()) {
                    Ok(_) => {}
                    Err(error) if error.code() == Some(1050) => {}
                    Err(error) => return Err(failed(error)),
                }
                let set =
                    reprise_snapshotters::mysql::script::set_sequence(&chosen.target, sequence);
                control.execute(set).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn compare(&self, control: &mut Session, fillings: &[Filling]) -> Result<Vec<String>> {
        verify::compare(
            control,
            &self.options.address,
            fillings,
            self.options.verify,
            self.options.connections,
            self.progress,
        )
    }
}
