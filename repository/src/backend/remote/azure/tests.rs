//! Handling of wrong or paged responses, from a script instead of a server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::headers::Headers;
use azure_core::http::{
    AsyncRawResponse, ClientOptions, HttpClient, Method, Request, RetryOptions, StatusCode,
    Transport, Url,
};
use bytes::Bytes;

use super::account::AzureAccount;
use super::{AzureBackend, Backend, BackendError, ObjectKey, RemoteOptions};
use crate::backend::remote::http::NetworkClient;

type AzureResponseScript = dyn Fn(Method, &str) -> (StatusCode, String) + Send + Sync;

struct ScriptedAzureClient(Box<AzureResponseScript>);

impl std::fmt::Debug for ScriptedAzureClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Script")
    }
}

#[async_trait]
impl HttpClient for ScriptedAzureClient {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (status, body) = (self.0)(request.method(), request.url().as_str());
        let (headers, body) = (Headers::new(), Bytes::from(body));
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

/// A container that returns the scripted response to each request (its method and address). No retries.
fn scripted_container(
    answers: impl Fn(Method, &str) -> (StatusCode, String) + Send + Sync + 'static,
) -> AzureBackend {
    let options = RemoteOptions {
        retry_for: Duration::ZERO,
        ..RemoteOptions::default()
    };
    let found = AzureAccount {
        container_url: Url::parse("https://script.invalid/container").unwrap(),
        credential: None,
        client_options: ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(ScriptedAzureClient(Box::new(
                answers,
            ))))),
            ..ClientOptions::default()
        },
    };
    let http = NetworkClient::with_options(&options).unwrap();
    AzureBackend::from_account(found, http, "account", "container", "", options).unwrap()
}

fn listing(blobs: &str, next: &str) -> (StatusCode, String) {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"container\">\
        <Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
    );
    (StatusCode::Ok, text)
}

fn blob(name: &str, version: &str, size: &str) -> String {
    format!("<Blob>{name}{version}<Properties>{size}</Properties></Blob>")
}

const NAME: &str = "<Name>index/a</Name>";
const SIZE: &str = "<Content-Length>1</Content-Length>";

#[test]
fn a_listing_that_lacks_something_is_no_listing() {
    let whole = blob(NAME, "", SIZE);
    for wrong in [blob("", "", SIZE), blob(NAME, "", "")] {
        let text = format!("{whole}{wrong}");
        let listed = scripted_container(move |_, _| listing(&text, "")).list("index");
        assert!(
            matches!(listed, Err(BackendError::Unavailable { .. })),
            "{wrong}: {listed:?}"
        );
    }
}

#[test]
fn a_listing_of_several_pages_is_joined() {
    let container = scripted_container(|_, url| {
        if url.contains("marker=next") {
            listing(&blob("<Name>index/b</Name>", "", SIZE), "")
        } else {
            listing(&blob(NAME, "", SIZE), "next")
        }
    });
    let listed = container.list("index").unwrap();
    let listed: Vec<_> = listed.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(listed, ["index/a", "index/b"]);
}

#[test]
fn every_version_is_deleted_however_many_pages_they_fill() {
    let deleted = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&deleted);
    let container = scripted_container(move |method, url| {
        let version = |id: &str| blob(NAME, &format!("<VersionId>{id}</VersionId>"), SIZE);
        if method == Method::Delete {
            let id = url.split("versionid=").nth(1).unwrap_or_default();
            seen.lock().unwrap().push(id.to_owned());
            (StatusCode::Accepted, String::new())
        } else if url.contains("marker=next") {
            listing(&version("two"), "")
        } else {
            listing(&version("one"), "next")
        }
    });
    let key = ObjectKey::new("index/a").unwrap();
    container.delete(&key).unwrap();
    assert_eq!(*deleted.lock().unwrap(), ["", "one", "two"]);
}
