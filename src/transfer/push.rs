//! Writing to the registry behind: what is there already is left alone.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value as Json;

use super::TransferError;
use super::registry::{Ask, Failure, Registry, Scope};
use crate::body::{self, Body, BodyError};
use crate::oci::{Digest, RepositoryName, media_type};
use crate::route::query;
use crate::store::{Content, SignatureStore};
use crate::upstream::UpstreamError;
use crate::upstream::answer::is_absence;

/// How often a blob is uploaded that breaks off.
const ATTEMPTS: usize = 3;
/// The largest answer that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// Where the bytes of a blob come from.
pub(super) enum Blob<'a> {
    Stored(&'a SignatureStore),
    Bytes(Bytes),
}

impl Registry {
    /// Whether the registry has a manifest or a blob: `kind` is `manifests` or `blobs`.
    pub(super) async fn has(
        &self,
        name: &RepositoryName,
        kind: &str,
        digest: &Digest,
    ) -> Result<bool, Failure> {
        let path = format!("/v2/{name}/{kind}/{digest}");
        let ask = Ask {
            method: Method::HEAD,
            ..Ask::get(&path, media_type::ACCEPT_MANIFESTS)
        };
        let response = self.open(&Scope::Push(name.clone()), &ask).await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            status if is_absence(status) => Ok(false),
            status => Err(Failure::Status(status)),
        }
    }

    /// Uploads a blob, unless it is there; `false` if the store has not got it.
    pub(super) async fn push_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        blob: &Blob<'_>,
    ) -> Result<Result<bool, Failure>, TransferError> {
        match self.has(name, "blobs", digest).await {
            Ok(true) => return Ok(Ok(true)),
            Ok(false) => {}
            Err(failure) => return Ok(Err(failure)),
        }
        let mut attempts = 0;
        loop {
            let (size, body) = match blob {
                Blob::Bytes(bytes) => (bytes.len() as u64, body::full(bytes.clone())),
                Blob::Stored(store) => match store.read(name, digest).await? {
                    Some(content) => (content.size, streamed(content)),
                    None => return Ok(Ok(false)),
                },
            };
            attempts += 1;
            match self.upload(name, digest, size, body).await {
                Ok(()) => return Ok(Ok(true)),
                Err(Failure::Upstream(_)) if attempts < ATTEMPTS => {}
                Err(Failure::Refused { status, .. })
                    if status.is_server_error() && attempts < ATTEMPTS => {}
                Err(failure) => return Ok(Err(failure)),
            }
        }
    }

    async fn upload(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        size: u64,
        body: Body,
    ) -> Result<(), Failure> {
        let scope = Scope::Push(name.clone());
        let path = format!("/v2/{name}/blobs/uploads/");
        let ask = Ask {
            method: Method::POST,
            path: &path,
            headers: Vec::new(),
            body: Bytes::new(),
        };
        let opened = self.open(&scope, &ask).await?;
        if opened.status() != StatusCode::ACCEPTED {
            return Err(self.refused(opened).await);
        }
        let location = opened.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let session = location.and_then(|location| self.upstream.own_path(location, None));
        let session = session.ok_or(Failure::Elsewhere)?;
        // Its place is free before the upload takes one.
        drop(opened);
        let separator = if session.query().is_some() { '&' } else { '?' };
        let encoded = query::encode([("digest", digest.as_str())]);
        let mut request = Request::put(format!("{session}{separator}{encoded}"))
            .body(body)
            .map_err(UpstreamError::from)?;
        let caller = self.caller(&scope, &mut Default::default()).await?;
        request.headers_mut().extend(caller.headers());
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(CONTENT_TYPE, octets);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = self.upstream.upload(request).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.refused(response).await),
        }
    }

    /// Puts a manifest under a tag or its digest.
    pub(super) async fn push_manifest(
        &self,
        name: &RepositoryName,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), Failure> {
        let path = format!("/v2/{name}/manifests/{reference}");
        let content_type = HeaderValue::from_str(media_type);
        let content_type = content_type.map_err(|error| UpstreamError::Request(error.into()))?;
        let ask = Ask {
            method: Method::PUT,
            path: &path,
            headers: vec![
                (CONTENT_TYPE, content_type),
                (ACCEPT, HeaderValue::from_static("*/*")),
            ],
            body: bytes,
        };
        let response = self.open(&Scope::Push(name.clone()), &ask).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::OK => Ok(()),
            _ => Err(self.refused(response).await),
        }
    }

    /// What the registry says of what it refuses.
    async fn refused(&self, response: Response<Body>) -> Failure {
        let status = response.status();
        let answer = self.upstream.collect(response, LIMIT).await;
        let reason = answer.ok().and_then(|answer| {
            let document: Json = serde_json::from_slice(&answer.body).ok()?;
            let error = document.pointer("/errors/0")?;
            let text = |key| error.get(key).and_then(Json::as_str).unwrap_or_default();
            Some(format!("{} {}", text("code"), text("message")))
        });
        let reason = reason.unwrap_or_else(|| "it does not say why".to_owned());
        Failure::Refused { status, reason }
    }
}

fn streamed(content: Content) -> Body {
    let frames = content.body.map_ok(http_body::Frame::data);
    StreamBody::new(frames.map_err(BodyError::new)).boxed_unsync()
}
