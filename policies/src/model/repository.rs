//! A repository in a policy: where it is, who can read it, which signers are trusted, and whether to create it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::schema::policy_keys::{CREATE, IMMUTABLE_DAYS_MAX, LOCK_MODES, REPOSITORY};
use crate::values::location::{self, RepositoryLocation};
use crate::values::names::quote;
use crate::values::paths;
use crate::values::secret::{IdentityRef, ParsedReference, SecretRef, parse_reference};
use crate::yaml::decoder::{Decoder, Field, Fields};
use crate::yaml::document::YamlValue;

/// A repository of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyRepository {
    /// Its name in the policy.
    pub name: String,
    /// Its location.
    pub url: RepositoryLocation,
    /// Age or SSH public keys for a repository that is created.
    pub recipients: Vec<String>,
    /// The signers that are trusted; empty means: those seen first.
    pub signers: Vec<SignerKey>,
    /// The identity with which drills read.
    pub identity: Option<IdentityRef>,
    /// Whether and how to create it when it is missing.
    pub create: Option<PolicyCreation>,
    /// Every stored object is locked against deletion for this many days; never given for a directory.
    pub immutable_days: Option<u32>,
    /// The lock mode; unused without `immutable_days`.
    pub lock_mode: PolicyLockMode,
    /// The S3 storage class or Azure access tier of packs.
    pub storage_class: Option<String>,
    /// S3: whether requests name the bucket in the path; `None` when the policy does not say.
    pub path_style: Option<bool>,
    /// Whether an endpoint with plain HTTP on another host is accepted.
    pub allow_http: bool,
    /// The most bytes to send per second, not zero.
    pub limit_upload: Option<u64>,
    /// The most bytes to receive per second, not zero.
    pub limit_download: Option<u64>,
    /// How long a failed request is retried; `None` when the policy does not say.
    pub retry_for: Option<Duration>,
    /// Its failure domain, in the author's words; `None` when its location says it.
    pub failure_domain: Option<String>,
}

/// The lock mode of stored objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PolicyLockMode {
    /// A user with a special permission may lift the lock early.
    Governance,
    /// Nobody may lift it, not even the owner of the account.
    #[default]
    Compliance,
}

/// How to create a repository. Together with the recipients this gives at least one identity; two, unless
/// `single_recipient` is set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyCreation {
    /// Files to which new recovery identities are written, absolute.
    pub generate_identities: Vec<PathBuf>,
    /// A repository that only one key can read is accepted.
    pub single_recipient: bool,
    /// The file of a keeper's keys, absolute; created with the repository if it does not exist.
    pub keeper: Option<PathBuf>,
    /// The passphrase of the escrow key, if the repository is to keep a keeper's key; never [`SecretRef::Literal`].
    pub escrow: Option<SecretRef>,
}

/// The ed25519 public key of a signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignerKey([u8; 32]);

