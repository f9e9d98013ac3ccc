//! What the vendor's errors mean.

use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::HeaderName;

use crate::backend::remote::attempt::{AttemptError, corrupt_response};
use crate::backend::remote::classify::{self, ErrorResponse};
use crate::backend::remote::http::TransportError;
use crate::backend::{BackendError, ConfigurationError};

/// Classifies an error of any operation.
pub(super) fn classify_error(error: Error, operation: &'static str, key: &str) -> AttemptError {
    if let Some(refusal) = error_response(&error) {
        return classify::classify_error_response(&refusal, operation, key);
    }
    if let Some(no_answer) = classify::find_cause::<TransportError>(&error) {
        return no_answer.clone().into();
    }
    match error.kind() {
        ErrorKind::Credential => AttemptError::Permanent(BackendError::Configuration {
            problem: ConfigurationError::MissingCredentials,
            source: Box::new(error),
        }),
        // A success that cannot be parsed was corrupted in transit.
        ErrorKind::DataConversion | ErrorKind::Io | ErrorKind::Connection => {
            corrupt_response(error)
        }
        _ => AttemptError::Permanent(BackendError::Rejected {
            operation,
            key: key.to_owned(),
            source: Box::new(error),
        }),
    }
}

fn error_response(error: &Error) -> Option<ErrorResponse> {
    let ErrorKind::HttpResponse {
        status,
        error_code,
        raw_response,
    } = error.kind()
    else {
        return None;
    };
    let headers = raw_response.as_ref().map(|response| response.headers());
    let mut refusal = ErrorResponse::from_headers(u16::from(*status), |name| {
        let name = HeaderName::from(name.to_owned());
        headers?.get_optional_string(&name)
    });
    if let Some(response) = raw_response {
        let body = String::from_utf8_lossy(response.body().as_ref()).into_owned();
        let part = |name| classify::xml_element(&body, name).unwrap_or_default();
        refusal.message = [part("Message"), part("AuthenticationErrorDetail")].join(" ");
        // The lines below the first are a request's number and time, which help nobody here.
        let first_line = refusal.message.trim().lines().next();
        refusal.message = first_line.unwrap_or_default().to_owned();
        if let Some(code) = classify::xml_element(&body, "Code") {
            refusal.code = code;
        }
    }
    // Without a body the library puts a description of the status where the code should be.
    if refusal.code.is_empty()
        && let Some(code) = error_code
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        refusal.code.clone_from(code);
    }
    Some(refusal)
}
