//! What a server's error response means. S3 and Azure use different words for the same few things.

use std::error::Error as StdError;
use std::time::Duration;

use super::attempt::AttemptError;
use super::http::TransportError;
use crate::backend::{BackendError, ConfigurationError};

/// A response that is no success.
#[derive(Debug, Clone, Default)]
pub(super) struct ErrorResponse {
    pub(super) status: u16,
    /// The vendor's error code, if it gave one.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// The region that the server reports as right.
    pub(super) region: Option<String>,
    /// The server's clock, as it wrote it.
    pub(super) date: Option<String>,
}

impl ErrorResponse {
    /// Reads the fields of a response's headers.
    pub(super) fn from_headers(status: u16, header: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            status,
            code: header("x-ms-error-code").unwrap_or_default(),
            message: String::new(),
            retry_after: parse_retry_after(&header),
            region: header("x-amz-bucket-region"),
            date: header("date"),
        }
    }
}

/// The first of an error's causes that has a given type.
pub(super) fn find_cause<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The text of an element of an error document.
pub(super) fn xml_element(xml: &str, name: &str) -> Option<String> {
    let begin = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let length = xml[begin..].find(&format!("</{name}>"))?;
    Some(xml[begin..begin + length].to_owned())
}

fn parse_retry_after(header: &impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let milliseconds = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(header)
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_millis);
    milliseconds.or_else(|| {
        let text = header("retry-after")?;
        match text.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => duration_until(&text),
        }
    })
}

/// The time from now until an HTTP date.
fn duration_until(date: &str) -> Option<Duration> {
    let then = chrono::DateTime::parse_from_rfc2822(date).ok()?;
    (then.to_utc() - chrono::Utc::now()).to_std().ok()
}

impl From<TransportError> for AttemptError {
    fn from(no_answer: TransportError) -> Self {
        if no_answer.certificate_rejected {
            return Self::Permanent(BackendError::Configuration {
                problem: ConfigurationError::UntrustedCertificate,
                source: Box::new(no_answer),
            });
        }
        Self::Transient {
            answered: !no_answer.never_sent,
            source: Box::new(no_answer),
            retry_after: None,
        }
    }
}

/// An error response as text.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server returned {status}{}{}",
    prepend_unless_empty(" ", code),
    prepend_unless_empty(": ", message)
)]
pub(super) struct ServerError {
    status: u16,
    code: String,
    message: String,
}

fn prepend_unless_empty(before: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{before}{text}")
    }
}

/// Classifies an error response. `operation` and `key` name the attempt.
pub(super) fn classify_error_response(
    refusal: &ErrorResponse,
    operation: &'static str,
    key: &str,
) -> AttemptError {
    let source = || {
        Box::new(ServerError {
            status: refusal.status,
            code: refusal.code.clone(),
            message: refusal.message.chars().take(300).collect(),
        })
    };
    let key = key.to_owned();
    if is_transient(refusal) {
        return AttemptError::Transient {
            source: source(),
            retry_after: refusal.retry_after,
            answered: true,
        };
    }
    AttemptError::Permanent(if let Some(problem) = configuration_error(refusal) {
        BackendError::Configuration {
            problem,
            source: source(),
        }
    } else if is_locked(refusal, operation) {
        BackendError::Locked { key, until: None }
    } else {
        match refusal.status {
            404 => BackendError::NotFound { key },
            409 | 412 => BackendError::AlreadyExists { key },
            401 | 403 => BackendError::PermissionDenied {
                operation,
                key,
                source: source(),
            },
            507 => BackendError::NoSpace {
                operation,
                key,
                source: source(),
            },
            _ => BackendError::Rejected {
                operation,
                key,
                source: source(),
            },
        }
    })
}

fn is_transient(refusal: &ErrorResponse) -> bool {
    const CODES: [&str; 14] = [
        "RequestTimeout",
        "SlowDown",
        "ServerBusy",
        "InternalError",
        "OperationTimedOut",
        "OperationAborted",
        "ConditionalRequestConflict",
        // The data was corrupted in transit.
        "BadDigest",
        "InvalidDigest",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "Md5Mismatch",
        "Crc64Mismatch",
        "IncompleteBody",
    ];
    matches!(refusal.status, 408 | 429 | 500 | 502 | 503 | 504)
        || CODES.contains(&refusal.code.as_str())
}

