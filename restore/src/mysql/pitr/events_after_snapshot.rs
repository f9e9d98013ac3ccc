//! The events of a log after the position of a snapshot.

use reprise_mysql::binlog::{Event, FilePosition, kind};
use reprise_mysql::log::{BinlogPosition, ExecutedSet, LogEvents};

use crate::error::{Error, Result};

/// The events after a position. With GTIDs, those decide; otherwise the position in the files does.
pub(crate) struct EventsAfterSnapshot<'a> {
    events: LogEvents<'a>,
    /// The position of the snapshot; `None` when it is passed, or GTIDs decide.
    snapshot_position: Option<FilePosition>,
}

impl<'a> EventsAfterSnapshot<'a> {
    pub(crate) fn new(events: LogEvents<'a>, wanted: &BinlogPosition) -> Self {
        let unnumbered = wanted.coverage == ExecutedSet::Unnumbered;
        Self {
            events,
            snapshot_position: unnumbered.then(|| wanted.file_position()),
        }
    }

    /// Whether the next event is after the position. Fails when no event follows, and the position was not reached.
    fn has_passed_snapshot(&mut self) -> Result<bool> {
        let Some(wanted) = &self.snapshot_position else {
            return Ok(true);
        };
        let more = self.events.buffer_next_event()?;
        let behind = wanted.is_at_or_before(self.events.file_position()) == Some(true);
        if behind || !more {
            self.snapshot_position = None;
        }
        match more || behind {
            true => Ok(behind),
            false => Err(Error::ReplayStopUnreachable {
                reason: "the archived binary log does not reach the position of the snapshot: a log rotation is missing from it".to_owned(),
            }),
        }
    }
}

impl Iterator for EventsAfterSnapshot<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let behind = match self.has_passed_snapshot() {
                Ok(behind) => behind,
                Err(error) => return Some(Err(error)),
            };
            match self.events.next()? {
                // Format description events are always passed on.
                Ok(event) if behind || event.kind() == kind::FORMAT_DESCRIPTION => {
                    return Some(Ok(event));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
