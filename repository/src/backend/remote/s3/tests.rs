//! Handling of wrong or paged responses.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::script::{ScriptedResponse, body_response, scripted_bucket, status_response};
use super::{Backend, BackendError, ObjectKey};

const TIME: &str = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>";

fn listing(inside: &str) -> ScriptedResponse {
    body_response(&format!("<ListBucketResult>{inside}</ListBucketResult>"))
}

fn object(inside: &str) -> String {
    format!("<Contents>{TIME}{inside}</Contents>")
}

#[test]
fn a_listing_that_lacks_something_is_no_listing() {
    let whole = object("<Key>index/a</Key><Size>1</Size>");
    for wrong in [
        format!("<IsTruncated>true</IsTruncated>{whole}"),
        format!(
            "<IsTruncated>false</IsTruncated>{whole}{}",
            object("<Key>index/b</Key>")
        ),
        format!(
            "<IsTruncated>false</IsTruncated>{whole}{}",
            object("<Key>index/b</Key><Size>-1</Size>")
        ),
        format!(
            "<IsTruncated>false</IsTruncated>{whole}{}",
            object("<Size>1</Size>")
        ),
    ] {
        let text = wrong.clone();
        let listed = scripted_bucket(move |_, _| listing(&text)).list("index");
        assert!(
            matches!(listed, Err(BackendError::Unavailable { .. })),
            "{wrong}: {listed:?}"
        );
    }
}

#[test]
fn a_listing_of_several_pages_is_joined() {
    let bucket = scripted_bucket(|_, uri| {
        if uri.contains("continuation-token=next") {
            let object = object("<Key>index/b</Key><Size>2</Size>");
            listing(&format!("<IsTruncated>false</IsTruncated>{object}"))
        } else {
            let object = object("<Key>index/a</Key><Size>1</Size>");
            let next = "<NextContinuationToken>next</NextContinuationToken>";
            listing(&format!("<IsTruncated>true</IsTruncated>{next}{object}"))
        }
    });
    let listed = bucket.list("index").unwrap();
    let listed: Vec<_> = listed.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(listed, ["index/a", "index/b"]);
}

fn versions(inside: &str) -> ScriptedResponse {
    body_response(&format!(
        "<ListVersionsResult>{inside}</ListVersionsResult>"
    ))
}

fn version(kind: &str, id: &str) -> String {
    format!("<{kind}>{TIME}<Key>index/a</Key><VersionId>{id}</VersionId></{kind}>")
}

#[test]
fn every_version_is_deleted_however_many_pages_they_fill() {
    let deleted = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&deleted);
    let bucket = scripted_bucket(move |method, uri| match method {
        "DELETE" => {
            let id = uri.split("versionId=").nth(1).unwrap();
            let id = id.split('&').next().unwrap();
            seen.lock().unwrap().push(id.to_owned());
            status_response(204)
        }
        _ if uri.contains("version-id-marker=two") => {
            let three = version("Version", "three");
            versions(&format!("<IsTruncated>false</IsTruncated>{three}"))
        }
        _ => {
            let next = "<NextKeyMarker>index/a</NextKeyMarker><NextVersionIdMarker>two</NextVersionIdMarker>";
            let (mark, two) = (version("DeleteMarker", "one"), version("Version", "two"));
            versions(&format!("<IsTruncated>true</IsTruncated>{next}{mark}{two}"))
        }
    });
    bucket.delete(&ObjectKey::new("index/a").unwrap()).unwrap();
    assert_eq!(*deleted.lock().unwrap(), ["one", "two", "three"]);
}

#[test]
fn versions_that_cannot_be_listed_whole_are_an_error() {
    let answers = [
        version("Version", "one").replace("<Key>index/a</Key>", ""),
        version("Version", "one").replace("<VersionId>one</VersionId>", ""),
        "<IsTruncated>true</IsTruncated>".to_owned(),
    ];
    for answer in answers {
        let text = answer.clone();
        let deleted = scripted_bucket(move |_, _| versions(&text))
            .delete(&ObjectKey::new("index/a").unwrap());
        assert!(
            matches!(deleted, Err(BackendError::Unavailable { .. })),
            "{answer}: {deleted:?}"
        );
    }
}

#[test]
fn an_upload_in_parts_without_a_name_sends_no_part() {
    let bucket = scripted_bucket(|method, _| {
        assert_eq!(
            method, "POST",
            "nothing is sent to an upload without a name"
        );
        body_response(
            "<InitiateMultipartUploadResult><Bucket>bucket</Bucket></InitiateMultipartUploadResult>",
        )
    });
    let large = Bytes::from(vec![0; 33 << 20]);
    let stored = bucket.put(&ObjectKey::new("packs/a").unwrap(), &[large]);
    assert!(
        matches!(stored, Err(BackendError::Unavailable { .. })),
        "{stored:?}"
    );
}
