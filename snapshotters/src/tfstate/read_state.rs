//! Reading a state file: its bytes, its facts, and what is wrong with it.

use std::fs;
use std::path::Path;

use reprise_repository::{Entry, RawText, Repository, Warning};
use serde::Deserialize;

use super::rules::state_warning;
use super::state_facts::{StateFacts, hash_content};
use super::state_files::ERRORED_NAME;
use super::state_text::{StateFields, comparable_text, parse_state};
use crate::error::{Error, Result};
use crate::volume::metadata::entry_from_metadata;

/// States are read whole. The largest seen in practice have some tens of MiB.
const STATE_BYTES_MAX: u64 = 1 << 30;

/// A state that was read.
pub(super) struct LoadedState {
    pub(super) entry: Entry,
    pub(super) bytes: Vec<u8>,
    pub(super) facts: StateFacts,
}

/// Reads a state, and what is wrong with it.
///
/// # Errors
/// [`Error::Unreadable`], or [`Error::InvalidState`] when it is none.
pub(super) fn read_state(
    repository: &Repository,
    name: &str,
    file: &Path,
    warnings: &mut Vec<Warning>,
) -> Result<LoadedState> {
    let unreadable = |source| Error::Unreadable {
        path: file.to_owned(),
        source,
    };
    let not_a_state = |reason: String| Error::InvalidState {
        path: file.to_owned(),
        reason,
    };
    let meta = fs::metadata(file).map_err(unreadable)?;
    if meta.len() > STATE_BYTES_MAX {
        return Err(not_a_state(format!(
            "it is too large ({} bytes)",
            meta.len()
        )));
    }
    if let Some(holder) = lock_holder(file) {
        warnings.push(state_warning(
            name,
            format!("it is locked by {holder} and may be changing"),
        ));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    let fields = match parse_fields(name, &bytes, warnings) {
        // Terraform was interrupted when it wrote this one: its bytes are kept, whatever they are.
        Err(reason) if name == ERRORED_NAME => {
            warnings.push(state_warning(
                name,
                format!("alarm: it is no complete state: {reason}"),
            ));
            StateFields::default()
        }
        parsed => parsed.map_err(not_a_state)?,
    };
    let facts = StateFacts {
        resources: fields.resources.map(|resources| resources.len() as u64),
        lineage: fields.lineage,
        serial: fields.serial,
        terraform_version: fields.terraform_version,
        content_id: hash_content(repository, &bytes),
        comparable_id: comparable_text(&bytes).map(|text| hash_content(repository, &text)),
    };
    let mut entry = entry_from_metadata(RawText::from(name), &meta);
    entry.size = bytes.len() as u64;
    Ok(LoadedState {
        entry,
        bytes,
        facts,
    })
}

/// The fields of a state; an empty file has none.
fn parse_fields(
    name: &str,
    bytes: &[u8],
    warnings: &mut Vec<Warning>,
) -> std::result::Result<StateFields, String> {
    if bytes.is_empty() {
        warnings.push(state_warning(name, "it is empty".to_owned()));
        return Ok(StateFields::default());
    }
    let fields = parse_state(bytes)?;
    check_state(name, &fields, warnings)?;
    Ok(fields)
}

fn check_state(
    name: &str,
    state: &StateFields,
    warnings: &mut Vec<Warning>,
) -> std::result::Result<(), String> {
    if let Some(backend) = state.backend_pointer() {
        return Err(format!(
            "it only says that the state is in the backend `{backend}`: get the state with `terraform state pull > FILE`"
        ));
    }
    if state.encrypted_data.is_some() {
        // OpenTofu's own encryption: the content cannot be checked, and the key is not in the state.
        if state.serial.is_none() || state.lineage.is_none() {
            let message = "it is encrypted by OpenTofu: serial and lineage cannot be compared";
            warnings.push(state_warning(name, message.to_owned()));
        }
        return Ok(());
    }
    match state.version {
        Some(3 | 4) if state.serial.is_some() => Ok(()),
        Some(4) => Err("it has no serial".to_owned()),
        Some(version) => Err(format!(
            "its state format version {version} is not supported"
        )),
        None => Err("it has no state format version".to_owned()),
    }
}

/// Who holds Terraform's own lock on a local state, if anyone.
fn lock_holder(file: &Path) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct LockInfo {
        who: Option<String>,
        operation: Option<String>,
    }
    let name = format!(".{}.lock.info", file.file_name()?.to_str()?);
    let text = fs::read(file.with_file_name(name)).ok()?;
    let info: LockInfo = serde_json::from_slice(&text).unwrap_or(LockInfo {
        who: None,
        operation: None,
    });
    let who = info.who.unwrap_or_else(|| "someone".to_owned());
    Some(match info.operation {
        Some(operation) => format!("{who} ({operation})"),
        None => who,
    })
}
