//! Where the stream of a server's log begins, and whether that is where the archive ends.

use reprise_mysql::Flavour;
use reprise_mysql::binlog::file_number;
use reprise_mysql::log::{
    BinlogPosition, ExecutedSet, LogGap, LogTime, SegmentFacts, first_needed_position,
};
use reprise_repository::Snapshot;
use serde_json::Value;

use super::source_server::SourceServer;

/// The end of an archive.
#[derive(Debug, Clone)]
pub(super) struct ArchiveEnd {
    pub(super) position: BinlogPosition,
    pub(super) chain: u64,
    history_since: Option<LogTime>,
    uuid: Option<String>,
    server_id: u32,
    file_created: Option<u32>,
    /// When it was written, by the server's clock.
    written_at: Option<LogTime>,
    /// The time of the last commit, if known.
    last_commit_time: Option<LogTime>,
}

impl ArchiveEnd {
    /// After a segment. `clock`: the time of the last commit before it.
    pub(super) fn after_segment(facts: SegmentFacts, clock: Option<LogTime>) -> Self {
        Self {
            last_commit_time: match facts.gap {
                Some(_) => None,
                None => facts.last.map(|last| last.committed).or(clock),
            },
            position: facts.to,
            chain: facts.chain,
            history_since: facts.since,
            uuid: facts.server_uuid,
            server_id: facts.server_id,
            file_created: facts.file_begun,
            written_at: facts.at,
        }
    }

    /// The time of the last commit, if known.
    pub(super) fn last_commit_time(&self) -> Option<LogTime> {
        self.last_commit_time
    }
}

/// Creation times of files of a server's log, in seconds since 1970; `None`: no file of that name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FileCreationTimes {
    /// The oldest file.
    pub(super) oldest: Option<u32>,
    /// The file with the same name as the one of a position.
    pub(super) named: Option<u32>,
}

/// Where a stream begins.
#[derive(Debug, Clone)]
pub(super) struct LogStreamStart {
    pub(super) position: BinlogPosition,
    /// Why that is not where the archive ends.
    pub(super) gap: Option<LogGap>,
    /// Since when this history applies.
    pub(super) history_since: Option<LogTime>,
    /// The time of the last commit before it, if known.
    pub(super) last_commit_time: Option<LogTime>,
    /// A problem with it, besides the gap.
    pub(super) alarm: Option<String>,
}

/// Why a log cannot be continued.
#[derive(Debug)]
struct LogDiscontinuity {
    reason: String,
    /// The server's history differs from the archived one.
    is_diverged: bool,
}

impl LogDiscontinuity {
    fn missing_part(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_diverged: false,
        }
    }

    fn diverged(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_diverged: true,
        }
    }
}

impl SourceServer {
    /// Why a log read up to a position is not the server's current log; `None`: it is, or that is unknown.
    pub(super) fn find_divergence(&self, place: &BinlogPosition) -> Option<String> {
        let same = self.flavour == Flavour::Mysql;
        let missing = self.find_discontinuity(place, self.uuid.as_deref(), same);
        missing.map(|missing| missing.reason)
    }

    /// Why the log cannot be continued from a position; `None`: it can. `same`: the position is in this server's files.
    fn find_discontinuity(
        &self,
        place: &BinlogPosition,
        uuid: Option<&str>,
        same: bool,
    ) -> Option<LogDiscontinuity> {
        if same && let Some(reason) = self.find_reset(place) {
            return Some(LogDiscontinuity::diverged(reason));
        }
        match (
            self.purged.is_within(&place.coverage),
            place.coverage.is_within(&self.executed),
        ) {
            (Some(true), Some(true)) => None,
            (_, Some(false)) => Some(LogDiscontinuity::diverged(format!(
                "the server does not have all archived transactions: it was reset, restored from an older copy, or is a different server; it has {}",
                self.executed
            ))),
            (Some(false), _) => Some(LogDiscontinuity::missing_part(format!(
                "the server has purged transactions that are not archived; its binary log starts after {}",
                self.purged
            ))),
            _ if place.coverage == ExecutedSet::Unnumbered
                && self.executed == ExecutedSet::Unnumbered =>
            {
                self.find_file_discontinuity(place, uuid)
            }
            _ => Some(LogDiscontinuity::missing_part(
                "the server's GTIDs cannot be compared with the archived ones: its GTID mode was changed, or it is a different kind of server",
            )),
        }
    }

