//! end-2: blobs. What the repository links in the store is answered from there, everything else is forwarded.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE,
};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};

use super::answer;
use super::error::HandlerError;
use super::gate_blob::{AskedBlob, Looked};
use super::range::{self, Asked, Part};
use super::unframed::verified;
use super::{Handlers, Incoming};
use crate::admission::Admission;
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
        let gate = self.gate(name);
        let link = match self.custody.link(name, digest).await {
            Ok(link) => link,
            Err(outage) => {
                let is_pull = incoming.parts.method == Method::GET;
                let response = self
                    .forward_blob(gate, route, incoming, name, digest)
                    .await?;
                // What is asked by HEAD is uploaded when it is absent, so there the outage may look like an absence.
                if is_pull && response.status() == StatusCode::NOT_FOUND {
                    return Err(outage.into());
                }
                return Ok(response);
            }
        };
        if link.is_none_or(|link| link.kind != LinkKind::Blob) {
            return self.forward_blob(gate, route, incoming, name, digest).await;
        }
        let permit = match self
            .authorizer
            .pull_or_push(&incoming.caller, name, None)
            .await
        {
            // As for any other digest.
            Err(error) if error.is_a_no() => {
                return self.forward_blob(gate, route, incoming, name, digest).await;
            }
            decided => decided?,
        };
        let Some(content) = self.custody.reader(&permit).content(digest).await? else {
            return self.forward_blob(gate, route, incoming, name, digest).await;
        };
        let Incoming { parts, caller, .. } = incoming;
        let size = content.size;
        let asked = if parts.method == Method::GET {
            range::asked(&parts.headers, size)
        } else {
            Asked::Whole
        };
        let content = match gate {
            Some(admission) if !self.plain_blobs.contains_key(digest) => {
                let whole = Response::new(content_body(content));
                match self.look(digest, whole).await? {
                    Looked::Plain(content) => content,
                    Looked::Manifest(bytes) => {
                        let asked = AskedBlob {
                            route,
                            parts: &parts,
                            caller: &caller,
                            name,
                            digest,
                        };
                        self.judge_blob(admission, &asked, &bytes).await?;
                        body::full(bytes)
                    }
                }
            }
            _ => content_body(content),
        };
        let mut response = match asked {
            Asked::Whole => answer::content(&parts, digest, MEDIA_TYPE, size, content)?,
            Asked::Part(range) => {
                let length = range.end() - range.start() + 1;
                let content_range = format!("bytes {}-{}/{size}", range.start(), range.end());
                let part = Part::new(content, &range).boxed_unsync();
                let mut response = answer::content(&parts, digest, MEDIA_TYPE, length, part)?;
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
        gate: Option<&Admission>,
        route: &Route,
        mut incoming: Incoming,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        if gate.is_some() {
            // In another coding a manifest would look like none.
            incoming.parts.headers.remove(ACCEPT_ENCODING);
        }
        let is_whole =
            incoming.parts.method == Method::GET && !incoming.parts.headers.contains_key(RANGE);
        if let Some(admission) = gate.filter(|_| !is_whole) {
            let asked = AskedBlob {
                route,
                parts: &incoming.parts,
                caller: &incoming.caller,
                name,
                digest,
            };
            if let Some(refused) = self.judge_blob_behind(admission, &asked).await? {
                let is_head = incoming.parts.method == Method::HEAD;
                let refused = refused.map(|body| if is_head { body::empty() } else { body });
                return Ok(self.relay(&incoming.parts, refused));
            }
        }
        let Incoming {
            parts,
            body,
            caller,
        } = incoming;
        let response = self.send(route, &parts, &caller, body).await?;
        let response = self.followed(&parts, &caller, response).await?;
        let mut response = verified(response, Some(digest.clone()));
        if let Some(admission) = gate.filter(|_| is_whole) {
            let asked = AskedBlob {
                route,
                parts: &parts,
                caller: &caller,
                name,
                digest,
            };
            response = self.judge_whole_blob(admission, &asked, response).await?;
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return unsatisfiable(response.headers().get(CONTENT_RANGE).cloned());
        }
        if response.status().is_success() {
            self.custody.note_shown(name);
            self.note_seen(&caller, name, digest).await;
        }
        Ok(self.relay(&parts, response))
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
