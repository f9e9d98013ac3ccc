//! The tables of the ledger, by version. A migration that was released is never changed.

use rusqlite::{Connection, TransactionBehavior};

/// Each step from one version to the next. Times are milliseconds since 1970-01-01 00:00 UTC.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE jobs (
        job TEXT PRIMARY KEY,
        timing TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- What was decided of a slot; of several in a row that no run is made for, under the last one.
    CREATE TABLE slots (
        job TEXT NOT NULL,
        slot TEXT NOT NULL,
        due INTEGER NOT NULL,
        first_slot TEXT NOT NULL,
        slot_count INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        decided INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        owner TEXT NOT NULL,
        lease_until INTEGER NOT NULL,
        not_before INTEGER NOT NULL,
        PRIMARY KEY (job, slot)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX slots_by_due ON slots (job, due);
    CREATE INDEX active_slots ON slots (job, due) WHERE state IN ('running', 'waiting');
    CREATE INDEX slots_by_decision ON slots (decided);
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        job TEXT NOT NULL,
        slot TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        error TEXT NOT NULL,
        hint TEXT NOT NULL,
        started INTEGER NOT NULL,
        ended INTEGER,
        late INTEGER NOT NULL,
        host TEXT NOT NULL,
        program TEXT NOT NULL,
        zone_data TEXT NOT NULL,
        policy_version TEXT NOT NULL,
        UNIQUE (job, slot, attempt)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX runs_by_time ON runs (started);
    CREATE TABLE steps (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        outcome TEXT NOT NULL,
        facts TEXT NOT NULL,
        error TEXT NOT NULL,
        hint TEXT NOT NULL,
        PRIMARY KEY (run, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE pauses (
        source TEXT PRIMARY KEY,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        reason TEXT NOT NULL,
        user TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
"];

/// The version that this program writes.
pub(super) fn newest_version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Brings the tables to the newest version. The version that was found; it is left alone if it is newer.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<u32> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let missing = MIGRATIONS.get(found as usize..).unwrap_or_default();
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    if !missing.is_empty() {
        transaction.pragma_update(None, "user_version", newest_version())?;
    }
    transaction.commit()?;
    Ok(found)
}