    /// The files of the same server show a reset, even when GTIDs have grown beyond the archived ones again.
    fn find_reset(&self, place: &BinlogPosition) -> Option<String> {
        let file = place.file.as_deref()?;
        let newest = self.files.last()?;
        let reset = file_number(file)? > file_number(&newest.0)?
            || self
                .files
                .iter()
                .any(|(name, size)| name == file && *size < place.position);
        reset.then(|| {
            format!(
                "the server's binary log was reset: it ends in {}, the archive ends in {file} at position {}",
                newest.0, place.position
            )
        })
    }

    /// Without GTIDs, only the files of the same server can be followed.
    fn find_file_discontinuity(
        &self,
        place: &BinlogPosition,
        uuid: Option<&str>,
    ) -> Option<LogDiscontinuity> {
        if uuid != self.uuid.as_deref() {
            return Some(LogDiscontinuity::missing_part(
                "the server is a different server, and without GTIDs its binary log cannot be connected with the archive",
            ));
        }
        let file = place.file.as_deref().unwrap_or_default();
        match self.files.iter().find(|(name, _)| name == file) {
            Some((_, size)) if *size >= place.position => None,
            Some((_, size)) => Some(LogDiscontinuity::diverged(format!(
                "{file} has only {size} bytes now: the binary log was reset"
            ))),
            None => Some(LogDiscontinuity::missing_part(format!(
                "the server has purged {file}"
            ))),
        }
    }

    /// Whether an archive ends in the log of this server. MariaDB has no identity but `server_id`; another MariaDB
    /// server knows whether it has the exact transaction after which its log is requested.
    fn is_server_of(&self, end: &ArchiveEnd) -> bool {
        match self.flavour {
            Flavour::Mysql => self.uuid == end.uuid,
            Flavour::Mariadb => self.id == end.server_id,
        }
    }

    /// Why the server's history differs from the archived one, by the creation times of its files: a reset creates all
    /// of them again.
    fn find_reset_by_file_times(
        &self,
        end: &ArchiveEnd,
        begun: FileCreationTimes,
    ) -> Option<LogDiscontinuity> {
        if !self.is_server_of(end) {
            return None;
        }
        let reset = match (begun.named, end.file_created) {
            (Some(begun), Some(known)) => begun != known,
            // A server that has purged the file and everything else continues exactly here.
            _ => {
                let younger = begun.oldest.zip(end.written_at);
                let younger = younger.is_some_and(|(oldest, at)| is_created_after(oldest, at));
                younger && end.position.coverage != self.purged
            }
        };
        reset.then(|| {
            LogDiscontinuity::diverged(
                "the server's binary log was reset: its files were created again",
            )
        })
    }

    /// Where to begin, given the end of the archive and the creation times of files. `refused`: the server's error when
    /// it was asked to continue there.
    pub(super) fn stream_start_after(
        &self,
        end: &ArchiveEnd,
        begun: FileCreationTimes,
        refused: Option<String>,
    ) -> LogStreamStart {
        let same = self.flavour == Flavour::Mysql && self.is_server_of(end);
        let missing = refused
            .map(LogDiscontinuity::diverged)
            .or_else(|| self.find_discontinuity(&end.position, end.uuid.as_deref(), same))
            .or_else(|| self.find_reset_by_file_times(end, begun));
        let Some(missing) = missing else {
            return LogStreamStart {
                position: end.position.clone(),
                gap: None,
                history_since: end.history_since,
                last_commit_time: end.last_commit_time,
                alarm: None,
            };
        };
        let gap = LogGap {
            reason: missing.reason,
            after: end.position.clone(),
        };
        LogStreamStart {
            position: self.oldest_position(),
            gap: Some(gap),
            history_since: match missing.is_diverged {
                true => Some(LogTime::from(self.time)),
                false => end.history_since,
            },
            last_commit_time: None,
            alarm: None,
        }
    }

