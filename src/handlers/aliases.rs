//! Content by a second name: asked for or pushed by SHA-512, where the registry behind knows it by SHA-256.
//!
//! A read by such a name becomes the same read by the canonical name, through every gate, and the answer gets back the
//! name that was asked for. Where the registry answers to the name by itself, nothing is translated; what it answers is
//! only called by the name that was asked for.

use http::header::{
    ACCEPT_ENCODING, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, LOCATION,
};
use http::{HeaderMap, Method, Response, StatusCode, request};

use super::answer::CONTENT_DIGEST;
use super::error::HandlerError;
use super::whole_upload::without_body;
use super::{Handlers, Incoming};
use crate::auth::Caller;
use crate::body::{self, Body, ReadError, RoomError};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::route::Route;
use crate::upstream::answer::is_absence;

impl Handlers {
    /// end-2 and end-3, by whatever name.
    pub(super) async fn pull(
        &self,
        route: &Route,
        mut incoming: Incoming,
    ) -> Result<Response<Body>, HandlerError> {
        if let Route::ManifestPull(name, Reference::Tag(tag)) = route {
            let mut response = self.pull_plainly(route, incoming).await?;
            self.name_as_tagged(name, tag, &mut response).await;
            return Ok(response);
        }
        let (Route::BlobPull(name, asked) | Route::ManifestPull(name, Reference::Digest(asked))) =
            route
        else {
            return self.pull_plainly(route, incoming).await;
        };
        if !is_second(asked) {
            return self.pull_plainly(route, incoming).await;
        }
        let canonical = match self.custody.alias(name, asked).await {
            Ok(Some(canonical)) => canonical,
            found => {
                let mut response = self.pull_plainly(route, incoming).await?;
                if let Err(outage) = found
                    && response.status() == StatusCode::NOT_FOUND
                {
                    return Err(outage.into());
                }
                name_as(response.status(), asked, &mut response);
                return Ok(response);
            }
        };
        exchange(&mut incoming.parts.headers, asked, &canonical);
        let is_manifest = matches!(route, Route::ManifestPull(..));
        let is_whole = is_manifest && incoming.parts.method == Method::GET;
        if is_manifest {
            // In another coding it would have another digest.
            incoming.parts.headers.remove(ACCEPT_ENCODING);
        }
        let mut response = self
            .pull_plainly(&with_digest(route, canonical), incoming)
            .await?;
        if is_whole && response.status() == StatusCode::OK {
            response = self.require_digest(response, asked).await?;
        }
        name_as(response.status(), asked, &mut response);
        Ok(response)
    }

    async fn pull_plainly(
        &self,
        route: &Route,
        incoming: Incoming,
    ) -> Result<Response<Body>, HandlerError> {
        if let Route::BlobPull(name, digest) = route {
            return self.blob_pull(route, incoming, name, digest).await;
        }
        if let Route::ManifestPull(name, reference) = route {
            return self.manifest_pull(route, incoming, name, reference).await;
        }
        self.forward(route, &incoming.parts, &incoming.caller, incoming.body)
            .await
    }

    /// What a record says of two names is checked where the whole content is at hand.
    async fn require_digest(
        &self,
        response: Response<Body>,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let (parts, stream) = response.into_parts();
        let bytes = match self
            .config
            .room
            .read(stream, self.config.max_manifest)
            .await
        {
            Ok(bytes) => bytes,
            Err(RoomError::Full) => return Err(HandlerError::NoRoom),
            Err(RoomError::Body(ReadError::Broken(error))) => {
                return Err(HandlerError::Broken(error));
            }
            Err(RoomError::Body(ReadError::TooLarge)) => {
                return Err(HandlerError::Undecided {
                    status: parts.status,
                });
            }
        };
        if !digest.matches(&bytes) {
            return Err(HandlerError::Undecided {
                status: parts.status,
            });
        }
        Ok(Response::from_parts(parts, body::full(bytes)))
    }

    /// A tag that was set by a push by a second name is answered with that name, as a registry does that has it.
    async fn name_as_tagged(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        response: &mut Response<Body>,
    ) {
        if !is_content(response.status()) || !self.has_aliases(name).await {
            return;
        }
        let Some(canonical) = named(response.headers()).filter(Digest::is_canonical) else {
            return;
        };
        // The canonical name is right as well: an outage costs no more than that.
        if let Ok(Some(alias)) = self.custody.alias(name, &canonical).await
            && let Ok(true) = self.custody.is_tagged(name, &alias, tag).await
        {
            name_as(response.status(), &alias, response);
        }
    }

    /// Whether a repository has second names, as of a moment ago.
    async fn has_aliases(&self, name: &RepositoryName) -> bool {
        if let Some(has) = self.aliased.get(name).await {
            return has;
        }
        let has = self.custody.has_aliases(name).await.unwrap_or(false);
        self.aliased.insert(name.clone(), has).await;
        has
    }

    /// The registry behind has taken content from the caller under its canonical name: both names are recorded.
    pub(super) async fn record_alias(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        status: StatusCode,
        (alias, canonical): (&Digest, &Digest),
    ) -> Result<(), HandlerError> {
        let permit = self.authorizer.pushed(caller, name, status).await?;
        let writer = self.custody.writer(&permit);
        writer.put_alias(alias, canonical).await?;
        self.aliased.insert(name.clone(), true).await;
        Ok(())
    }