impl SignerKey {
    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for SignerKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for SignerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Decodes `repositories.NAME`.
pub(crate) fn decode(
    decoder: &mut Decoder<'_>,
    name: &str,
    field: Field<'_>,
) -> Option<PolicyRepository> {
    let fields = decoder.object(field, &REPOSITORY)?;
    let url = decoder.value(&fields, "url", decode_url);
    let recipients = decoder.list(fields.get("recipients"), decode_recipient);
    let signers = decoder.list(fields.get("signers"), |decoder, item| {
        decode_hex64(decoder, item).map(SignerKey)
    });
    let identity = decoder.value(&fields, "identity", decode_identity);
    let recipients_written = count_written_items(fields.get("recipients").as_ref());
    let create = fields
        .get("create")
        .and_then(|field| decode_creation(decoder, field, recipients_written));
    let lock_mode = decoder
        .value(&fields, "lock_mode", decode_lock_mode)
        .unwrap_or_default();
    let immutable_days = decoder.value(&fields, "immutable_days", decode_immutable_days);
    refuse_locked_directory(decoder, &fields, url.as_ref());
    Some(PolicyRepository {
        name: name.to_owned(),
        url: url?,
        recipients,
        signers,
        identity,
        create,
        immutable_days,
        lock_mode,
        storage_class: decoder.value(&fields, "storage_class", Decoder::owned_text),
        path_style: decoder.value(&fields, "path_style", Decoder::flag),
        allow_http: decoder
            .value(&fields, "allow_http", Decoder::flag)
            .unwrap_or(false),
        limit_upload: decoder.value(&fields, "limit_upload", Decoder::rate),
        limit_download: decoder.value(&fields, "limit_download", Decoder::rate),
        retry_for: decoder.value(&fields, "retry_for", Decoder::duration),
        failure_domain: decoder.value(&fields, "failure_domain", Decoder::owned_text),
    })
}

fn decode_immutable_days(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<u32> {
    let days = decoder.count_up_to(field, IMMUTABLE_DAYS_MAX)?;
    Some(days.get())
}

fn decode_lock_mode(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<PolicyLockMode> {
    decoder.word(field, ("lock mode", "mode"), LOCK_MODES, |word| {
        Some(match word {
            "governance" => PolicyLockMode::Governance,
            "compliance" => PolicyLockMode::Compliance,
            _ => return None,
        })
    })
}

/// A user who requires locks relies on them; a warning would leave them with none.
fn refuse_locked_directory(
    decoder: &mut Decoder<'_>,
    fields: &Fields<'_>,
    url: Option<&RepositoryLocation>,
) {
    if let Some(field) = fields.get("immutable_days")
        && url.is_some_and(|url| url.directory().is_some())
    {
        let help = "use a repository in `s3://` or `azure://`, or remove `immutable_days`";
        decoder.report_error_at_key(
            &field,
            "a local directory cannot lock objects",
            Some(help.to_owned()),
        );
    }
}

fn decode_url(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<RepositoryLocation> {
    let text = decoder.text(field)?;
    match location::parse(text, decoder.base) {
        Ok(url) => Some(url),
        Err(problem) => {
            if text.contains(['@', '?', '#']) {
                decoder.report.hide_secret(field.node.mark);
            }
            decoder.report_error_with_help(field, problem.to_string(), location::hint(&problem));
            None
        }
    }
}

fn decode_recipient(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") || text.contains("PRIVATE KEY") {
        decoder.report.hide_secret(field.node.mark);
        let help =
            "put the public key here (`age1...`), and treat the secret one as disclosed".to_owned();
        decoder.report_error_with_help(
            field,
            "this is a secret key; a recipient is a public one",
            Some(help),
        );
        return None;
    }
    let is_public = text.starts_with("age1")
        || text.starts_with("ssh-ed25519 ")
        || text.starts_with("ssh-rsa ");
    if is_public && !text.chars().any(char::is_control) {
        return Some(text.to_owned());
    }
    let help = "a recipient is `age1...`, `ssh-ed25519 ...` or `ssh-rsa ...`".to_owned();
    decoder.report_error_with_help(
        field,
        format!("{} is not a public key that age knows", quote(text)),
        Some(help),
    );
    None
}

/// The value of a hexadecimal digit.
fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// 64 hexadecimal digits.
pub(crate) fn decode_hex64(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<[u8; 32]> {
    let text = decoder.text(field)?;
    let digits: Option<Vec<u8>> = text.bytes().map(hex_digit).collect();
    let bytes = digits.filter(|digits| digits.len() == 64).map(|digits| {
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
        }
        bytes
    });
    if bytes.is_none() {
        decoder.report_error(
            field,
            format!("expected 64 hexadecimal digits, found {}", quote(text)),
        );
    }
    bytes
}

/// `file:PATH` or `${env:NAME}`.
pub(crate) fn decode_identity(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<IdentityRef> {
    let text = decoder.text(field)?;
    let help = "write `file:PATH`, or `${env:NAME}` for a variable that holds the path".to_owned();
    match parse_reference(text) {
        ParsedReference::Env(name) => Some(IdentityRef::Env(name.to_owned())),
        ParsedReference::File(path) => Some(IdentityRef::File(paths::resolve(decoder.base, path))),
        ParsedReference::Malformed(reason) => {
            decoder.report_error_with_help(field, reason, Some(help));
            None
        }
        ParsedReference::Plain => {
            // It may be a pasted key; neither the message nor the excerpt may show it.
            decoder.report.hide_secret(field.node.mark);
            decoder.report_error_with_help(
                field,
                "expected a reference to an identity file, not the identity itself",
                Some(help),
            );
            None
        }
    }
}

fn decode_creation(
    decoder: &mut Decoder<'_>,
    field: Field<'_>,
    recipients_written: usize,
) -> Option<PolicyCreation> {
    let fields = decoder.object(field, &CREATE)?;
    let generate_identities = decoder.list(fields.get("generate_identities"), decode_path);
    let single_recipient = decoder
        .value(&fields, "single_recipient", Decoder::flag)
        .unwrap_or(false);
    let mut distinct = generate_identities.clone();
    distinct.sort();
    distinct.dedup();
    if distinct.len() < generate_identities.len() {
        decoder.report_error_at_key(
            &fields.whole,
            "two identities would be written to the same file",
            None,
        );
    }
    let wanted = if single_recipient { 1 } else { 2 };
    if count_written_items(fields.get("generate_identities").as_ref()) + recipients_written < wanted
    {
        let message = "`create` needs two recipients or identities: if the only key is lost, so is the repository";
        let help = "add to `recipients` or `create.generate_identities`, or accept the risk with `single_recipient: true`";
        decoder.report_error_at_key(&fields.whole, message, Some(help.to_owned()));
    }
    Some(PolicyCreation {
        generate_identities,
        keeper: decoder.value(&fields, "keeper", decode_path),
        escrow: decoder.value(&fields, "escrow", decode_escrow),
        single_recipient,
    })
}

/// `file:PATH` or `${env:NAME}`, never the passphrase itself.
fn decode_escrow(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<SecretRef> {
    let text = decoder.text(field)?;
    let reason = match parse_reference(text) {
        ParsedReference::Env(name) => return Some(SecretRef::Env(name.to_owned())),
        ParsedReference::File(path) => {
            return Some(SecretRef::File(paths::resolve(decoder.base, path)));
        }
        ParsedReference::Malformed(reason) => reason,
        ParsedReference::Plain => "expected a reference to a passphrase, not the passphrase itself",
    };
    decoder.report.hide_secret(field.node.mark);
    let help = "write `${env:NAME}` or `file:PATH`".to_owned();
    decoder.report_error_with_help(field, reason, Some(help));
    None
}

/// How many items a list has in the file. Bad ones were reported, and are not missing as well.
fn count_written_items(field: Option<&Field<'_>>) -> usize {
    match field.map(|field| &field.node.value) {
        Some(YamlValue::List(items)) => items.len(),
        _ => 0,
    }
}

/// A path, relative to the policy file.
pub(crate) fn decode_path(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<PathBuf> {
    let text = decoder.text(field)?;
    if text.contains("://") {
        let message = format!(
            "expected a path on this host, found {}",
            quote(text.split("://").next().unwrap_or(""))
        );
        decoder.report.hide_secret(field.node.mark);
        decoder.report_error_with_help(
            field,
            message,
            Some("URLs are not supported here by this version".to_owned()),
        );
        return None;
    }
    Some(paths::resolve(decoder.base, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_key_is_shown_as_it_is_written() {
        let mut bytes = [0xab; 32];
        bytes[0] = 1;
        assert_eq!(
            SignerKey(bytes).to_string(),
            format!("01{}", "ab".repeat(31))
        );
    }
}
