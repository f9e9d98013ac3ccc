//! The uploader: stores packs, reads them back, and writes index fragments for what is stored.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Receiver;

use super::shared::Shared;
use crate::error::Result;
use crate::index::FRAGMENT_CHUNKS_MAX;
use crate::pack::{FinishedPack, PackRecord, pack_key};
use crate::progress::Progress;
use crate::stored::put_verified;

pub(super) fn run(shared: &Shared, packs: &Receiver<FinishedPack>, adopted: Vec<PackRecord>) {
    if let Err(error) = upload(shared, packs, adopted) {
        shared.fail(error);
        packs.iter().for_each(drop);
    }
}

/// What is stored but not yet indexed.
#[derive(Default)]
struct Unwritten {
    packs: Vec<PackRecord>,
    chunks: usize,
}

/// Adopted packs go into this run's fragments, so that they are found without listing from now on.
fn upload(shared: &Shared, packs: &Receiver<FinishedPack>, adopted: Vec<PackRecord>) -> Result<()> {
    let unwritten = Mutex::new(Unwritten::default());
    for record in adopted {
        add(shared, &unwritten, record)?;
    }
    std::thread::scope(|scope| {
        // While one pack is synced or acknowledged, another can be sent. Each is in memory meanwhile.
        for _ in 0..shared.repository.backend.abilities().parallel_puts.max(1) {
            scope.spawn(|| {
                if let Err(error) = store_all(shared, packs, &unwritten) {
                    shared.fail(error);
                    packs.iter().for_each(drop);
                }
            });
        }
    });
    let mut unwritten = unwritten
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if unwritten.packs.is_empty() || shared.has_failed() {
        return Ok(());
    }
    index(shared, &mut unwritten)
}

fn store_all(
    shared: &Shared,
    packs: &Receiver<FinishedPack>,
    unwritten: &Mutex<Unwritten>,
) -> Result<()> {
    for FinishedPack { parts, record } in packs {
        if shared.has_failed() {
            continue;
        }
        if let Some(journal) = &shared.journal {
            journal.note(&record.pack);
        }
        put_verified(
            shared.repository.backend.as_ref(),
            &pack_key(&record.pack),
            &parts,
            &record.pack,
        )?;
        shared
            .added_stored_bytes
            .fetch_add(record.size, Ordering::Relaxed);
        Progress::add(&shared.progress.stored_bytes, record.size);
        add(shared, unwritten, record)?;
    }
    Ok(())
}

/// Remembers a stored pack; with enough of them, writes a fragment.
fn add(shared: &Shared, unwritten: &Mutex<Unwritten>, record: PackRecord) -> Result<()> {
    let mut unwritten = unwritten.lock().unwrap_or_else(PoisonError::into_inner);
    unwritten.chunks += record.chunk_count();
    unwritten.packs.push(record);
    if unwritten.chunks >= FRAGMENT_CHUNKS_MAX {
        index(shared, &mut unwritten)
    } else {
        Ok(())
    }
}

fn index(shared: &Shared, unwritten: &mut Unwritten) -> Result<()> {
    shared.repository.put_fragment(&unwritten.packs)?;
    shared.known.settle(&unwritten.packs)?;
    *unwritten = Unwritten::default();
    Ok(())
}
