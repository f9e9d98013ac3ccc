//! What the vendor's errors mean.

use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::HeaderName;

use crate::backend::remote;
use crate::backend::remote::http::NoAnswer;
use crate::backend::remote::trouble::{self, Refusal};
use crate::backend::remote::weather::Trouble;
use crate::backend::{BackendError, Setup};

/// Classifies an error of any operation.
pub(super) fn sort(error: Error, operation: &'static str, key: &str) -> Trouble {
    if let Some(refusal) = refusal(&error) {
        return trouble::sort(&refusal, operation, key);
    }
    if let Some(no_answer) = trouble::cause::<NoAnswer>(&error) {
        return no_answer.clone().into();
    }
    match error.kind() {
        ErrorKind::Credential => Trouble::Final(BackendError::Setup {
            problem: Setup::NoCredentials,
            source: Box::new(error),
        }),
        // A success that cannot be understood was garbled on its way.
        ErrorKind::DataConversion | ErrorKind::Io | ErrorKind::Connection => remote::garbled(error),
        _ => Trouble::Final(BackendError::Rejected {
            operation,
            key: key.to_owned(),
            source: Box::new(error),
        }),
    }
}

fn refusal(error: &Error) -> Option<Refusal> {
    let ErrorKind::HttpResponse {
        status,
        error_code,
        raw_response,
    } = error.kind()
    else {
        return None;
    };
    let headers = raw_response.as_ref().map(|response| response.headers());
    let mut refusal = Refusal::of_headers(u16::from(*status), |name| {
        let name = HeaderName::from(name.to_owned());
        headers?.get_optional_string(&name)
    });
    if let Some(response) = raw_response {
        let body = String::from_utf8_lossy(response.body().as_ref()).into_owned();
        let part = |name| trouble::element(&body, name).unwrap_or_default();
        refusal.message = [part("Message"), part("AuthenticationErrorDetail")].join(" ");
        refusal.message = refusal.message.trim().to_owned();
        if let Some(code) = trouble::element(&body, "Code") {
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
