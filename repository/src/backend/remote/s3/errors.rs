//! What the vendor's errors mean.

use std::error::Error as StdError;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::backend::remote;
use crate::backend::remote::http::NoAnswer;
use crate::backend::remote::trouble::{self, Refusal};
use crate::backend::remote::weather::Trouble;
use crate::backend::{BackendError, Setup};

/// Classifies an error of any operation.
pub(super) fn sort<E>(
    error: SdkError<E, HttpResponse>,
    operation: &'static str,
    key: &str,
) -> Trouble
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    if let Some(refusal) = refusal(&error) {
        return trouble::sort(&refusal, operation, key);
    }
    if let Some(no_answer) = trouble::cause::<NoAnswer>(&error) {
        return no_answer.clone().into();
    }
    if trouble::cause::<aws_credential_types::provider::error::CredentialsError>(&error).is_some() {
        return Trouble::Final(BackendError::Setup {
            problem: Setup::NoCredentials,
            source: Box::new(error),
        });
    }
    match error {
        // A success that cannot be understood was garbled on its way.
        SdkError::ResponseError(_) | SdkError::TimeoutError(_) | SdkError::ServiceError(_) => {
            remote::garbled(error)
        }
        _ => Trouble::Final(BackendError::Rejected {
            operation,
            key: key.to_owned(),
            source: Box::new(error),
        }),
    }
}

fn refusal<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Refusal> {
    let response = error.raw_response()?;
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return None;
    }
    let header = |name: &str| response.headers().get(name).map(str::to_owned);
    let mut refusal = Refusal::of_headers(status, header);
    if let Some(error) = error.as_service_error() {
        let meta = error.meta();
        refusal.code = meta.code().unwrap_or_default().to_owned();
        refusal.message = meta.message().unwrap_or_default().to_owned();
    }
    if refusal.region.is_none()
        && let Some(body) = response.body().bytes()
    {
        refusal.region = trouble::element(&String::from_utf8_lossy(body), "Region");
    }
    Some(refusal)
}
