//! A restore of a snapshot: databases, accounts, tables, rows and keys, stored objects, and the comparison.

use std::sync::Arc;

use reprise_mysql::sql::quote_name;
use reprise_mysql::{Manifest, MysqlAccount, Session};
use reprise_repository::{Outcome, Progress, RawText, Warning};

use crate::error::{Error, Result};
use crate::mysql::load::objects::ObjectCreator;
use crate::mysql::load::opened_snapshot::OpenedMysqlSnapshot;
use crate::mysql::load::preflight::{self, TargetServer};
use crate::mysql::load::rows::{self, DumpFileReader, TableLoad};
use crate::mysql::load::selection::SelectedDatabase;
use crate::mysql::load::target_session::connect_to_target;
use crate::mysql::load::{ddl, verify};
use crate::mysql::options::{AccountSelection, MysqlRestoreOptions, VerifyLevel};
use crate::mysql::report::MysqlRestoreReport;
use crate::mysql::restore_state::RestoreState;

/// A restore in progress.
pub(crate) struct MysqlRestoreRun<'a> {
    pub(crate) options: &'a MysqlRestoreOptions,
    pub(crate) opened: &'a OpenedMysqlSnapshot,
    pub(crate) selected: &'a [SelectedDatabase],
    pub(crate) accounts: &'a [MysqlAccount],
    pub(crate) progress: &'a Arc<Progress>,
}

/// The accounts to create. Another flavour would not understand them.
pub(crate) fn accounts_to_create<'a>(
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

impl MysqlRestoreRun<'_> {
    /// Restores the snapshot, and compares the server with it.
    pub(crate) fn restore_snapshot(
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

    pub(crate) fn table_loads(&self) -> Result<Vec<TableLoad>> {
        let mut fillings = Vec::new();
        for chosen in self.selected {
            for table in &chosen.database.tables {
                let parsed = ddl::parse_create_table(table.sql.as_bytes()).map_err(|reason| {
                    reprise_repository::Error::Damaged {
                        object: format!(
                            "the definition of {}.{}",
                            chosen.database.name, table.name
                        ),
                        reason,
                    }
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

    pub(crate) fn compare_tables(
        &self,
        control: &mut Session,
        fillings: &[TableLoad],
    ) -> Result<Vec<String>> {
        verify::compare_tables(
            control,
            &self.options.address,
            fillings,
            self.options.verify,
            self.options.connections,
            self.progress,
        )
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
        rows::create_tables(control, fillings, done)?;
        let mut sessions = (0..self.options.connections.max(1))
            .map(|_| connect_to_target(self.options, self.progress))
            .collect::<Result<Vec<_>>>()?;
        let content = DumpFileReader {
            reader: &self.opened.reader,
            chunks: self.opened.chunks.clone(),
        };
        rows::load_rows_and_keys(&mut sessions, fillings, &content, done, self.progress)?;
        rows::add_foreign_keys(control, fillings, done)
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
                .execute(preflight::create_database_statement(chosen))
                .map_err(|error| {
                    Error::from_database(
                        format!("create database {}", quote_name(&chosen.target)),
                        error,
                    )
                })?;
        }
        Ok(())
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
            let found = verify::count_objects(control, &chosen.target)?;
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
}

pub(crate) fn warning_without_path(message: String) -> Warning {
    Warning {
        path: RawText::default(),
        message,
    }
}
