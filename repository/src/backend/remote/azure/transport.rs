//! Makes the vendor's library send through our own HTTP client.

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};
use bytes::Bytes;

use crate::backend::remote::http::{NetworkClient, PartsBody, RawResponse};

/// An adapter; clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct AzureTransport(pub(super) NetworkClient);

fn to_http_request(request: &Request) -> Result<http::Request<PartsBody>, Error> {
    let body = match request.body() {
        Body::Bytes(bytes) => bytes.clone(),
        Body::SeekableStream(_) => {
            return Err(Error::with_message(
                ErrorKind::Other,
                "streaming request bodies are not supported",
            ));
        }
    };
    let mut builder = http::Request::builder()
        .method(request.method().as_ref())
        .uri(request.url().as_str());
    for (name, value) in request.headers().iter() {
        builder = builder.header(name.as_str(), value.as_str());
    }
    builder
        .body(PartsBody::new(&[body]))
        .map_err(|error| Error::new(ErrorKind::Other, error))
}

fn to_azure_headers(answer: &RawResponse) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in &answer.headers {
        if let Ok(value) = value.to_str() {
            headers.insert(
                HeaderName::from(name.as_str().to_owned()),
                HeaderValue::from(value.to_owned()),
            );
        }
    }
    headers
}

#[async_trait]
impl HttpClient for AzureTransport {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse, Error> {
        let answer = self
            .0
            .send(to_http_request(request)?)
            .await
            .map_err(|no_answer| {
                let kind = if no_answer.never_sent {
                    ErrorKind::Connection
                } else {
                    ErrorKind::Io
                };
                Error::new(kind, no_answer)
            })?;
        let headers = to_azure_headers(&answer);
        let body: Bytes = answer.body;
        Ok(AsyncRawResponse::from_bytes(
            answer.status.into(),
            headers,
            body,
        ))
    }
}
