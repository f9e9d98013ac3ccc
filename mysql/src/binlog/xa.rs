//! XA transactions: their identifiers.

use std::fmt;

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{Event, EventError, kind};

/// The identifier (XID) of an XA transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Xid {
    /// The format ID.
    pub format_id: u32,
    /// The global transaction ID.
    pub global: Vec<u8>,
    /// The branch qualifier.
    pub branch: Vec<u8>,
}

impl fmt::Display for Xid {
    /// As in XA statements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (global, branch) = (hex::encode(&self.global), hex::encode(&self.branch));
        write!(f, "X'{global}',X'{branch}',{}", self.format_id)
    }
}

/// The end of the prepare phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XaPrepare {
    /// The transaction.
    pub xid: Xid,
    /// It is the commit too (`ONE PHASE`).
    pub one_phase: bool,
}

impl XaPrepare {
    /// Parses an XA prepare event.
    ///
    /// # Errors
    /// When it is of another type, or too short.
    pub fn from_event(event: &Event) -> Result<Self, EventError> {
        let wrong = |reason| EventError::malformed(event.kind(), reason);
        if event.kind() != kind::XA_PREPARE {
            return Err(wrong("it is not an XA prepare event"));
        }
        parse_xa_prepare(event.body()).ok_or_else(|| wrong("it is too short"))
    }
}

fn parse_xa_prepare(body: &[u8]) -> Option<XaPrepare> {
    let mut cursor = ByteCursor::new(body);
    let one_phase = cursor.u8()? != 0;
    let format = cursor.u32()?;
    let global = usize::try_from(cursor.u32()?).ok()?;
    let branch = usize::try_from(cursor.u32()?).ok()?;
    Some(XaPrepare {
        xid: Xid {
            format_id: format,
            global: cursor.take(global)?.to_vec(),
            branch: cursor.take(branch)?.to_vec(),
        },
        one_phase,
    })
}

/// The XID in MariaDB's GTID event before the prepare phase of an XA transaction.
#[must_use]
pub fn prepared_xid(event: &Event) -> Option<Xid> {
    const PREPARED: u8 = 64;
    const GROUP_COMMIT: u8 = 2;
    if event.kind() != kind::MARIADB_GTID {
        return None;
    }
    let mut cursor = ByteCursor::new(event.body());
    cursor.take(12)?;
    let flags = cursor.u8()?;
    if flags & GROUP_COMMIT != 0 {
        cursor.u64()?;
    }
    if flags & PREPARED == 0 {
        return None;
    }
    let format = cursor.u32()?;
    let (global, branch) = (usize::from(cursor.u8()?), usize::from(cursor.u8()?));
    Some(Xid {
        format_id: format,
        global: cursor.take(global)?.to_vec(),
        branch: cursor.take(branch)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::event::build_event;

    #[test]
    fn names_are_read_and_written_as_statements_want_them() {
        let mut body = vec![0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
        body.extend(b"abc");
        let prepared =
            XaPrepare::from_event(&build_event(7, kind::XA_PREPARE, &body, true)).unwrap();
        assert_eq!(prepared.xid.to_string(), "X'6162',X'63',1");
        assert!(
            XaPrepare::from_event(&build_event(7, kind::XA_PREPARE, &body[..14], true)).is_err()
        );
    }
}
