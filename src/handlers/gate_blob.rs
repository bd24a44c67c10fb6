//! A manifest can be asked for as a blob: the registry behind keeps both in one place. What is small and looks like a
//! manifest is judged like one; everything else streams through.
//!
//! What a digest names does not change, so a blob that was no manifest once is looked at no more.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode, request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::Handlers;
use super::aliases::is_second;
use super::error::HandlerError;
use super::gate::{Served, own_media_type, whole};
use crate::admission::Admission;
use crate::auth::Caller;
use crate::body::{self, Body, BodyError};
use crate::oci::lookalike::is_like_a_manifest;
use crate::oci::{Digest, RepositoryName};
use crate::route::Route;

/// What the beginning of a blob shows.
pub(super) enum Looked {
    /// No manifest: the whole body, still to be streamed.
    Plain(Body),
    /// A manifest, whole.
    Manifest(Bytes),
}

/// A request for a blob.
pub(super) struct AskedBlob<'a> {
    pub(super) route: &'a Route,
    pub(super) parts: &'a request::Parts,
    pub(super) caller: &'a Caller,
    pub(super) name: &'a RepositoryName,
    pub(super) digest: &'a Digest,
}

impl Handlers {
    /// Whether `digest` may be read as a blob. Asks the registry behind for the whole blob once, and reads no more of
    /// it than shows that it is no manifest. What the registry refuses, it has refused: that answer is the caller's.
    ///
    /// # Errors
    /// It may not, or that could not be decided.
    pub(super) async fn judge_blob_behind(
        &self,
        admission: &Admission,
        asked: &AskedBlob<'_>,
    ) -> Result<Option<Response<Body>>, HandlerError> {
        if self.plain_blobs.contains_key(asked.digest) {
            return Ok(None);
        }
        let mut response = self
            .send(
                asked.route,
                &whole(asked.parts),
                asked.caller,
                body::empty(),
            )
            .await?;
        if response.status().is_redirection() {
            let path = asked.route.canonical_path().unwrap_or_default();
            let headers = asked.caller.headers();
            response = self.upstream.open(&Method::GET, &path, &headers).await?;
        }
        match response.status() {
            StatusCode::OK => {}
            // Nobody gets it from there, whatever part is asked for.
            StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Ok(Some(response));
            }
            status => return Err(HandlerError::undecided(status, response.headers())),
        }
        match self.look(asked.digest, response).await? {
            Looked::Plain(_) => Ok(None),
            Looked::Manifest(bytes) => {
                self.judge_blob(admission, asked, &bytes).await?;
                Ok(None)
            }
        }
    }

    /// Judges the answer of the registry behind to a request for a whole blob, without a second request where the
    /// answer is the blob.
    ///
    /// # Errors
    /// It may not be read, or that could not be decided.
    pub(super) async fn judge_whole_blob(
        &self,
        admission: &Admission,
        asked: &AskedBlob<'_>,
        response: Response<Body>,
    ) -> Result<Response<Body>, HandlerError> {
        if response.status().is_redirection() {
            let refused = self.judge_blob_behind(admission, asked).await?;
            return Ok(refused.unwrap_or(response));
        }
        match response.status() {
            StatusCode::OK if self.plain_blobs.contains_key(asked.digest) => return Ok(response),
            StatusCode::OK => {}
            // A part that nobody asked for.
            status if status.is_success() => return Err(HandlerError::Undecided { status }),
            _ => return Ok(response),
        }
        let (head, body) = response.into_parts();
        let mut whole = Response::new(body);
        whole.headers_mut().clone_from(&head.headers);
        let body = match self.look(asked.digest, whole).await? {
            Looked::Plain(body) => body,
            Looked::Manifest(bytes) => {
                self.judge_blob(admission, asked, &bytes).await?;
                body::full(bytes)
            }
        };
        Ok(Response::from_parts(head, body))
    }

    /// Judges a blob that looks like a manifest.
    pub(super) async fn judge_blob(
        &self,
        admission: &Admission,
        asked: &AskedBlob<'_>,
        bytes: &Bytes,
    ) -> Result<(), HandlerError> {
        if !asked.digest.matches(bytes) {
            return Err(HandlerError::Undecided {
                status: StatusCode::OK,
            });
        }
        let served = Served {
            parts: asked.parts,
            caller: asked.caller,
            name: asked.name,
            tag: None,
            media_type: &own_media_type(bytes),
            bytes,
            second: Some(asked.digest.clone()).filter(is_second),
        };
        self.judge(admission, &served).await.map(|_passed| ())
    }

    /// Looks at the beginning of a blob, and at the whole of what begins like a manifest.
    pub(super) async fn look(
        &self,
        digest: &Digest,
        response: Response<Body>,
    ) -> Result<Looked, HandlerError> {
        let limit = self.config.max_manifest;
        let length = response.headers().get(CONTENT_LENGTH);
        let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let mut body = response.into_body();
        let mut read = BytesMut::new();
        let mut is_small = length.is_none_or(|length| length <= limit);
        while is_small && may_be_json(&read) {
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(HandlerError::Broken(error)),
                None => {
                    let bytes = read.freeze();
                    if is_like_a_manifest(&bytes) {
                        return Ok(Looked::Manifest(bytes));
                    }
                    // What is only said to be this content says nothing of it to others.
                    if digest.matches(&bytes) {
                        self.plain_blobs.insert(digest.clone(), ()).await;
                    }
                    return Ok(Looked::Plain(body::full(bytes)));
                }
            }
            is_small = read.len() <= limit;
        }
        Ok(Looked::Plain(after(read.freeze(), body)))
    }
}

/// Whether what begins like this can become a JSON object.
fn may_be_json(beginning: &[u8]) -> bool {
    matches!(beginning.trim_ascii_start().first(), None | Some(b'{'))
}

/// What was read, then the rest.
fn after(read: Bytes, rest: Body) -> Body {
    use futures_util::{StreamExt, stream};
    let first = stream::once(async { Ok::<_, BodyError>(Frame::data(read)) });
    StreamBody::new(first.chain(frames(rest))).boxed_unsync()
}

fn frames(body: Body) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>> {
    futures_util::stream::unfold(body, |mut body| async move {
        let frame = body.frame().await?;
        Some((frame, body))
    })
}
