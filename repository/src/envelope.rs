//! Signed, encrypted records: one line of JSON that names the signer, then one complete age file.
//!
//! `head -n 1` shows the header, `tail -n +2 | age -d | zstd -d` the content.

use serde::{Deserialize, Serialize};

use crate::config::Trust;
use crate::crypt::{Identities, Recipients};
use crate::error::{Error, Result};
use crate::sign::{HostSigner, Role, SignerId, signature_is_good};

/// The format of envelopes this program writes and reads.
pub(crate) const ENVELOPE_FORMAT: u64 = 1;

/// No header line is longer; a real one has about 300 bytes.
const HEADER_BYTES_MAX: usize = 1024;

/// What an envelope holds. The kind is signed, so a record cannot stand in for one of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordKind {
    /// A snapshot root.
    Snapshot,
    /// An index fragment.
    Index,
    /// The directory of a pack.
    Pack,
    /// What a piece of a log holds.
    Log,
}

impl RecordKind {
    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
            Self::Log => "log",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    reprise: u64,
    kind: RecordKind,
    signer: SignerId,
    signature: String,
}

#[derive(Deserialize)]
struct HeaderVersion {
    reprise: u64,
}

/// The bytes that are signed for a record.
fn signed_message(kind: RecordKind, repository: &str, body: &[u8]) -> String {
    format!(
        "reprise {ENVELOPE_FORMAT} {} {repository} {}",
        kind.name(),
        blake3::hash(body)
    )
}

/// Compresses, encrypts and signs a record.
///
/// # Errors
/// When compressing or encrypting fails.
pub(crate) fn seal(
    kind: RecordKind,
    content: &[u8],
    recipients: &Recipients,
    signer: &HostSigner,
    repository: &str,
) -> Result<Vec<u8>> {
    let internal =
        |error: &dyn std::fmt::Display| Error::Internal(format!("sealing a record: {error}"));
    let compressed = zstd::bulk::compress(content, 3).map_err(|e| internal(&e))?;
    let body = recipients.encrypt(&compressed)?;
    let signature = signer.sign(signed_message(kind, repository, &body).as_bytes());
    let header = Header {
        reprise: ENVELOPE_FORMAT,
        kind,
        signer: signer.id(),
        signature: hex::encode(signature),
    };
    let mut sealed = serde_json::to_vec(&header).map_err(|e| internal(&e))?;
    sealed.push(b'\n');
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// A record whose signature is good; still encrypted.
#[derive(Debug)]
pub(crate) struct Verified<'a> {
    /// Who signed it.
    pub signer: SignerId,
    body: &'a [u8],
}

/// Checks who signed a record. No identity is needed.
///
/// # Errors
/// [`Error::Damaged`] for anything that no known writer has signed as this kind for this repository,
/// [`Error::UnsupportedFormat`] for a newer format.
pub(crate) fn verify<'a>(
    kind: RecordKind,
    sealed: &'a [u8],
    object: &dyn std::fmt::Display,
    trust: &Trust,
) -> Result<Verified<'a>> {
    let damaged = |reason: &str| Error::Damaged {
        object: object.to_string(),
        reason: reason.to_owned(),
    };
    let head = &sealed[..sealed.len().min(HEADER_BYTES_MAX)];
    let line_end = head
        .iter()
        .position(|b| *b == b'\n')
        .ok_or_else(|| damaged("it does not begin with a header line"))?;
    let (line, body) = (&sealed[..line_end], &sealed[line_end + 1..]);
    let version: HeaderVersion =
        serde_json::from_slice(line).map_err(|_| damaged("its header line cannot be read"))?;
    if version.reprise > ENVELOPE_FORMAT {
        return Err(Error::UnsupportedFormat {
            object: object.to_string(),
            found: version.reprise,
            known: ENVELOPE_FORMAT,
        });
    }
    let header: Header =
        serde_json::from_slice(line).map_err(|_| damaged("its header line cannot be read"))?;
    if header.kind != kind {
        return Err(damaged("it is a record of another kind"));
    }
    if !trust.allows(&header.signer, Role::Writer) {
        return Err(damaged(&format!(
            "its signer {} is not known to this repository",
            header.signer
        )));
    }
    let mut signature = [0; 64];
    hex::decode_to_slice(&header.signature, &mut signature)
        .map_err(|_| damaged("its signature is not 128 hexadecimal digits"))?;
    let message = signed_message(kind, trust.repository(), body);
    if signature_is_good(&header.signer, message.as_bytes(), &signature) {
        Ok(Verified {
            signer: header.signer,
            body,
        })
    } else {
        Err(damaged("its signature is wrong: it was altered or forged"))
    }
}

impl Verified<'_> {
    /// Decrypts and decompresses the content.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`], or [`Error::Damaged`] when it is larger than `size_max` or not whole.
    pub(crate) fn open(
        &self,
        identities: &Identities,
        object: &dyn std::fmt::Display,
        recipients: &[String],
        size_max: usize,
    ) -> Result<Vec<u8>> {
        let compressed = identities.decrypt(self.body, object, recipients, size_max)?;
        decompress(&compressed, size_max).map_err(|reason| Error::Damaged {
            object: object.to_string(),
            reason,
        })
    }
}

/// Decompresses one zstd frame whose header states its size, which may be at most `size_max`.
pub(crate) fn decompress(compressed: &[u8], size_max: usize) -> Result<Vec<u8>, String> {
    let size = zstd::zstd_safe::get_frame_content_size(compressed)
        .map_err(|_| "it is not a zstd frame".to_owned())?
        .ok_or("its zstd frame does not state its size")?;
    let size = usize::try_from(size).map_err(|e| e.to_string())?;
    if size > size_max {
        return Err(format!(
            "it claims to decompress to {size} bytes, more than the allowed {size_max}"
        ));
    }
    let plain = zstd::bulk::decompress(compressed, size).map_err(|e| e.to_string())?;
    if plain.len() == size {
        Ok(plain)
    } else {
        Err("it decompresses to fewer bytes than stated".to_owned())
    }
}
