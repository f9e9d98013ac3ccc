//! The settings under which a statement of the log ran: status variables, each preceded by its code.

use crate::binlog::cursor::ByteCursor;

/// Bits of `flags2` of a statement.
pub mod option {
    /// `sql_auto_is_null`.
    pub const AUTO_IS_NULL: u32 = 1 << 14;
    /// Not `check_constraint_checks` (MariaDB).
    pub const NO_CONSTRAINT_CHECKS: u32 = 1 << 15;
    /// `explicit_defaults_for_timestamp` (MariaDB).
    pub const EXPLICIT_TIMESTAMP: u32 = 1 << 24;
    /// Not `foreign_key_checks`.
    pub const NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
    /// Not `unique_checks`.
    pub const NO_UNIQUE_CHECKS: u32 = 1 << 27;
    /// `sql_if_exists` (MariaDB).
    pub const IF_EXISTS: u32 = 1 << 28;
    /// `system_versioning_insert_history` (MariaDB).
    pub const INSERT_HISTORY: u32 = 1 << 30;
}

/// Phase of an `ALTER TABLE` that is in the log twice: at its start and at its end (MariaDB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterPhase {
    /// Started.
    Started,
    /// Committed.
    Committed,
    /// Rolled back.
    RolledBack,
}

/// The settings of a statement. `None`: not in the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatementSettings {
    /// See [`option`].
    pub options: Option<u32>,
    /// `sql_mode`.
    pub sql_mode: Option<u64>,
    /// `auto_increment_increment` and `auto_increment_offset`.
    pub auto_increment: Option<(u16, u16)>,
    /// `character_set_client`, `collation_connection` and `collation_server`, by ID.
    pub charset: Option<(u16, u16, u16)>,
    /// `time_zone`.
    pub time_zone: Option<Vec<u8>>,
    /// `lc_time_names`, by ID.
    pub time_names: Option<u16>,
    /// `collation_database`, by ID.
    pub database_collation: Option<u16>,
    /// Microseconds of its start time.
    pub microseconds: u32,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_timestamp: Option<u8>,
    /// `default_collation_for_utf8mb4`, by ID.
    pub utf8mb4_collation: Option<u16>,
    /// `sql_require_primary_key`.
    pub require_primary_key: Option<u8>,
    /// `default_table_encryption`.
    pub table_encryption: Option<u8>,
    /// `enable_cascade_triggers`.
    pub cascade_triggers: Option<u8>,
    /// The invoker of the statement: user and host, in UTF-8.
    pub invoker: Option<(Vec<u8>, Vec<u8>)>,
    /// `character_set_collations`: character sets and collations by ID (MariaDB).
    pub collations: Option<Vec<(u16, u16)>>,
    /// Phase of an `ALTER TABLE` (MariaDB).
    pub alter_phase: Option<AlterPhase>,
}

impl StatementSettings {
    /// Parses the settings of a [`crate::binlog::QueryEvent`].
    ///
    /// # Errors
    /// Names the variable that is unknown or truncated.
    pub fn parse(encoded: &[u8]) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut cursor = ByteCursor::new(encoded);
        while let Some(number) = cursor.u8() {
            settings
                .parse_variable(number, &mut cursor)?
                .ok_or_else(|| format!("status variable {number} is truncated"))?;
        }
        Ok(settings)
    }

    fn parse_variable(
        &mut self,
        number: u8,
        cursor: &mut ByteCursor<'_>,
    ) -> Result<Option<()>, String> {
        match number {
            0..=21 => Ok(self.parse_common_variable(number, cursor)),
            128..=131 => Ok(self.parse_mariadb_variable(number, cursor)),
            // Unused space.
            255 => Ok(cursor.take(cursor.rest().len()).map(drop)),
            _ => Err(format!(
                "the statement has an unknown status variable {number}"
            )),
        }
    }

    fn parse_common_variable(&mut self, number: u8, cursor: &mut ByteCursor<'_>) -> Option<()> {
        match number {
            0 => self.options = Some(cursor.u32()?),
            1 => self.sql_mode = Some(cursor.u64()?),
            2 => {
                read_text(cursor)?;
                cursor.u8()?;
            }
            3 => self.auto_increment = Some((cursor.u16()?, cursor.u16()?)),
            4 => self.charset = Some((cursor.u16()?, cursor.u16()?, cursor.u16()?)),
            5 => self.time_zone = Some(read_text(cursor)?.to_vec()).filter(|zone| !zone.is_empty()),
            6 => drop(read_text(cursor)?),
            7 => self.time_names = Some(cursor.u16()?),
            8 => self.database_collation = Some(cursor.u16()?),
            // Tables of an update, the transaction's XID: of no use outside that server.
            9 | 17 => drop(cursor.u64()?),
            10 => drop(cursor.u32()?),
            11 => self.invoker = Some((read_text(cursor)?.to_vec(), read_text(cursor)?.to_vec())),
            12 => skip_databases(cursor)?,
            13 => self.microseconds = u32::try_from(cursor.fixed_int(3)?).ok()?,
            14 | 15 => drop(cursor.take(7)?),
            16 => self.explicit_timestamp = Some(cursor.u8()?),
            18 => self.utf8mb4_collation = Some(cursor.u16()?),
            19 => self.require_primary_key = Some(cursor.u8()?),
            20 => self.table_encryption = Some(cursor.u8()?),
            _ => self.cascade_triggers = Some(cursor.u8()?),
        }
        Some(())
    }

    fn parse_mariadb_variable(&mut self, number: u8, cursor: &mut ByteCursor<'_>) -> Option<()> {
        match number {
            128 => self.microseconds = u32::try_from(cursor.fixed_int(3)?).ok()?,
            129 => drop(cursor.u64()?),
            130 => {
                let flags = cursor.u8()?;
                self.alter_phase = parse_alter_phase(flags);
                if matches!(
                    self.alter_phase,
                    Some(AlterPhase::Committed | AlterPhase::RolledBack)
                ) {
                    cursor.u64()?;
                }
            }
            _ => {
                let count = cursor.u8()?;
                let pairs = (0..count).map(|_| Some((cursor.u16()?, cursor.u16()?)));
                self.collations = Some(pairs.collect::<Option<_>>()?);
            }
        }
        Some(())
    }
}

