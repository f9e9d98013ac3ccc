//! A bucket with scripted responses, for those that no available server gives.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region, retry, timeout};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use super::S3Backend;
use crate::backend::remote::RemoteOptions;
use crate::backend::remote::http::NetworkClient;

/// A response: its status, one header (or none, with an empty name), and its body.
pub(super) type ScriptedResponse = (u16, (&'static str, String), String);

/// A response that is only a body.
pub(super) fn body_response(text: &str) -> ScriptedResponse {
    (200, ("", String::new()), text.to_owned())
}

/// A response that is only a status.
pub(super) fn status_response(status: u16) -> ScriptedResponse {
    (status, ("", String::new()), String::new())
}

type S3ResponseScript = dyn Fn(&str, &str) -> ScriptedResponse + Send + Sync;

#[derive(Clone)]
struct ScriptedS3Connector(Arc<S3ResponseScript>);

impl std::fmt::Debug for ScriptedS3Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Script")
    }
}

impl HttpClient for ScriptedS3Connector {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for ScriptedS3Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (status, (name, value), body) = (self.0)(request.method(), request.uri());
        let mut answer = http::Response::builder().status(status);
        if !body.is_empty() {
            answer = answer.header("content-length", body.len());
        }
        if !name.is_empty() {
            answer = answer.header(name, value);
        }
        let answer = answer.body(SdkBody::from(body)).unwrap();
        let answer = HttpResponse::try_from(answer);
        HttpConnectorFuture::ready(answer.map_err(|error| ConnectorError::user(error.into())))
    }
}

/// A bucket that returns the scripted response to each request (its method and address). No retries.
pub(super) fn scripted_bucket(
    answers: impl Fn(&str, &str) -> ScriptedResponse + Send + Sync + 'static,
) -> S3Backend {
    let options = RemoteOptions {
        retry_for: Duration::ZERO,
        ..RemoteOptions::default()
    };
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("region"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(retry::RetryConfig::disabled())
        .timeout_config(timeout::TimeoutConfig::disabled())
        .stalled_stream_protection(aws_sdk_s3::config::StalledStreamProtectionConfig::disabled())
        .endpoint_url("https://script.invalid")
        .force_path_style(true)
        .http_client(ScriptedS3Connector(Arc::new(answers)))
        .build();
    let client = Client::from_conf(config);
    let http = NetworkClient::with_options(&options).unwrap();
    S3Backend::from_client(
        client,
        http,
        Some("https://script.invalid"),
        "bucket",
        "",
        options,
    )
}
