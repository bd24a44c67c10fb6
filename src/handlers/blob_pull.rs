//! end-2: blobs. What the repository links in the store is answered from there, everything else is forwarded.

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};

use super::answer;
use super::error::HandlerError;
use super::range::{self, Asked, Part};
use super::{Handlers, Incoming};
use crate::auth::AuthError;
use crate::body::{self, Body, BodyError};
use crate::oci::{Digest, RepositoryName};
use crate::route::Route;
use crate::store::{Content, LinkKind};

const MEDIA_TYPE: &str = "application/octet-stream";

impl Handlers {
    pub(super) async fn blob_pull(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let link = match self.custody.link(name, digest).await {
            Ok(link) => link,
            Err(outage) => {
                let is_pull = incoming.parts.method == Method::GET;
                let response = self.forward_blob(route, incoming, name).await?;
                // What is asked by HEAD is uploaded when it is absent, so there the outage may look like an absence.
                if is_pull && response.status() == StatusCode::NOT_FOUND {
                    return Err(outage.into());
                }
                return Ok(response);
            }
        };
        if link.is_none_or(|link| link.kind != LinkKind::Blob) {
            return self.forward_blob(route, incoming, name).await;
        }
        let permit = match self
            .authorizer
            .pull_or_push(&incoming.caller, name, None)
            .await
        {
            // As for any other digest.
            Err(AuthError::Hidden) => return self.forward_blob(route, incoming, name).await,
            decided => decided?,
        };
        let Some(content) = self.custody.reader(&permit).content(digest).await? else {
            return self.forward_blob(route, incoming, name).await;
        };
        let size = content.size;
        let asked = if incoming.parts.method == Method::GET {
            range::asked(&incoming.parts.headers, size)
        } else {
            Asked::Whole
        };
        let content = content_body(content);
        let mut response = match asked {
            Asked::Whole => answer::content(&incoming.parts, digest, MEDIA_TYPE, size, content)?,
            Asked::Part(range) => {
                let length = range.end() - range.start() + 1;
                let content_range = format!("bytes {}-{}/{size}", range.start(), range.end());
                let part = Part::new(content, &range).boxed_unsync();
                let mut response =
                    answer::content(&incoming.parts, digest, MEDIA_TYPE, length, part)?;
                if response.status() == StatusCode::OK {
                    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                    response.headers_mut().insert(
                        CONTENT_RANGE,
                        HeaderValue::try_from(content_range).map_err(http::Error::from)?,
                    );
                }
                response
            }
            Asked::Unsatisfiable => {
                unsatisfiable(HeaderValue::try_from(format!("bytes */{size}")).ok())?
            }
        };
        response
            .headers_mut()
            .insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        Ok(response)
    }

    /// Old registries announce the whole blob with a 416 and send something else: its head is all that is relayed.
    async fn forward_blob(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
    ) -> Result<Response<Body>, HandlerError> {
        let response = self
            .send(route, &incoming.parts, &incoming.caller, incoming.body)
            .await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return unsatisfiable(response.headers().get(CONTENT_RANGE).cloned());
        }
        if response.status().is_success() {
            self.custody.note_shown(name);
        }
        Ok(self.relay(&incoming.parts, response))
    }
}

fn unsatisfiable(content_range: Option<HeaderValue>) -> Result<Response<Body>, HandlerError> {
    let mut response = Response::builder()
        .status(StatusCode::RANGE_NOT_SATISFIABLE)
        .header(CONTENT_LENGTH, 0)
        .body(body::empty())?;
    response
        .headers_mut()
        .extend(content_range.map(|range| (CONTENT_RANGE, range)));
    Ok(response)
}

/// The content as a body that breaks off where its digest does not hold.
pub(super) fn content_body(content: Content) -> Body {
    use futures_util::TryStreamExt;
    let frames = content
        .body
        .map_ok(http_body::Frame::data)
        .map_err(BodyError::new);
    StreamBody::new(frames).boxed_unsync()
}
