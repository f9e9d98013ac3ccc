//! Buffers row events for `BINLOG`: whole statements, or parts of one that are made to look whole.

use std::ops::Range;

use reprise_mysql::binlog::{Event, ends_statement, mark_statement_end};

/// The events of whole statements, one after the other.
#[derive(Debug, Default)]
pub(crate) struct RowEventBuffer {
    bytes: Vec<u8>,
    /// The table maps of the statement that is in progress.
    maps: Vec<Event>,
    /// Where that statement begins.
    begin: usize,
    /// Where its last rows are.
    last: Option<Range<usize>>,
    open: bool,
}

impl RowEventBuffer {
    /// The number of buffered bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the table map of the rows that follow. Returns what must be sent first, for all to stay below `limit`.
    pub(crate) fn add_table_map(&mut self, map: Event, limit: usize) -> Option<Vec<u8>> {
        let part = (self.len() + map.bytes().len() > limit)
            .then(|| self.take_complete())
            .flatten();
        if !self.open {
            self.open = true;
            self.begin = self.bytes.len();
            self.last = None;
            self.maps.clear();
        }
        self.bytes.extend_from_slice(map.bytes());
        self.maps.push(map);
        part
    }

    /// Adds rows. Returns what must be sent first, for all to stay below `limit`.
    pub(crate) fn add_rows(&mut self, event: &Event, limit: usize) -> Option<Vec<u8>> {
        let part = (self.len() + event.bytes().len() > limit)
            .then(|| self.take_complete())
            .flatten();
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(event.bytes());
        self.last = Some(begin..self.bytes.len());
        if ends_statement(event) {
            self.open = false;
        }
        part
    }

    /// Takes the whole buffer, as a whole statement.
    pub(crate) fn take_all(&mut self) -> Option<Vec<u8>> {
        if self.open {
            self.mark_statement_end();
            self.open = false;
        }
        self.maps.clear();
        Some(std::mem::take(&mut self.bytes)).filter(|bytes| !bytes.is_empty())
    }

    /// Takes off what can be sent. The rest of the statement in progress gets its table maps again.
    fn take_complete(&mut self) -> Option<Vec<u8>> {
        if !self.open {
            return self.take_all();
        }
        let rest = if self.last.is_some() {
            self.mark_statement_end();
            self.maps
                .iter()
                .flat_map(|map| map.bytes().to_vec())
                .collect()
        } else {
            self.bytes.split_off(self.begin)
        };
        self.begin = 0;
        self.last = None;
        let part = std::mem::replace(&mut self.bytes, rest);
        Some(part).filter(|part| !part.is_empty())
    }

    fn mark_statement_end(&mut self) {
        let checked = self.maps.first().is_some_and(Event::has_checksum);
        if let Some(last) = self.last.take()
            && let Some(event) = self.bytes.get_mut(last)
        {
            mark_statement_end(event, checked);
        }
    }
}

#[cfg(test)]
mod tests {
    use reprise_mysql::binlog::{EventReader, event_checksum, kind};

    use super::*;

    fn event(kind: u8, flags: u8, length: usize) -> Event {
        let mut bytes = vec![0; 4];
        bytes.push(kind);
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(u32::try_from(19 + length + 4).unwrap().to_le_bytes());
        bytes.extend([0; 6]);
        let mut body = vec![9, 0, 0, 0, 0, 0, flags, 0];
        body.resize(length, b'x');
        bytes.extend(body);
        bytes.extend(event_checksum(&bytes, kind).to_le_bytes());
        Event::new(bytes.into(), true).unwrap()
    }

    fn shape(part: &[u8]) -> Vec<(u8, bool)> {
        let mut events = EventReader::new(part, true);
        let mut shape = Vec::new();
        while let Some(event) = events.next_event().unwrap() {
            shape.push((event.kind(), ends_statement(&event)));
        }
        shape
    }

    #[test]
    fn a_long_statement_is_cut_into_ones_that_look_whole() {
        let mut rows = RowEventBuffer::default();
        let limit = 1000;
        let mut parts = Vec::new();
        parts.extend(rows.add_table_map(event(kind::TABLE_MAP, 0, 20), limit));
        parts.extend(rows.add_table_map(event(kind::TABLE_MAP, 0, 20), limit));
        for n in 0..5 {
            let end = u8::from(n == 4);
            parts.extend(rows.add_rows(&event(kind::WRITE_ROWS, 2 | end, 400), limit));
        }
        parts.extend(rows.take_all());
        let part = |rows: usize| {
            let mut shape = vec![(kind::TABLE_MAP, false); 2];
            shape.extend((1..=rows).map(|n| (kind::WRITE_ROWS, n == rows)));
            shape
        };
        let shapes: Vec<_> = parts.iter().map(|part| shape(part)).collect();
        assert_eq!(shapes, [part(2), part(2), part(1)]);
    }

    #[test]
    fn whole_statements_go_together_and_are_not_cut() {
        let mut rows = RowEventBuffer::default();
        let mut parts = Vec::new();
        for _ in 0..3 {
            parts.extend(rows.add_table_map(event(kind::TABLE_MAP, 0, 20), 600));
            parts.extend(rows.add_rows(&event(kind::WRITE_ROWS, 1, 200), 600));
        }
        parts.extend(rows.take_all());
        let statement = [(kind::TABLE_MAP, false), (kind::WRITE_ROWS, true)];
        let shapes: Vec<_> = parts.iter().map(|part| shape(part)).collect();
        assert_eq!(shapes, [statement.repeat(2), statement.to_vec()]);
        assert!(rows.take_all().is_none());
    }
}
