//! end-4b: `POST /v2/<name>/blobs/uploads/?digest=` with the blob. Many registries ignore the body and open a session.
//! So the session is opened without it, and the body is streamed into its last request: it is never kept and never sent
//! twice.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, TRANSFER_ENCODING};
use http::{Method, Response, StatusCode, Uri, request};

use super::error::HandlerError;
use super::{Handlers, Incoming, aliases};
use crate::auth::Caller;
use crate::body::{self, Body};
use crate::oci::{Digest, RepositoryName};
use crate::route::{Route, UploadStep, query};

impl Handlers {
    pub(super) async fn upload_whole(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let opened = self
            .open_session(route, &incoming.parts, &incoming.caller)
            .await?;
        let location = opened.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let finish = location.and_then(|location| {
            self.finish_path(&incoming.caller, name, location, digest)
                .filter(|_| opened.status() == StatusCode::ACCEPTED)
        });
        let Some(finish) = finish else {
            // Refused; or a session elsewhere, which the client can finish.
            self.authorizer
                .learn_push(&incoming.caller, name, opened.status(), opened.headers())
                .await;
            return self.relay_upload(&incoming.parts, name, opened);
        };
        // Its place is free before the upload takes one.
        drop(opened);
        let mut incoming = incoming;
        incoming.parts.method = Method::PUT;
        incoming.parts.uri = Uri::from(finish);
        let last = Route::Upload(name.clone(), UploadStep::Finish);
        self.finish_upload(&last, incoming, name, Some(digest))
            .await
    }

    /// Opens an upload session for the caller; the answer is the registry's own.
    pub(super) async fn open_session(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
    ) -> Result<Response<Body>, HandlerError> {
        let mut session = without_body(&aliases::without_query(parts));
        session.uri = without(&parts.uri, &["digest", "mount", "from"]);
        self.send(route, &session, caller, body::empty()).await
    }
}

/// A request of the same kind without its body.
pub(super) fn without_body(parts: &request::Parts) -> request::Parts {
    let mut parts = parts.clone();
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.remove(CONTENT_TYPE);
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    parts
}

/// A location without these parameters.
pub(super) fn without(uri: &Uri, parameters: &[&str]) -> Uri {
    let pairs: Vec<_> = query::pairs(uri)
        .filter(|(name, _)| !parameters.contains(&name.as_ref()))
        .collect();
    let left = pairs
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()));
    let rebuilt = match query::encode(left) {
        left if left.is_empty() => uri.path().to_owned(),
        left => format!("{}?{left}", uri.path()),
    };
    rebuilt.parse().unwrap_or_default()
}
