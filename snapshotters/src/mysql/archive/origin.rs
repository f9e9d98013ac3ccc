//! Where the stream of a server's log is to begin, and whether that is where the archive ends.

use reprise_repository::Snapshot;
use serde_json::Value;

use super::facts::{Coverage, Gap, LogPlace, PieceFacts};
use super::placed::first_place;
use super::server::Source;
use super::time::micros;
use crate::mysql::binlog::file_number;
use crate::mysql::manifest::Flavour;

/// Where an archive ends.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) place: LogPlace,
    pub(super) chain: u64,
    since: Option<u64>,
    uuid: Option<String>,
    server_id: u32,
    file_begun: Option<u32>,
    /// When, in microseconds since 1970 by the server's clock.
    at: Option<u64>,
    /// The time of the last commit, if it is known.
    clock: Option<u64>,
}

impl End {
    /// After a piece. `clock`: the time of the last commit before it.
    pub(super) fn of(facts: PieceFacts, clock: Option<u64>) -> Self {
        Self {
            clock: match facts.gap {
                Some(_) => None,
                None => facts.last.map(|last| last.committed).or(clock),
            },
            place: facts.to,
            chain: facts.chain,
            since: facts.since,
            uuid: facts.server_uuid,
            server_id: facts.server_id,
            file_begun: facts.file_begun,
            at: facts.at,
        }
    }

    /// The time of the last commit, if it is known.
    pub(super) fn clock(&self) -> Option<u64> {
        self.clock
    }
}

/// When files of a server's log were begun, in seconds since 1970; `None`: the server has none of that name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begun {
    /// The oldest one.
    pub(super) oldest: Option<u32>,
    /// The one that has the name of the file in which a place is.
    pub(super) named: Option<u32>,
}

/// Where a stream is to begin.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    pub(super) place: LogPlace,
    /// Why that is not where the archive ends.
    pub(super) gap: Option<Gap>,
    /// Since when the history is this one.
    pub(super) since: Option<u64>,
    /// The time of the last commit before it, if it is known.
    pub(super) clock: Option<u64>,
    /// What is wrong with it, besides the gap.
    pub(super) alarm: Option<String>,
}

/// Why a log cannot be read on.
#[derive(Debug)]
struct Missing {
    reason: String,
    /// The server has another history than the one that was archived.
    forked: bool,
}

impl Missing {
    fn part(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            forked: false,
        }
    }

    fn fork(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            forked: true,
        }
    }
}

impl Source {
    /// Why a log that was read up to a place is not the one that the server now has; `None`: it is, or nothing tells.
    pub(super) fn is_not_read_from(&self, place: &LogPlace) -> Option<String> {
        let same = self.flavour == Flavour::Mysql;
        let missing = self.missing(place, self.uuid.as_deref(), same);
        missing.map(|missing| missing.reason)
    }

    /// Why the log cannot be read on from a place; `None`: it can. `same`: the place is in a file of this server.
    fn missing(&self, place: &LogPlace, uuid: Option<&str>, same: bool) -> Option<Missing> {
        if same && let Some(reason) = self.begun_anew(place) {
            return Some(Missing::fork(reason));
        }
        match (
            self.floor.is_within(&place.coverage),
            place.coverage.is_within(&self.now),
        ) {
            (Some(true), Some(true)) => None,
            (_, Some(false)) => Some(Missing::fork(format!(
                "the server does not have all archived transactions: it was reset, restored from an older copy, or is a different server; it has {}",
                self.now
            ))),
            (Some(false), _) => Some(Missing::part(format!(
                "the server has purged transactions that are not archived; its binary log starts after {}",
                self.floor
            ))),
            _ if place.coverage == Coverage::Unnumbered && self.now == Coverage::Unnumbered => {
                self.missing_in_files(place, uuid)
            }
            _ => Some(Missing::part(
                "the server's GTIDs cannot be compared with the archived ones: its GTID mode was changed, or it is a different kind of server",
            )),
        }
    }

