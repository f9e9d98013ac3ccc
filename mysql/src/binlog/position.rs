//! Binary log positions by file.

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{Event, EventError, kind};

/// A position between two events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePosition {
    /// The file.
    pub file: Option<String>,
    /// The position in it, in bytes.
    pub position: u64,
}

impl FilePosition {
    /// Moves past an event. Headers contain only the lower 32 bits of positions.
    ///
    /// # Errors
    /// When a rotate event names no file.
    pub fn advance_past(&mut self, event: &Event) -> Result<(), EventError> {
        let next = u64::from(event.header().end_position);
        if event.kind() == kind::ROTATE {
            let mut cursor = ByteCursor::new(event.body());
            self.position = cursor
                .u64()
                .ok_or_else(|| EventError::malformed(kind::ROTATE, "it is too short"))?;
            self.file = Some(String::from_utf8_lossy(cursor.rest()).into_owned());
        } else if next != 0 {
            let before = self.position;
            self.position = (before & !u64::from(u32::MAX)) | next;
            if self.position < before && before - self.position > 1 << 31 {
                self.position += 1 << 32;
            }
        }
        Ok(())
    }

    /// Whether this position is at or before another one of the same server; `None` when file names do not tell.
    #[must_use]
    pub fn is_at_or_before(&self, other: &Self) -> Option<bool> {
        let place = |place: &Self| Some((file_number(place.file.as_deref()?)?, place.position));
        Some(place(self)? <= place(other)?)
    }
}

/// The number at the end of a log file's name.
#[must_use]
pub fn file_number(file: &str) -> Option<u64> {
    file.rsplit_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::event::build_event;

    /// An event after which the position has these lower bits.
    fn until(next: u32) -> Event {
        let mut bytes = build_event(7, kind::XID, &[0; 8], false).bytes().to_vec();
        bytes[13..17].copy_from_slice(&next.to_le_bytes());
        Event::new(bytes.into(), false).unwrap()
    }

    #[test]
    fn positions_beyond_four_gibibytes_are_followed_and_files_change() {
        let mut place = FilePosition {
            file: Some("binlog.000009".to_owned()),
            position: u64::from(u32::MAX) - 10,
        };
        place.advance_past(&until(20)).unwrap();
        assert_eq!(place.position, (1 << 32) + 20);
        let before = place.clone();
        let rotate = [&4_u64.to_le_bytes()[..], b"binlog.000010"].concat();
        place
            .advance_past(&build_event(7, kind::ROTATE, &rotate, false))
            .unwrap();
        assert_eq!(
            (place.file.as_deref(), place.position),
            (Some("binlog.000010"), 4)
        );
        assert_eq!(before.is_at_or_before(&place), Some(true));
        assert!(
            place
                .advance_past(&build_event(7, kind::ROTATE, &[1], false))
                .is_err()
        );
    }
}
