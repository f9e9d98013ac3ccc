//! Signed, encrypted records: one line of JSON that names the signer, then one complete age file.
//!
//! `head -n 1` shows the header, `tail -n +2 | age -d | zstd -d` the content.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::crypto::encryption::{Identities, Recipients};
use crate::crypto::signing::{HostSigner, SignerId, SignerRole, is_valid_signature};
use crate::crypto::trust::TrustStore;
use crate::error::{Error, Result};

/// The format of envelopes this program writes and reads.
pub(crate) const ENVELOPE_FORMAT: u64 = 1;

/// Limit of a header line in bytes; a real one has about 300.
const HEADER_BYTES_MAX: usize = 1024;

/// How many bytes are compared at a time.
const COMPARE_BUFFER_BYTES: usize = 64 << 10;

/// What an envelope contains. The kind is signed, so a record cannot pass for one of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordKind {
    /// A snapshot root.
    Snapshot,
    /// An index fragment.
    Index,
    /// The directory of a pack.
    Pack,
    /// The description of a log segment.
    Log,
    /// A change of keys. Its body is not encrypted: see [`seal_unencrypted`].
    Keys,
    /// Which snapshots are forgotten.
    Tombstone,
    /// An active run.
    Lease,
    /// What a prune is about to delete.
    Sweep,
    /// What is damaged.
    Quarantine,
    /// Which packs were re-encrypted.
    Replaced,
}

impl RecordKind {
    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
            Self::Log => "log",
            Self::Keys => "keys",
            Self::Tombstone => "tombstone",
            Self::Lease => "lease",
            Self::Sweep => "sweep",
            Self::Quarantine => "quarantine",
            Self::Replaced => "replaced",
        }
    }

    /// Whose signatures are valid: those of any of these roles.
    pub(crate) fn signer_roles(self) -> &'static [SignerRole] {
        match self {
            Self::Snapshot | Self::Index | Self::Pack | Self::Log => &[SignerRole::Writer],
            Self::Keys | Self::Tombstone | Self::Quarantine | Self::Replaced | Self::Sweep => {
                &[SignerRole::Keeper]
            }
            Self::Lease => &[SignerRole::Writer, SignerRole::Keeper],
        }
    }
}

/// What the header contains in every version; the kind may be known to that version only.
#[derive(Debug, Serialize, Deserialize)]
struct EnvelopeHeader {
    reprise: u64,
    kind: String,
    signer: SignerId,
    signature: String,
}

/// The bytes that are signed for a record, in every version.
fn message_to_sign(version: u64, kind: &str, repository: &str, body: &[u8]) -> String {
    format!(
        "reprise {version} {kind} {repository} {}",
        blake3::hash(body)
    )
}

/// Compresses, encrypts and signs a record.
///
/// # Errors
/// When compressing or encrypting fails.
pub(crate) fn seal_record(
    kind: RecordKind,
    content: &[u8],
    recipients: &Recipients,
    signer: &HostSigner,
    repository: &str,
) -> Result<Vec<u8>> {
    let internal = |error: &dyn std::fmt::Display| {
        Error::Internal(format!(
            "cannot compress, encrypt or sign a record: {error}"
        ))
    };
    let compressed = zstd::bulk::compress(content, 3).map_err(|e| internal(&e))?;
    let body = recipients.encrypt(&compressed)?;
    sign_body(kind, &body, signer, repository).map_err(|e| internal(&e))
}

/// Compresses and signs a record that everybody can read, as some must be read before anything can be decrypted.
///
/// # Errors
/// When compressing fails.
pub(crate) fn seal_unencrypted(
    kind: RecordKind,
    content: &[u8],
    signer: &HostSigner,
    repository: &str,
) -> Result<Vec<u8>> {
    zstd::bulk::compress(content, 3)
        .and_then(|body| sign_body(kind, &body, signer, repository).map_err(Into::into))
        .map_err(|error| {
            Error::Internal(format!(
                "cannot compress, encrypt or sign a record: {error}"
            ))
        })
}