    /// Where to begin an archive: at the newest snapshot, if the log still reaches it, or now.
    /// `refused`: the server's error when it was asked to begin at the snapshot.
    pub(super) fn first_stream_start(
        &self,
        snapshot: Option<&Snapshot>,
        begun: FileCreationTimes,
        refused: Option<String>,
    ) -> LogStreamStart {
        let now = |since, alarm| LogStreamStart {
            position: self.newest_position(),
            gap: None,
            history_since: since,
            last_commit_time: None,
            alarm,
        };
        let Some(snapshot) = snapshot else {
            return now(None, None);
        };
        let Some(place) = first_needed_position(snapshot) else {
            return now(
                None,
                Some(describe_late_start(
                    snapshot,
                    "its exact binary log position is unknown",
                )),
            );
        };
        let uuid = snapshot.root.facts.get("server_uuid");
        let uuid = uuid.and_then(Value::as_str);
        let same = uuid.is_some() && uuid == self.uuid.as_deref();
        let missing = refused.map(LogDiscontinuity::diverged);
        let missing = missing.or_else(|| self.find_discontinuity(&place, uuid, same));
        if let Some(missing) = missing {
            let since = missing.is_diverged.then(|| LogTime::from(self.time));
            return now(since, Some(describe_late_start(snapshot, &missing.reason)));
        }
        let time = LogTime::from(snapshot.source_time());
        let younger = |begun: Option<u32>| begun.is_some_and(|begun| is_created_after(begun, time));
        let reset = match &place.coverage {
            ExecutedSet::Unnumbered => younger(begun.named),
            // With another MySQL server, GTIDs contain their source.
            ExecutedSet::Mysql(_) if !same => false,
            coverage => younger(begun.oldest) && *coverage != self.purged,
        };
        if reset {
            let reason = "all binary log files of the server were created after it: the binary log was reset";
            return now(
                Some(LogTime::from(self.time)),
                Some(describe_late_start(snapshot, reason)),
            );
        }
        LogStreamStart {
            position: place,
            ..now(None, None)
        }
    }
}

/// The text when an archive does not begin at the newest snapshot.
fn describe_late_start(snapshot: &Snapshot, reason: &str) -> String {
    format!(
        "the log archive cannot continue from snapshot {}: {reason}. The archive starts now, and no point in time before the next snapshot can be restored: take a snapshot now",
        snapshot.id.short()
    )
}

