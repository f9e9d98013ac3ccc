//! What all applier sessions have in common.

use std::collections::HashMap;
use std::sync::Arc;

use reprise_mysql::log::LogTime;
use reprise_mysql::{Address, DatabaseError, Flavour, Session, TextRow};
use reprise_repository::Progress;

use crate::error::{Error, Result};
use crate::mysql::replay::options::{ReplayMode, ReplayOptions};

/// The part of a packet that is not for rows, in bytes.
const PACKET_OVERHEAD: usize = 16 << 10;

/// Rows are sent to the server in parts of this size, in bytes, if it takes such.
const ROW_PART_BYTES: usize = 6 << 20;

/// What all sessions have in common.
#[derive(Debug)]
pub(crate) struct ApplierConfig {
    pub(crate) address: Address,
    pub(crate) progress: Arc<Progress>,
    pub(crate) flavour: Flavour,
    pub(crate) accounts_until: LogTime,
    pub(crate) accounts: Vec<String>,
    pub(crate) skip_account_changes: bool,
    pub(crate) mode: ReplayMode,
    pub(crate) write_binlog: bool,
    /// Character set and name of each collation.
    pub(crate) collations: HashMap<u32, (String, String)>,
    /// The settings that a session has to begin with and that not every account may set.
    pub(crate) initial_settings: Vec<(&'static str, String)>,
    /// The largest event that the server accepts.
    pub(crate) event_bytes_max: usize,
}

impl ApplierConfig {
    /// Queries the server's properties.
    pub(crate) fn query_server(replay: &ReplayOptions<'_>) -> Result<Self> {
        let failed = |error| Error::from_database(format!("connect to {}", replay.address), error);
        let mut session = Session::open(replay.address, replay.progress).map_err(failed)?;
        let version = session
            .query_row("SELECT VERSION()")
            .map_err(failed)?
            .string(0);
        let flavour = Flavour::from_version(&version);
        let packet: usize = session
            .query_row("SELECT @@session.max_allowed_packet")
            .map_err(failed)?
            .number(0)
            .unwrap_or(1 << 20);
        let mut initial = Vec::new();
        for name in [
            "default_table_encryption",
            "explicit_defaults_for_timestamp",
        ] {
            if let Ok(row) = session.query_row(format!("SELECT @@session.{name}")) {
                initial.push((name, row.string(0)));
            }
        }
        let collations = load_collations(&mut session, flavour).map_err(failed)?;
        Ok(Self {
            address: replay.address.clone(),
            progress: Arc::clone(replay.progress),
            flavour,
            accounts_until: replay.accounts_until,
            accounts: replay.accounts.to_vec(),
            skip_account_changes: replay.skip_account_changes,
            mode: replay.mode,
            write_binlog: replay.write_binlog,
            collations,
            initial_settings: initial,
            event_bytes_max: packet.saturating_sub(PACKET_OVERHEAD) / 4 * 3,
        })
    }

    /// The maximum size of a part of rows.
    pub(crate) fn row_part_bytes(&self) -> usize {
        ROW_PART_BYTES.min(self.event_bytes_max)
    }

    /// Whether transactions keep their GTIDs.
    pub(crate) fn keeps_gtids(&self) -> bool {
        self.mode == ReplayMode::KeepGtids
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

fn load_collations(
    session: &mut Session,
    flavour: Flavour,
) -> Result<HashMap<u32, (String, String)>, DatabaseError> {
    let newer = "SELECT id, character_set_name, full_collation_name FROM information_schema.collation_character_set_applicability";
    let older = "SELECT id, character_set_name, collation_name FROM information_schema.collations";
    let mut rows = Vec::new();
    if flavour == Flavour::Mariadb {
        rows = match session.query_rows(newer) {
            Err(DatabaseError::Server { .. }) => Vec::new(),
            rows => rows?,
        };
    }
    if rows.is_empty() {
        rows = session.query_rows(older)?;
    }
    let named = |row: &TextRow| Some((row.number(0)?, (row.string(1), row.string(2))));
    Ok(rows.iter().filter_map(named).collect())
}
