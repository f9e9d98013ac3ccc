//! Shared access signatures: an account's key signs a short-lived permission for one container.
//!
//! Source: "Create a service SAS" of the vendor's REST documentation, version 2021-12-02.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::Secret;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use chrono::{DateTime, TimeDelta, Utc};

/// The version of the signature's format.
const SAS_VERSION: &str = "2021-12-02";

/// A signature is created for each request; it expires soon, and clocks may differ a little.
const LIFETIME: TimeDelta = TimeDelta::minutes(30);
const CLOCK_DIFFERENCE: TimeDelta = TimeDelta::minutes(10);

/// Read, add, create, write, delete (also versions), list, set immutability.
const PERMISSIONS: &str = "racwdxli";

/// Where a signature comes from.
pub(super) enum SasSource {
    /// A given token; it is used as it is.
    Token(Vec<(String, String)>),
    /// An account's key.
    AccountKey {
        account: String,
        container: String,
        key: Secret,
        /// Whether the endpoint has no TLS, as with emulators.
        plain: bool,
    },
}

impl std::fmt::Debug for SasSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Signature(***)")
    }
}

impl SasSource {
    /// Parses a token as copied from a portal, with or without its question mark.
    pub(super) fn from_token(token: &str) -> Self {
        let query = token.trim().trim_start_matches('?');
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self::Token(pairs.into_owned().collect())
    }

    fn query_pairs(&self, now: DateTime<Utc>) -> azure_core::Result<Vec<(String, String)>> {
        match self {
            Self::Token(pairs) => Ok(pairs.clone()),
            Self::AccountKey {
                account,
                container,
                key,
                plain,
            } => sign_query(account, container, key, *plain, now),
        }
    }
}

fn sign_query(
    account: &str,
    container: &str,
    key: &Secret,
    plain: bool,
    now: DateTime<Utc>,
) -> azure_core::Result<Vec<(String, String)>> {
    let time = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (start, end) = (time(now - CLOCK_DIFFERENCE), time(now + LIFETIME));
    let protocol = if plain { "https,http" } else { "https" };
    let resource = format!("/blob/{account}/{container}");
    // The order is fixed; empty lines stand for unused fields.
    let text = [
        PERMISSIONS,
        &start,
        &end,
        &resource,
        "",
        "",
        protocol,
        SAS_VERSION,
        "c",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
    ]
    .join("\n");
    let signature = azure_core::hmac::hmac_sha256(&text, key)?;
    let pairs = [
        ("sv", SAS_VERSION),
        ("sr", "c"),
        ("sp", PERMISSIONS),
        ("st", &start),
        ("se", &end),
        ("spr", protocol),
        ("sig", &signature),
    ];
    Ok(pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Signs every request separately, so that long runs never outlive a signature.
#[derive(Debug)]
pub(super) struct SasPolicy(pub(super) SasSource);

#[async_trait]
impl Policy for SasPolicy {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let pairs = self.0.query_pairs(Utc::now())?;
        request.url_mut().query_pairs_mut().extend_pairs(pairs);
        match next {
            [first, rest @ ..] => first.send(context, request, rest).await,
            [] => Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Other,
                "no HTTP transport is configured",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_with_or_without_its_question_mark() {
        for token in ["?sv=1&sig=a%2Bb%3D", " sv=1&sig=a%2Bb%3D\n"] {
            let pairs = SasSource::from_token(token)
                .query_pairs(Utc::now())
                .unwrap();
            let expected = [("sv", "1"), ("sig", "a+b=")].map(|(n, v)| (n.into(), v.into()));
            assert_eq!(pairs, expected);
        }
    }

    #[test]
    fn a_signature_ends_soon_and_is_never_shown() {
        let signature = SasSource::AccountKey {
            account: "a".to_owned(),
            container: "c".to_owned(),
            key: Secret::new("aGlkZGVu"),
            plain: false,
        };
        assert!(!format!("{signature:?}").contains("aGlk"));
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let pairs = signature.query_pairs(now).unwrap();
        let value = |name: &str| pairs.iter().find(|pair| pair.0 == name).unwrap().1.clone();
        assert_eq!(value("se"), "2023-11-14T22:43:20Z");
        assert_eq!(value("spr"), "https");
        assert_eq!(value("sig").len(), 44);
    }
}