fn configuration_error(refusal: &ErrorResponse) -> Option<ConfigurationError> {
    let code = refusal.code.as_str();
    let signature = [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSecurity",
        "InvalidToken",
        "ExpiredToken",
        "TokenRefreshRequired",
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "NoAuthenticationInformation",
        "UnrecognizedClientException",
    ];
    // Not all servers have their own code for it.
    let skewed = ["Date is too old", "not valid in the specified time frame"];
    if skewed.iter().any(|words| refusal.message.contains(words)) {
        return Some(ConfigurationError::ClockSkew {
            server: refusal.date.clone().unwrap_or_default(),
        });
    }
    match code {
        "NoSuchBucket" | "ContainerNotFound" | "AccountNotFound" | "ResourceNotFound" => {
            Some(ConfigurationError::BucketNotFound)
        }
        "RequestTimeTooSkewed" => Some(ConfigurationError::ClockSkew {
            server: refusal.date.clone().unwrap_or_default(),
        }),
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException" => Some(ConfigurationError::WrongRegion {
            right: refusal.region.clone(),
        }),
        _ if signature.contains(&code) => Some(ConfigurationError::InvalidCredentials),
        // Azure uses this code for network rules too; the message tells.
        "AuthorizationFailure" if refusal.message.contains("failed to authenticate") => {
            Some(ConfigurationError::InvalidCredentials)
        }
        "" if matches!(refusal.status, 301 | 307) => Some(ConfigurationError::WrongRegion {
            right: refusal.region.clone(),
        }),
        _ => None,
    }
}

fn is_locked(refusal: &ErrorResponse, operation: &str) -> bool {
    let code = refusal.code.as_str();
    code.contains("Immutable")
        || code == "ObjectLocked"
        || code == "BlobHasLegalHold"
        || (operation == "delete"
            && code == "AccessDenied"
            && ["WORM", "object lock", "Object Lock", "locked", "protected"]
                .iter()
                .any(|word| refusal.message.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_response(status: u16, code: &str) -> ErrorResponse {
        ErrorResponse {
            status,
            code: code.to_owned(),
            ..ErrorResponse::default()
        }
    }

    fn describe_class(status: u16, code: &str) -> String {
        match classify_error_response(&error_response(status, code), "write", "packs/x") {
            AttemptError::Transient { .. } => "transient".to_owned(),
            AttemptError::Permanent(BackendError::Configuration { problem, .. }) => {
                format!("{problem:?}")
            }
            AttemptError::Permanent(error) => error.to_string(),
        }
    }

    #[test]
    fn each_refusal_is_named_for_what_it_is() {
        for (status, code, expected) in [
            (404, "NoSuchKey", "packs/x does not exist"),
            (404, "", "packs/x does not exist"),
            (404, "BlobNotFound", "packs/x does not exist"),
            (404, "NoSuchBucket", "BucketNotFound"),
            (404, "ContainerNotFound", "BucketNotFound"),
            (403, "SignatureDoesNotMatch", "InvalidCredentials"),
            (403, "AuthenticationFailed", "InvalidCredentials"),
            (403, "AccessDenied", "no permission to write packs/x"),
            (
                403,
                "AuthorizationPermissionMismatch",
                "no permission to write packs/x",
            ),
            (403, "RequestTimeTooSkewed", "ClockSkew { server: \"\" }"),
            (301, "PermanentRedirect", "WrongRegion { right: None }"),
            (412, "PreconditionFailed", "packs/x already exists"),
            (409, "BlobAlreadyExists", "packs/x already exists"),
            (409, "ConditionalRequestConflict", "transient"),
            (400, "BadDigest", "transient"),
            (400, "Md5Mismatch", "transient"),
            (503, "SlowDown", "transient"),
            (500, "", "transient"),
            (429, "", "transient"),
            (
                409,
                "BlobImmutableDueToPolicy",
                "packs/x cannot be deleted yet",
            ),
            (
                400,
                "InvalidRequest",
                "the destination refuses to write packs/x",
            ),
        ] {
            assert_eq!(describe_class(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_wrong_key_is_told_from_a_missing_permission() {
        let refusal = |message: &str| ErrorResponse {
            message: message.to_owned(),
            ..error_response(403, "AuthorizationFailure")
        };
        let signature =
            "Server failed to authenticate the request. Make sure the signature is right.";
        let found = configuration_error(&refusal(signature));
        assert!(matches!(
            found,
            Some(ConfigurationError::InvalidCredentials)
        ));
        let network = "This request is not authorized to perform this operation.";
        assert!(configuration_error(&refusal(network)).is_none());
    }

    #[test]
    fn a_server_may_say_when_to_come_back_in_several_ways() {
        let with = |name: &'static str, value: &'static str| {
            ErrorResponse::from_headers(503, |asked| (asked == name).then(|| value.to_owned()))
                .retry_after
        };
        assert_eq!(with("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(
            with("x-ms-retry-after-ms", "70"),
            Some(Duration::from_millis(70))
        );
        assert_eq!(with("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), None);
        let soon = with("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT");
        assert!(soon.is_some());
        assert_eq!(with("retry-after", "whenever"), None);
    }
}
