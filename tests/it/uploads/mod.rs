//! Uploads: sessions of every kind, wherever the registry behind sends them.

mod foreign;
mod refusals;
mod sessions;

use bytes::Bytes;

use crate::support::{Reply, Repository};

/// How clients send bytes.
const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// Opens a session, and returns its location.
#[track_caller]
fn open(repository: &Repository) -> String {
    let reply = repository
        .http
        .request("POST", &repository.path("blobs/uploads/"), &[], "")
        .expect(202);
    reply.header("location").to_owned()
}

#[track_caller]
fn patch(repository: &Repository, location: &str, headers: &[(&str, &str)], bytes: Bytes) -> Reply {
    let headers: Vec<_> = headers.iter().copied().chain([OCTETS]).collect();
    repository.http.request("PATCH", location, &headers, bytes)
}

/// The location with the digest that ends the upload.
fn ending(location: &str, digest: &str) -> String {
    let mark = if location.contains('?') { '&' } else { '?' };
    format!("{location}{mark}digest={digest}")
}
