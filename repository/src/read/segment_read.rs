//! Reads segments and verifies them.

use crate::backend::BackendError;
use crate::error::{Error, Result};
use crate::format::pack::pack_key;
use crate::format::segment::{self, SegmentRecord};
use crate::index::ChunkLocation;
use crate::store::Store;
use crate::store::verified_io::read_with_retries;

pub(crate) fn read_segment(inner: &Store, location: &ChunkLocation) -> Result<Vec<u8>> {
    read_with_retries(inner.backend.as_ref(), || {
        read_segment_once(inner, location)
    })
}

fn read_segment_once(inner: &Store, location: &ChunkLocation) -> Result<Vec<u8>> {
    let key = pack_key(&location.pack);
    let at = location.segment;
    let range = at.offset..at.offset + u64::from(at.length);
    let stored = inner
        .backend
        .get(&key, Some(range))
        .map_err(|source| match source {
            BackendError::NotFound { .. } => Error::Missing {
                object: key.to_string(),
                needed_by: "the index".to_owned(),
            },
            BackendError::OutOfRange { .. } => {
                Error::damaged_object(&key, "it is shorter than the index states")
            }
            BackendError::AlreadyExists { .. }
            | BackendError::NoSpace { .. }
            | BackendError::PermissionDenied { .. }
            | BackendError::Locked { .. }
            | BackendError::Configuration { .. }
            | BackendError::Unavailable { .. }
            | BackendError::Rejected { .. }
            | BackendError::Interrupted { .. }
            | BackendError::Io { .. } => inner.backend_error(source),
        })?;
    let record = SegmentRecord {
        class: at.class,
        offset: at.offset,
        length: at.length,
        plain: at.plain,
        hash: at.hash,
        chunks: Vec::new(),
        recipients: None,
    };
    let recipients = inner.readers(at.class);
    segment::check_stored_segment(&record, &stored, key.as_str())?;
    segment::open_segment(
        &record,
        &stored,
        key.as_str(),
        &inner.identities,
        recipients,
    )
}

/// The plain bytes of a segment that is described whole, every chunk verified by its ID.
///
/// # Errors
/// [`Error::Damaged`], or [`Error::NoMatchingIdentity`].
pub(crate) fn verify_segment(
    inner: &Store,
    object: &str,
    record: &SegmentRecord,
    stored: &[u8],
) -> Result<Vec<u8>> {
    let recipients = inner.readers(record.class);
    segment::check_stored_segment(record, stored, object)?;
    let plain = segment::open_segment(record, stored, object, &inner.identities, recipients)?;
    let mut rest = plain.as_slice();
    for chunk in &record.chunks {
        let (bytes, after) = rest.split_at(chunk.1 as usize);
        rest = after;
        if inner.secrets.chunk_id(record.class, bytes) != chunk.0 {
            return Err(Error::Damaged {
                object: object.to_owned(),
                reason: format!("the content of chunk {} does not match its ID", chunk.0),
            });
        }
    }
    Ok(plain)
}
