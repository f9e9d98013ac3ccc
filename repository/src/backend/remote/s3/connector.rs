//! Makes the vendor's library send through our own HTTP client.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use crate::backend::remote::http::NetworkClient;

/// An adapter; clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct S3Connector(pub(super) NetworkClient);

impl HttpClient for S3Connector {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for S3Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let answer = http
                .send(request)
                .await
                .map_err(|no_answer| ConnectorError::io(no_answer.into()))?;
            let mut response = http::Response::new(SdkBody::from(answer.body));
            *response.headers_mut() = answer.headers;
            *response.status_mut() = http::StatusCode::from_u16(answer.status)
                .map_err(|error| ConnectorError::other(error.into(), None))?;
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