fn parse_alter_phase(flags: u8) -> Option<AlterPhase> {
    match flags & 0b1110 {
        0b10 => Some(AlterPhase::Started),
        0b100 => Some(AlterPhase::Committed),
        0b1000 => Some(AlterPhase::RolledBack),
        _ => None,
    }
}

fn read_text<'a>(cursor: &mut ByteCursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u8()?;
    cursor.take(usize::from(length))
}

fn skip_databases(cursor: &mut ByteCursor<'_>) -> Option<()> {
    /// More than the log names.
    const MANY: u8 = 254;
    let count = cursor.u8()?;
    if count != MANY {
        for _ in 0..count {
            cursor.null_terminated()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From MariaDB 10.11, with microseconds and the end of an `ALTER TABLE`.
    const ALTER: &str = "000000001101000020540000000006037374640421002100080081140000000000000082040700000000000000";

    #[test]
    fn settings_of_mariadb_are_read() {
        let settings = StatementSettings::parse(&hex::decode(ALTER).unwrap()).unwrap();
        assert_eq!(
            settings.options,
            Some(option::IF_EXISTS | option::EXPLICIT_TIMESTAMP)
        );
        assert_eq!(settings.sql_mode, Some(0x5420_0000));
        assert_eq!(settings.charset, Some((33, 33, 8)));
        assert_eq!(settings.alter_phase, Some(AlterPhase::Committed));
    }

    #[test]
    fn settings_of_mysql_are_read() {
        let mut bytes = vec![0, 0, 0, 0, 4, 5, 3, b'U', b'T', b'C', 7, 2, 0, 8, 63, 0];
        bytes.extend([
            12, 2, b'a', 0, b'b', 0, 13, 1, 2, 0, 16, 1, 18, 255, 0, 19, 0, 20, 1,
        ]);
        bytes.extend([21, 1, 11, 3, b'j', b'o', b'e', 1, b'%']);
        let settings = StatementSettings::parse(&bytes).unwrap();
        assert_eq!(settings.options, Some(option::NO_FOREIGN_KEY_CHECKS));
        assert_eq!(settings.time_zone.as_deref(), Some(&b"UTC"[..]));
        assert_eq!(
            (settings.time_names, settings.database_collation),
            (Some(2), Some(63))
        );
        assert_eq!(settings.microseconds, 0x201);
        assert_eq!(settings.utf8mb4_collation, Some(255));
        assert_eq!(settings.table_encryption, Some(1));
        assert_eq!(settings.cascade_triggers, Some(1));
        assert_eq!(settings.invoker, Some((b"joe".to_vec(), b"%".to_vec())));
    }

    #[test]
    fn what_is_unknown_or_cut_short_is_named() {
        assert!(
            StatementSettings::parse(&[99])
                .unwrap_err()
                .contains("variable 99")
        );
        assert!(
            StatementSettings::parse(&[1, 0])
                .unwrap_err()
                .contains("variable 1")
        );
    }
}
