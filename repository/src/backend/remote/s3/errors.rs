//! What the vendor's errors mean.

use std::error::Error as StdError;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::backend::remote::attempt::{AttemptError, corrupt_response};
use crate::backend::remote::classify::{self, ErrorResponse};
use crate::backend::remote::http::TransportError;
use crate::backend::{BackendError, ConfigurationError};

/// Classifies an error of any operation.
pub(super) fn classify_error<E>(
    error: SdkError<E, HttpResponse>,
    operation: &'static str,
    key: &str,
) -> AttemptError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    if let Some(refusal) = error_response(&error) {
        return classify::classify_error_response(&refusal, operation, key);
    }
    if let Some(no_answer) = classify::find_cause::<TransportError>(&error) {
        return no_answer.clone().into();
    }
    if classify::find_cause::<aws_credential_types::provider::error::CredentialsError>(&error)
        .is_some()
    {
        return AttemptError::Permanent(BackendError::Configuration {
            problem: ConfigurationError::MissingCredentials,
            source: Box::new(error),
        });
    }
    match error {
        // A success that cannot be parsed was corrupted in transit.
        SdkError::ResponseError(_) | SdkError::TimeoutError(_) | SdkError::ServiceError(_) => {
            corrupt_response(error)
        }
        _ => AttemptError::Permanent(BackendError::Rejected {
            operation,
            key: key.to_owned(),
            source: Box::new(error),
        }),
    }
}

fn error_response<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
) -> Option<ErrorResponse> {
    let response = error.raw_response()?;
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return None;
    }
    let header = |name: &str| response.headers().get(name).map(str::to_owned);
    let mut refusal = ErrorResponse::from_headers(status, header);
    if let Some(error) = error.as_service_error() {
        let meta = error.meta();
        refusal.code = meta.code().unwrap_or_default().to_owned();
        refusal.message = meta.message().unwrap_or_default().to_owned();
    }
    if refusal.region.is_none()
        && let Some(body) = response.body().bytes()
    {
        refusal.region = classify::xml_element(&String::from_utf8_lossy(body), "Region");
    }
    Some(refusal)
}