/// Whether a file was created after a time.
fn is_created_after(begun: u32, time: LogTime) -> bool {
    LogTime::from_seconds(begun) > time
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use reprise_repository::ObjectId;
    use serde_json::json;

    use super::super::source_server::tests::test_server;
    use super::*;

    fn set(last: u64) -> ExecutedSet {
        let text = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{last}");
        ExecutedSet::Mysql(text.parse().unwrap())
    }

    /// An archive of a hundred transactions that ended at second 1000, in a file that was created at second 500.
    fn end() -> ArchiveEnd {
        ArchiveEnd {
            position: BinlogPosition {
                coverage: set(100),
                file: Some("binlog.000010".to_owned()),
                position: 1500,
            },
            chain: 1,
            history_since: None,
            uuid: None,
            server_id: 1,
            file_created: Some(500),
            written_at: Some(LogTime::from_seconds(1000)),
            last_commit_time: None,
        }
    }

    /// Where it continues at a server of two hundred transactions.
    fn beginning(floor: ExecutedSet, oldest: u32, named: Option<u32>) -> LogStreamStart {
        let time = DateTime::from_timestamp(5000, 0).unwrap();
        let mut server = test_server(set(200), time);
        server.purged = floor;
        let begun = FileCreationTimes {
            oldest: Some(oldest),
            named,
        };
        server.stream_start_after(&end(), begun, None)
    }

    #[test]
    fn a_log_goes_on_where_a_file_is_older_than_the_end_of_the_archive() {
        assert!(beginning(set(10), 100, Some(500)).gap.is_none());
        // The file in which the archive ends, though the clock was set back since.
        assert!(beginning(set(10), 2000, Some(500)).gap.is_none());
        // A server that has purged exactly what is archived.
        assert!(beginning(set(100), 2000, None).gap.is_none());
    }

    #[test]
    fn a_log_that_was_begun_anew_is_another_history_whatever_its_numbers() {
        for named in [Some(2000), None] {
            let beginning = beginning(set(10), 2000, named);
            assert!(beginning.gap.is_some());
            assert_eq!(beginning.history_since, Some(LogTime::from_seconds(5000)));
        }
    }

    #[test]
    fn a_file_of_the_same_name_that_was_begun_at_another_time_is_another_history() {
        // Created before the segment was finished that was being filled at that time.
        assert!(beginning(set(10), 999, Some(999)).gap.is_some());
    }

    #[test]
    fn behind_a_purge_the_history_is_the_same() {
        let beginning = beginning(set(150), 2000, None);
        assert!(beginning.gap.unwrap().reason.contains("purged"));
        assert_eq!(beginning.history_since, None);
    }

    /// A snapshot of a hundred transactions that claims to be of one second, and was received at another one.
    fn snapshot(claimed: i64, received: i64) -> Snapshot {
        let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let stream = json!({"chunks": [], "bytes": 0});
        let nothing = json!({"entries": 0, "files": 0, "directories": 0, "symlinks": 0, "hardlinks": 0, "specials": 0, "bytes": 0, "chunks": 0});
        let root = json!({
            "source": "db", "kind": "mysql", "host": "h", "outcome": "ok", "warnings": 0,
            "data_time": time(claimed), "started": time(claimed), "finished": time(claimed),
            "counts": nothing, "added": {"chunks": 0, "plain_bytes": 0, "stored_bytes": 0},
            "parent": null, "tags": {}, "program": "a test",
            "facts": {
                "flavour": "mysql",
                "gtid": set(100).to_string(),
                "server_uuid": "3e11fa47-71ca-11e1-9e33-c80aa9429562",
            },
            "entries": stream, "references": stream, "details": stream,
        });
        Snapshot {
            id: ObjectId::from_content(b"a snapshot"),
            signer: "00".repeat(32).parse().unwrap(),
            root: serde_json::from_value(root).unwrap(),
            received: Some(time(received)),
            forgotten: false,
        }
    }

    #[test]
    fn an_archive_begins_at_a_snapshot_only_if_the_log_is_older_whatever_the_snapshot_claims() {
        let begins_at = |snapshot: &Snapshot, oldest| {
            let mut server = test_server(set(200), DateTime::from_timestamp(5000, 0).unwrap());
            server.purged = set(10);
            server.uuid = Some("3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned());
            let begun = FileCreationTimes {
                oldest: Some(oldest),
                named: None,
            };
            server.first_stream_start(Some(snapshot), begun, None)
        };
        let begins = begins_at(&snapshot(3000, 3010), 100);
        assert_eq!((begins.position.coverage, begins.alarm), (set(100), None));
        // All files were created after it: the log was reset, and counts from the beginning again.
        let years_ahead = 4_000_000_000;
        for claimed in [3000, years_ahead] {
            let begins = begins_at(&snapshot(claimed, 3010), 4000);
            assert!(begins.alarm.unwrap().contains("was reset"), "{claimed}");
        }
        // A storage whose clock is some minutes behind proves nothing.
        assert_eq!(begins_at(&snapshot(3000, 2700), 2900).alarm, None);
    }
}
