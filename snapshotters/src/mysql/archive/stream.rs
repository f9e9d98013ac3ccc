//! Requesting a server's log as a replica does.

use std::sync::Arc;

use mysql_common::packets::binlog_request::BinlogRequest;
use mysql_common::packets::{BinlogDumpFlags, ComRegisterSlave, GnoInterval, Sid, Tag};
use mysql_common::proto::MySerialize;
use reprise_mysql::binlog::{EventHeader, FILE_START, kind};
use reprise_mysql::log::{BinlogPosition, ExecutedSet};
use reprise_mysql::wire::{WireConnection, is_eof_packet, is_error_packet, parse_error_packet};
use reprise_mysql::{Address, DatabaseError, Flavour, error_code};
use reprise_repository::Progress;

use super::source_server::SourceServer;

/// Interval of heartbeats from an idle server, in seconds.
pub(super) const HEARTBEAT_SECONDS: u64 = 2;

const COM_BINLOG_DUMP: u8 = 0x12;

/// End when there is nothing more to send.
const NON_BLOCK: u16 = 1;

/// Send the statements of row events too (MariaDB).
const SEND_ANNOTATE_ROWS: u16 = 2;

/// The identity of the client: the server ends an older stream of the same identity.
#[derive(Debug, Clone)]
pub(super) struct ReplicaIdentity {
    pub(super) id: u32,
    pub(super) uuid: String,
}

/// Opens a stream from a position. `once`: it ends when everything in the log was sent.
pub(super) fn open_stream(
    address: &Address,
    source: &SourceServer,
    from: &BinlogPosition,
    replica: &ReplicaIdentity,
    once: bool,
    progress: &Arc<Progress>,
) -> Result<WireConnection, DatabaseError> {
    let mut wire = WireConnection::open(address, progress)?;
    for statement in session_settings(source, from, replica) {
        wire.execute(&statement)?;
    }
    let register = ComRegisterSlave::new(replica.id);
    wire.send_command(&serialize_packet(&register))?;
    wire.expect_ok()?;
    wire.send_command(&dump_request(from, source, replica, once)?)?;
    Ok(wire)
}

/// Creation time of a log file, in seconds since 1970, by its first event. `None`: the server cannot send it.
pub(super) fn file_creation_time(
    address: &Address,
    source: &SourceServer,
    file: &str,
    replica: &ReplicaIdentity,
    progress: &Arc<Progress>,
) -> Result<Option<u32>, DatabaseError> {
    let place = BinlogPosition {
        coverage: ExecutedSet::Unnumbered,
        file: Some(file.to_owned()),
        position: FILE_START,
    };
    let mut wire = open_stream(address, source, &place, replica, true, progress)?;
    loop {
        let packet = wire.read_answer()?;
        if is_error_packet(&packet) {
            let refused = parse_error_packet(&packet);
            // The file was deleted.
            if refused.code() == Some(error_code::BINLOG_READ_FAILED) {
                return Ok(None);
            }
            return Err(refused);
        }
        if is_eof_packet(&packet) {
            return Ok(None);
        }
        let header = packet.get(1..).and_then(EventHeader::parse);
        match header {
            Some(header) if header.kind == kind::FORMAT_DESCRIPTION => {
                return Ok(Some(header.timestamp));
            }
            // A rotate event with the file's name comes first.
            Some(header) if header.is_artificial() => {}
            _ => return Ok(None),
        }
    }
}

fn dump_request(
    from: &BinlogPosition,
    source: &SourceServer,
    replica: &ReplicaIdentity,
    once: bool,
) -> Result<Vec<u8>, DatabaseError> {
    let flags = u16::from(once) * NON_BLOCK;
    match &from.coverage {
        // A file name would make the server skip its search for missing transactions.
        ExecutedSet::Mysql(set) => {
            let request = BinlogRequest::new(replica.id)
                .with_flags(BinlogDumpFlags::from_bits_truncate(flags))
                .with_use_gtid(true)
                .with_sids(gtid_request_sids(set)?)
                .with_pos(FILE_START);
            Ok(serialize_packet(&request.as_cmd()))
        }
        ExecutedSet::Mariadb(_) => Ok(file_dump_request(
            "",
            FILE_START,
            flags | SEND_ANNOTATE_ROWS,
            replica.id,
        )),
        ExecutedSet::Unnumbered => {
            let file = from.file.as_deref().unwrap_or_default();
            let statements = u16::from(source.flavour == Flavour::Mariadb) * SEND_ANNOTATE_ROWS;
            Ok(file_dump_request(
                file,
                from.position,
                flags | statements,
                replica.id,
            ))
        }
    }
}

/// The request by file and position. Positions beyond 4 GiB cannot be requested.
fn file_dump_request(file: &str, position: u64, flags: u16, id: u32) -> Vec<u8> {
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    let mut request = vec![COM_BINLOG_DUMP];
    request.extend(position.to_le_bytes());
    request.extend(flags.to_le_bytes());
    request.extend(id.to_le_bytes());
    request.extend(file.as_bytes());
    request
}

fn session_settings(
    source: &SourceServer,
    from: &BinlogPosition,
    replica: &ReplicaIdentity,
) -> Vec<String> {
    let period = HEARTBEAT_SECONDS * 1_000_000_000;
    let mut settings = vec![
        "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum".to_owned(),
        format!("SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}"),
        format!("SET @slave_uuid = '{0}', @replica_uuid = '{0}'", replica.uuid),
    ];
    if source.flavour == Flavour::Mariadb {
        // Without this the server replaces events that are unknown to old replicas.
        settings.push("SET @mariadb_slave_capability = 4".to_owned());
        if let ExecutedSet::Mariadb(position) = &from.coverage {
            settings.push(format!("SET @slave_connect_state = '{position}'"));
            settings.push(
                "SET @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0".to_owned(),
            );
        }
    }
    settings
}

fn gtid_request_sids(
    set: &reprise_mysql::binlog::GtidSet,
) -> Result<Vec<Sid<'static>>, DatabaseError> {
    set.ranges_by_source()
        .map(|(source, ranges)| {
            let ranges = ranges
                .iter()
                .map(|(first, last)| GnoInterval::new(*first, last + 1));
            let sid = Sid::new(source.uuid()).with_intervals(ranges.collect());
            match source.tag() {
                None => Ok(sid),
                Some(tag) => Tag::new(tag.to_owned())
                    .map(|tag| sid.with_tag(tag))
                    .map_err(|error| DatabaseError::UnexpectedResponse(error.to_string())),
            }
        })
        .collect()
}

fn serialize_packet(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}