fn sign_body(
    kind: RecordKind,
    body: &[u8],
    signer: &HostSigner,
    repository: &str,
) -> serde_json::Result<Vec<u8>> {
    sign_body_as(ENVELOPE_FORMAT, kind.name(), body, signer, repository)
}

/// A record of a given version.
pub(crate) fn sign_body_as(
    version: u64,
    kind: &str,
    body: &[u8],
    signer: &HostSigner,
    repository: &str,
) -> serde_json::Result<Vec<u8>> {
    let message = message_to_sign(version, kind, repository, body);
    let header = EnvelopeHeader {
        reprise: version,
        kind: kind.to_owned(),
        signer: signer.id(),
        signature: hex::encode(signer.sign(message.as_bytes())),
    };
    let mut sealed = serde_json::to_vec(&header)?;
    sealed.push(b'\n');
    sealed.extend_from_slice(body);
    Ok(sealed)
}

/// A record with a valid signature; still encrypted.
#[derive(Debug)]
pub(crate) struct VerifiedRecord<'a> {
    /// Who signed it.
    pub signer: SignerId,
    version: u64,
    body: &'a [u8],
}

/// Verifies who signed a record. No identity is needed.
///
/// # Errors
/// [`Error::Damaged`] for anything that no known signer with the right role has signed as this kind for this
/// repository, [`Error::UnsupportedFormat`] for a newer format that such a signer has signed.
pub(crate) fn verify_record<'a>(
    kind: RecordKind,
    sealed: &'a [u8],
    object: &dyn std::fmt::Display,
    trust: &TrustStore,
) -> Result<VerifiedRecord<'a>> {
    let claimed = parse_record(kind, sealed, object)?;
    trust
        .check_signer(&claimed.signer, kind.signer_roles(), &object.to_string())
        .map_err(|reason| Error::damaged_object(&object, reason))?;
    let verified = claimed.verify_signature(object, trust.repository())?;
    verified.require_known_format(object)
}

/// A record that names its signer; not yet verified.
#[derive(Debug)]
pub(crate) struct UnverifiedRecord<'a> {
    /// Who signed it, as it claims.
    pub signer: SignerId,
    version: u64,
    kind: String,
    signature: [u8; 64],
    body: &'a [u8],
}

/// Parses a record.
///
/// # Errors
/// [`Error::Damaged`] when it is not of this kind. A newer version's record is parsed as well: only its signature
/// shows whether it is genuine, as anybody can write a version number.
pub(crate) fn parse_record<'a>(
    kind: RecordKind,
    sealed: &'a [u8],
    object: &dyn std::fmt::Display,
) -> Result<UnverifiedRecord<'a>> {
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
    let header: EnvelopeHeader =
        serde_json::from_slice(line).map_err(|_| damaged("its header line cannot be parsed"))?;
    if header.reprise <= ENVELOPE_FORMAT && header.kind != kind.name() {
        return Err(damaged("it is a record of another kind"));
    }
    let mut signature = [0; 64];
    hex::decode_to_slice(&header.signature, &mut signature)
        .map_err(|_| damaged("its signature is not 128 hexadecimal digits"))?;
    Ok(UnverifiedRecord {
        signer: header.signer,
        version: header.reprise,
        kind: header.kind,
        signature,
        body,
    })
}

impl<'a> UnverifiedRecord<'a> {
    /// Verifies that the signer it names has signed it, whoever that is.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(crate) fn verify_signature(
        self,
        object: &dyn std::fmt::Display,
        repository: &str,
    ) -> Result<VerifiedRecord<'a>> {
        let message = message_to_sign(self.version, &self.kind, repository, self.body);
        if is_valid_signature(&self.signer, message.as_bytes(), &self.signature) {
            Ok(VerifiedRecord {
                signer: self.signer,
                version: self.version,
                body: self.body,
            })
        } else {
            Err(Error::damaged_object(
                &object,
                "its signature is invalid: the object was altered or forged",
            ))
        }
    }
}

