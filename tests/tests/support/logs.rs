//! Binary logs of servers, and replaying them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use chrono::DateTime;
use reprise_mysql::Address;
use reprise_mysql::binlog::{Event, EventReader, Gtid, GtidSet, MAGIC};
use reprise_mysql::log::LogTime;
use reprise_repository::{
    AddedData, EntryCounts, Outcome, Progress, Snapshot, SnapshotRoot, SourceKind, StreamRecord,
};
use reprise_restore::Error;
use reprise_restore::mysql::RecoveryTarget;
use reprise_restore::mysql::replay::{
    ExecutedSet, ReplayMode, ReplayOptions, ReplayReport, replay_log,
};
use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::json;

/// A server whose log can be read.
pub(crate) trait BinlogFiles: Database {
    fn file(&self, name: &str) -> Vec<u8>;

    /// All files of its log.
    fn files(&self) -> Vec<Vec<u8>> {
        self.execute("FLUSH BINARY LOGS;");
        let names = self.query("SHOW BINARY LOGS;");
        let names = names.iter().map(|row| row[0].clone().unwrap());
        names.map(|name| self.file(&name)).collect()
    }
}

impl BinlogFiles for Mysql {
    fn file(&self, name: &str) -> Vec<u8> {
        let path = format!("/var/lib/mysql/{name}");
        let mut cat = Command::new("docker");
        let output = cat.args(["exec", self.container(), "cat", &path]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{cat:?}");
        output.stdout
    }
}

impl BinlogFiles for Mariadb {
    fn file(&self, name: &str) -> Vec<u8> {
        let directory = self.value("SELECT @@datadir;");
        std::fs::read(format!("{directory}/{name}")).unwrap()
    }
}

pub(crate) type EventStream<'a> = dyn Iterator<Item = Result<Event, Error>> + 'a;

/// The events of files, one after the other.
pub(crate) fn events(files: &[Vec<u8>]) -> Box<EventStream<'_>> {
    Box::new(files.iter().flat_map(|file| {
        let events = file.strip_prefix(&MAGIC).unwrap();
        let mut events = EventReader::new(events, false);
        std::iter::from_fn(move || events.next_event().unwrap().map(Ok))
    }))
}

/// How to replay.
#[derive(Debug, Clone)]
pub(crate) struct ReplaySettings {
    pub(crate) mode: ReplayMode,
    pub(crate) after: ExecutedSet,
    pub(crate) target: RecoveryTarget,
    pub(crate) skip: Vec<Gtid>,
    pub(crate) connections: usize,
    pub(crate) progress: Arc<Progress>,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            mode: ReplayMode::Merged,
            after: ExecutedSet::Unnumbered,
            target: RecoveryTarget::Latest,
            skip: Vec::new(),
            connections: 4,
            progress: Arc::default(),
        }
    }
}

impl ReplaySettings {
    pub(crate) fn until(target: RecoveryTarget) -> Self {
        Self {
            target,
            ..Self::default()
        }
    }

    /// Replays events into a server.
    pub(crate) fn run(
        &self,
        target: &impl Database,
        events: &mut EventStream<'_>,
    ) -> Result<ReplayReport, Error> {
        let address = Address::parse(&target.root_url()).unwrap();
        replay_log(
            events,
            &ReplayOptions {
                address: &address,
                fingerprint: "test",
                mode: self.mode,
                executed: self.after.clone(),
                reapply: &[],
                accounts_until: LogTime::default(),
                accounts: &[],
                skip_account_changes: false,
                target: &self.target,
                skip: &self.skip,
                connections: self.connections,
                write_binlog: false,
                progress: &self.progress,
            },
        )
    }
}

/// A snapshot that has exactly these transactions, as a recovery target.
pub(crate) fn snapshot_with(transactions: &GtidSet) -> RecoveryTarget {
    let time = DateTime::UNIX_EPOCH;
    let root = SnapshotRoot {
        source: "test".to_owned(),
        kind: SourceKind::Mysql,
        host: "test".to_owned(),
        data_time: time,
        started: time,
        finished: time,
        outcome: Outcome::Ok,
        warnings: 0,
        counts: EntryCounts::default(),
        added: AddedData::default(),
        parent: None,
        tags: BTreeMap::new(),
        program: "test".to_owned(),
        slot: None,
        facts: BTreeMap::from([("gtid".to_owned(), json!(transactions.to_string()))]),
        entries: StreamRecord::default(),
        references: StreamRecord::default(),
        details: StreamRecord::default(),
    };
    let number = "00".repeat(32);
    RecoveryTarget::Snapshot(Box::new(Snapshot {
        id: number.parse().unwrap(),
        signer: number.parse().unwrap(),
        root,
        received: None,
        forgotten: false,
    }))
}

/// An error with its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        text += &format!(": {inner}");
        cause = inner;
    }
    text
}