    /// The files of the same server tell of a reset, even when numbers have grown beyond the archived ones again.
    fn begun_anew(&self, place: &LogPlace) -> Option<String> {
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

    /// Without numbers, only the same server's files can be followed.
    fn missing_in_files(&self, place: &LogPlace, uuid: Option<&str>) -> Option<Missing> {
        if uuid != self.uuid.as_deref() {
            return Some(Missing::part(
                "the server is a different server, and without GTIDs its binary log cannot be connected with the archive",
            ));
        }
        let file = place.file.as_deref().unwrap_or_default();
        match self.files.iter().find(|(name, _)| name == file) {
            Some((_, size)) if *size >= place.position => None,
            Some((_, size)) => Some(Missing::fork(format!(
                "{file} has only {size} bytes now: the binary log was reset"
            ))),
            None => Some(Missing::part(format!("the server has purged {file}"))),
        }
    }

    /// Whether an archive ends in the log of this server. MariaDB has no other name than its short number; of another
    /// server it knows itself whether it has the very transaction after which it is asked for its log.
    fn is_server_of(&self, end: &End) -> bool {
        match self.flavour {
            Flavour::Mysql => self.uuid == end.uuid,
            Flavour::Mariadb => self.id == end.server_id,
        }
    }

    /// Why what the server has is another history than the archived one, by when its files were begun: a reset begins
    /// all of them anew.
    fn begun_later(&self, end: &End, begun: Begun) -> Option<Missing> {
        if !self.is_server_of(end) {
            return None;
        }
        let reset = match (begun.named, end.file_begun) {
            (Some(begun), Some(known)) => begun != known,
            // Whoever has purged the file, and everything else, has just what follows.
            _ => {
                let younger = begun.oldest.zip(end.at);
                let younger = younger.is_some_and(|(oldest, at)| is_after(oldest, at));
                younger && end.place.coverage != self.floor
            }
        };
        reset.then(|| {
            Missing::fork("the server's binary log was reset: its files were created again")
        })
    }

    /// Where to begin, given where the archive ends, and when the files were begun. `refused`: what the server said when
    /// it was asked to go on there.
    pub(super) fn after(&self, end: &End, begun: Begun, refused: Option<String>) -> Beginning {
        let same = self.flavour == Flavour::Mysql && self.is_server_of(end);
        let missing = refused
            .map(Missing::fork)
            .or_else(|| self.missing(&end.place, end.uuid.as_deref(), same))
            .or_else(|| self.begun_later(end, begun));
        let Some(missing) = missing else {
            return Beginning {
                place: end.place.clone(),
                gap: None,
                since: end.since,
                clock: end.clock,
                alarm: None,
            };
        };
        let gap = Gap {
            reason: missing.reason,
            after: end.place.clone(),
        };
        Beginning {
            place: self.oldest(),
            gap: Some(gap),
            since: match missing.forked {
                true => Some(micros(self.time)),
                false => end.since,
            },
            clock: None,
            alarm: None,
        }
    }

    /// Where to begin an archive: at the newest snapshot, if the log still reaches it, or now.
    /// `refused`: what the server said when it was asked to begin at the snapshot.
    pub(super) fn first(
        &self,
        snapshot: Option<&Snapshot>,
        begun: Begun,
        refused: Option<String>,
    ) -> Beginning {
        let now = |since, alarm| Beginning {
            place: self.newest(),
            gap: None,
            since,
            clock: None,
            alarm,
        };
        let Some(snapshot) = snapshot else {
            return now(None, None);
        };
        let Some(place) = first_place(snapshot) else {
            return now(
                None,
                Some(later(snapshot, "its exact binary log position is unknown")),
            );
        };
        let uuid = snapshot.root.facts.get("server_uuid");
        let uuid = uuid.and_then(Value::as_str);
        let same = uuid.is_some() && uuid == self.uuid.as_deref();
        let missing = refused.map(Missing::fork);
        let missing = missing.or_else(|| self.missing(&place, uuid, same));
        if let Some(missing) = missing {
            let since = missing.forked.then(|| micros(self.time));
            return now(since, Some(later(snapshot, &missing.reason)));
        }
        let time = micros(snapshot.root.data_time);
        let younger = |begun: Option<u32>| begun.is_some_and(|begun| is_after(begun, time));
        let reset = match &place.coverage {
            Coverage::Unnumbered => younger(begun.named),
            // Of another server of MySQL, the numbers say whose they are.
            Coverage::Mysql(_) if !same => false,
            coverage => younger(begun.oldest) && *coverage != self.floor,
        };
        if reset {
            let reason = "all binary log files of the server were created after it: the binary log was reset";
            return now(Some(micros(self.time)), Some(later(snapshot, reason)));
        }
        Beginning {
            place,
            ..now(None, None)
        }
    }
}

/// What is said when an archive does not begin at the newest snapshot.
fn later(snapshot: &Snapshot, reason: &str) -> String {
    format!(
        "the log archive cannot continue from snapshot {}: {reason}. The archive starts now, and no point in time before the next snapshot can be restored: take a snapshot now",
        snapshot.id.short()
    )
}

/// Whether a file was begun after a time, in microseconds since 1970.
fn is_after(begun: u32, time: u64) -> bool {
    u64::from(begun) * 1_000_000 > time
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::server::tests::source;
    use super::*;

    fn set(last: u64) -> Coverage {
        let text = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{last}");
        Coverage::Mysql(text.parse().unwrap())
    }

    /// An archive of a hundred transactions that ended at second 1000, in a file that was begun at second 500.
    fn end() -> End {
        End {
            place: LogPlace {
                coverage: set(100),
                file: Some("binlog.000010".to_owned()),
                position: 1500,
            },
            chain: 1,
            since: None,
            uuid: None,
            server_id: 1,
            file_begun: Some(500),
            at: Some(1_000_000_000),
            clock: None,
        }
    }

    /// Where it goes on at a server of two hundred transactions.
    fn beginning(floor: Coverage, oldest: u32, named: Option<u32>) -> Beginning {
        let time = DateTime::from_timestamp(5000, 0).unwrap();
        let mut server = source(set(200), time);
        server.floor = floor;
        let begun = Begun {
            oldest: Some(oldest),
            named,
        };
        server.after(&end(), begun, None)
    }

    #[test]
    fn a_log_goes_on_where_a_file_is_older_than_the_end_of_the_archive() {
        assert!(beginning(set(10), 100, Some(500)).gap.is_none());
        // The file in which the archive ends, though the clock was set back meanwhile.
        assert!(beginning(set(10), 2000, Some(500)).gap.is_none());
        // A server that has purged just what is archived.
        assert!(beginning(set(100), 2000, None).gap.is_none());
    }

    #[test]
    fn a_log_that_was_begun_anew_is_another_history_whatever_its_numbers() {
        for named in [Some(2000), None] {
            let beginning = beginning(set(10), 2000, named);
            assert!(beginning.gap.is_some());
            assert_eq!(beginning.since, Some(5_000_000_000));
        }
    }

    #[test]
    fn a_file_of_the_same_name_that_was_begun_at_another_time_is_another_history() {
        // Begun before the piece was finished that was being filled meanwhile.
        assert!(beginning(set(10), 999, Some(999)).gap.is_some());
    }

    #[test]
    fn behind_a_purge_the_history_is_the_same() {
        let beginning = beginning(set(150), 2000, None);
        assert!(beginning.gap.unwrap().reason.contains("purged"));
        assert_eq!(beginning.since, None);
    }
}