    /// As [`Self::record_alias`], of a blob, which the registry behind mostly finds by both names itself.
    pub(super) async fn record_blob_alias(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        status: StatusCode,
        names: (&Digest, &Digest),
    ) {
        if let Err(error) = self.record_alias(caller, name, status, names).await {
            tracing::warn!(
                oci.repository = %name,
                oci.digest = %names.0,
                error = &error as &dyn std::error::Error,
                "the second name of a blob was not recorded"
            );
        }
    }

    /// end-9 and end-10 by digest: content goes with both its names.
    pub(super) async fn delete_by_digest(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let Some(other) = self.custody.alias(name, digest).await? else {
            return self.delete_plainly(route, incoming).await;
        };
        let (alias, canonical) = if digest.is_canonical() {
            (other, digest.clone())
        } else {
            (digest.clone(), other)
        };
        // The name that the registry may have of its own goes first: when that fails, all can be repeated.
        let (parts, caller) = (without_body(&incoming.parts), incoming.caller.clone());
        let by_alias = with_digest(route, alias.clone());
        let answer = self
            .send_bytes(&by_alias, &parts, &caller, &bytes::Bytes::new(), false)
            .await?;
        let status = answer.parts.status;
        if !status.is_success() && !is_absence(status) {
            return Ok(self.relay_answer(&parts, answer));
        }
        let response = self
            .delete_plainly(&with_digest(route, canonical.clone()), incoming)
            .await?;
        // A manifest may be a blob as well, and keeps its names as long as it is there.
        let is_left = matches!(route, Route::BlobDelete(..))
            && self
                .is_upstream(&caller, name, "manifests", &canonical)
                .await?;
        if let Ok(permit) = self.authorizer.deleted(name, response.status())
            && !is_left
        {
            let writer = self.custody.writer(&permit);
            if matches!(route, Route::ManifestDelete(..)) {
                self.forget_second(&permit, &alias).await?;
            }
            writer.forget_alias(&alias, &canonical).await?;
        }
        Ok(response)
    }

    async fn delete_plainly(
        &self,
        route: &Route,
        incoming: Incoming,
    ) -> Result<Response<Body>, HandlerError> {
        if let Route::ManifestDelete(name, reference) = route {
            return self.manifest_delete(route, incoming, name, reference).await;
        }
        self.forward(route, &incoming.parts, &incoming.caller, incoming.body)
            .await
    }
}

/// Whether it is a name that regseal can check and a registry may lack.
pub(super) fn is_second(digest: &Digest) -> bool {
    !digest.is_canonical() && digest.hasher().is_some()
}

/// The digest that an answer gives to its content.
pub(super) fn named(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// Calls the content of an answer by the name that was asked for, where the registry behind calls it by one of another
/// algorithm.
fn name_as(status: StatusCode, asked: &Digest, response: &mut Response<Body>) {
    if is_content(status)
        && let Some(other) = named(response.headers())
        && other.algorithm() != asked.algorithm()
    {
        replace(
            response.headers_mut(),
            &[CONTENT_DIGEST, ETAG],
            &other,
            asked,
        );
    }
}

/// As [`name_as`], of an answer to a push of `kind`: `blobs` or `manifests`.
pub(super) fn name_created(
    headers: &mut HeaderMap,
    (name, kind, asked): (&RepositoryName, &str, &Digest),
) -> Result<(), HandlerError> {
    let location = format!("/v2/{name}/{kind}/{asked}");
    for (header, value) in [
        (LOCATION, location.as_str()),
        (CONTENT_DIGEST, asked.as_str()),
    ] {
        headers.insert(
            header,
            HeaderValue::from_str(value).map_err(http::Error::from)?,
        );
    }
    Ok(())
}

/// Conditions of a request are about the name it was made by.
fn exchange(headers: &mut HeaderMap, asked: &Digest, canonical: &Digest) {
    let conditions = [IF_NONE_MATCH, IF_MATCH, IF_RANGE];
    replace(headers, &conditions, asked, canonical);
}

fn replace(headers: &mut HeaderMap, which: &[HeaderName], from: &Digest, to: &Digest) {
    for header in which {
        let values: Vec<HeaderValue> = headers.get_all(header).iter().cloned().collect();
        headers.remove(header);
        for value in values {
            let text = value.to_str().ok();
            let replaced = text.map(|text| text.replace(from.as_str(), to.as_str()));
            let replaced = replaced.and_then(|text| HeaderValue::from_str(&text).ok());
            headers.append(header, replaced.unwrap_or(value));
        }
    }
}

fn is_content(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

fn with_digest(route: &Route, digest: Digest) -> Route {
    match route {
        Route::BlobPull(name, _) => Route::BlobPull(name.clone(), digest),
        Route::BlobDelete(name, _) => Route::BlobDelete(name.clone(), digest),
        Route::ManifestPull(name, _) => {
            Route::ManifestPull(name.clone(), Reference::Digest(digest))
        }
        Route::ManifestPush(name, _) => {
            Route::ManifestPush(name.clone(), Reference::Digest(digest))
        }
        Route::ManifestDelete(name, _) => {
            Route::ManifestDelete(name.clone(), Reference::Digest(digest))
        }
        Route::Version
        | Route::Token
        | Route::Passthrough
        | Route::TagsList(_)
        | Route::UploadStart(_)
        | Route::Upload(..)
        | Route::SealedUpload(..)
        | Route::Referrers(..) => route.clone(),
    }
}

/// The parts of a request without its query.
pub(super) fn without_query(parts: &request::Parts) -> request::Parts {
    let mut parts = parts.clone();
    parts.uri = parts.uri.path().parse().unwrap_or_default();
    parts
}
