//! The uploader: stores packs, reads them back, and writes index fragments for what is stored.

use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;

use super::shared::Shared;
use crate::envelope::{self, RecordKind};
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::index::{FRAGMENT_CHUNKS_MAX, fragment_key, write_fragment};
use crate::pack::{FinishedPack, PackRecord, pack_key};
use crate::progress::Progress;
use crate::repository::put_verified;

pub(super) fn run(shared: &Shared, packs: &Receiver<FinishedPack>, adopted: Vec<PackRecord>) {
    if let Err(error) = upload(shared, packs, adopted) {
        shared.fail(error);
        packs.iter().for_each(drop);
    }
}

/// Adopted packs go into this run's fragments, so that they are found without listing from now on.
fn upload(shared: &Shared, packs: &Receiver<FinishedPack>, adopted: Vec<PackRecord>) -> Result<()> {
    let mut unwritten = Vec::new();
    let mut unwritten_chunks = 0;
    for record in adopted {
        unwritten_chunks += record.chunk_count();
        unwritten.push(record);
        if unwritten_chunks >= FRAGMENT_CHUNKS_MAX {
            index(shared, &mut unwritten, &mut unwritten_chunks)?;
        }
    }
    for FinishedPack { parts, record } in packs {
        if shared.has_failed() {
            continue;
        }
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        put_verified(
            shared.repository.backend.as_ref(),
            &pack_key(&record.pack),
            &slices,
            &record.pack,
        )?;
        shared
            .added_stored_bytes
            .fetch_add(record.size, Ordering::Relaxed);
        Progress::add(&shared.progress.stored_bytes, record.size);
        unwritten_chunks += record.chunk_count();
        unwritten.push(record);
        if unwritten_chunks >= FRAGMENT_CHUNKS_MAX {
            index(shared, &mut unwritten, &mut unwritten_chunks)?;
        }
    }
    if unwritten.is_empty() || shared.has_failed() {
        return Ok(());
    }
    index(shared, &mut unwritten, &mut unwritten_chunks)
}

fn index(shared: &Shared, packs: &mut Vec<PackRecord>, chunks: &mut usize) -> Result<()> {
    let repository = &shared.repository;
    let signer = repository.host.as_ref().map(|host| &host.signer);
    let signer =
        signer.ok_or_else(|| Error::Internal("this host has no signing key".to_owned()))?;
    let sealed = envelope::seal(
        RecordKind::Index,
        &write_fragment(packs)?,
        &repository.catalog_recipients,
        signer,
        repository.trust.repository(),
    )?;
    let id = ObjectId::of(&sealed);
    put_verified(
        repository.backend.as_ref(),
        &fragment_key(&id),
        &[&sealed],
        &id,
    )?;
    shared.known.settle(packs)?;
    packs.clear();
    *chunks = 0;
    Ok(())
}