impl VerifiedRecord<'_> {
    /// Returns itself, if this program knows its format.
    ///
    /// # Errors
    /// [`Error::UnsupportedFormat`] for a newer one.
    pub(crate) fn require_known_format(self, object: &dyn std::fmt::Display) -> Result<Self> {
        if self.version > ENVELOPE_FORMAT {
            return Err(Error::UnsupportedFormat {
                object: object.to_string(),
                found: self.version,
                known: ENVELOPE_FORMAT,
            });
        }
        Ok(self)
    }

    /// Decrypts and decompresses the content.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`], or [`Error::Damaged`] when it is larger than `size_max`, incomplete or damaged.
    pub(crate) fn open(
        &self,
        identities: &Identities,
        object: &dyn std::fmt::Display,
        recipients: &[String],
        size_max: usize,
    ) -> Result<Vec<u8>> {
        let compressed = identities.decrypt(self.body, object, recipients, size_max)?;
        decompress_frame(&compressed, size_max).map_err(|reason| Error::Damaged {
            object: object.to_string(),
            reason,
        })
    }

    /// Decompresses the content of a record that everybody can read.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is larger than `size_max`, incomplete or damaged.
    pub(crate) fn open_unencrypted(
        &self,
        object: &dyn std::fmt::Display,
        size_max: usize,
    ) -> Result<Vec<u8>> {
        decompress_frame(self.body, size_max)
            .map_err(|reason| Error::damaged_object(&object, reason))
    }
}

/// The size in the header of a zstd frame, which may be at most `size_max`.
fn frame_content_size(compressed: &[u8], size_max: usize) -> Result<usize, String> {
    let size = zstd::zstd_safe::get_frame_content_size(compressed)
        .map_err(|_| "it is not a zstd frame".to_owned())?
        .ok_or("its zstd frame does not state its size")?;
    let size = usize::try_from(size).map_err(|e| e.to_string())?;
    match size > size_max {
        true => Err(format!(
            "it claims to decompress to {size} bytes, more than the allowed {size_max}"
        )),
        false => Ok(size),
    }
}

/// Whether [`decompress_frame`] would return these bytes, without holding them twice in memory.
pub(crate) fn decompresses_to(
    compressed: &[u8],
    size_max: usize,
    plain: &[u8],
) -> Result<bool, String> {
    if frame_content_size(compressed, size_max)? != plain.len() {
        return Ok(false);
    }
    let failed = |error: std::io::Error| error.to_string();
    let mut decoder = zstd::Decoder::with_buffer(compressed).map_err(failed)?;
    let (mut rest, mut buffer) = (plain, [0; COMPARE_BUFFER_BYTES]);
    loop {
        let read = decoder.read(&mut buffer).map_err(failed)?;
        match (read, rest.split_at_checked(read)) {
            (0, _) => return Ok(rest.is_empty()),
            (_, Some((same, later))) if same == &buffer[..read] => rest = later,
            _ => return Ok(false),
        }
    }
}

/// Decompresses one zstd frame whose header states its size, which may be at most `size_max`.
pub(crate) fn decompress_frame(compressed: &[u8], size_max: usize) -> Result<Vec<u8>, String> {
    let size = frame_content_size(compressed, size_max)?;
    let plain = zstd::bulk::decompress(compressed, size).map_err(|e| e.to_string())?;
    if plain.len() == size {
        Ok(plain)
    } else {
        Err("it decompresses to fewer bytes than stated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decompresses_to_other_bytes_is_told_apart() {
        let plain: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let frame = zstd::bulk::compress(&plain, 3).unwrap();
        let size_max = plain.len();
        assert!(decompresses_to(&frame, size_max, &plain).unwrap());
        for place in [0, COMPARE_BUFFER_BYTES, plain.len() - 1] {
            let mut other = plain.clone();
            other[place] ^= 1;
            assert!(!decompresses_to(&frame, size_max, &other).unwrap());
        }
        assert!(!decompresses_to(&frame, size_max, &plain[1..]).unwrap());
        decompresses_to(&frame, size_max - 1, &plain).unwrap_err();
        decompresses_to(&frame[..frame.len() - 1], size_max, &plain).unwrap_err();
    }
}
