//! The answers of a registry to requests on an upload session, as the specification has them (end-5, end-6, end-13,
//! end-14): registries differ in the status, and clients do not forgive it.

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE,
    TRANSFER_ENCODING,
};
use http::{Method, StatusCode, request, response};

use super::Handlers;
use super::answer::CONTENT_DIGEST;
use super::error::HandlerError;
use super::upload_session::SessionEnd;
use crate::body::Count;
use crate::oci::{Digest, RepositoryName};
use crate::route::{Route, UploadStep, query};
use crate::upstream::place::Place;

impl Handlers {
    /// Makes the `Location` of an answer about an upload one of this server.
    ///
    /// # Errors
    /// The upload was accepted, and goes on where regseal does not go.
    pub(super) fn localise_upload(
        &self,
        request: &request::Parts,
        name: &RepositoryName,
        answer: &mut response::Parts,
    ) -> Result<(), HandlerError> {
        // The same request at another place, not a session.
        if answer.status.is_redirection() {
            return Ok(());
        }
        if answer.status == StatusCode::CREATED {
            self.localise_blob(request, name, answer);
            return Ok(());
        }
        let Some(location) = answer.headers.get(LOCATION) else {
            let goes_on = request.method == Method::PATCH && answer.status == StatusCode::ACCEPTED;
            let same = request.uri.path_and_query().filter(|_| goes_on);
            let same = same.and_then(|path| HeaderValue::from_str(path.as_str()).ok());
            answer.headers.extend(same.map(|same| (LOCATION, same)));
            return Ok(());
        };
        let from = asked_at(request);
        let location = location.to_str().unwrap_or_default();
        let names = self.names(request);
        let end = request.extensions.get::<SessionEnd>().copied();
        let ours = self
            .sessions
            .hand_out(&self.upstream, name, location, (from.as_ref(), end), names)
            .map_err(HandlerError::from)
            .and_then(|ours| Ok(HeaderValue::try_from(ours).map_err(http::Error::from)?));
        match ours {
            Ok(ours) => {
                answer.headers.insert(LOCATION, ours);
            }
            Err(error) if answer.status.is_success() => return Err(error),
            // Where it does not go on, nobody needs to go.
            Err(_) => {
                answer.headers.remove(LOCATION);
            }
        }
        Ok(())
    }

    /// A finished upload is a blob of the repository, wherever it was taken.
    fn localise_blob(
        &self,
        request: &request::Parts,
        name: &RepositoryName,
        answer: &mut response::Parts,
    ) {
        let own = answer.headers.get(LOCATION).and_then(|location| {
            let from = asked_at(request);
            let place =
                self.upstream
                    .place(location.to_str().ok()?, from.as_ref(), self.names(request));
            match place.ok()? {
                Place::Own(path) => {
                    let route = Route::parse(&Method::GET, &path.clone().into());
                    matches!(route, Ok(Route::BlobPull(..))).then(|| path.to_string())
                }
                Place::Elsewhere(_) => None,
            }
        });
        let named = || {
            let asked = query::first(&request.uri, "digest");
            let asked = asked.or_else(|| query::first(&request.uri, "mount"));
            let digest: Digest = match asked {
                Some(digest) => digest.parse().ok()?,
                None => {
                    let header = answer.headers.get(CONTENT_DIGEST)?;
                    header.to_str().ok()?.parse().ok()?
                }
            };
            Some(format!("/v2/{name}/blobs/{digest}"))
        };
        if let Some(location) = own
            .or_else(named)
            .and_then(|location| HeaderValue::try_from(location).ok())
        {
            answer.headers.insert(LOCATION, location);
        }
    }
}

/// Where the request of a client has gone.
pub(super) fn asked_at(request: &request::Parts) -> Option<Place> {
    let elsewhere = request.extensions.get::<Place>().cloned();
    elsewhere.or_else(|| request.uri.path_and_query().cloned().map(Place::Own))
}

/// Gives a success the status of its step, and a chunk its `Range`, as far as that can be told from the request.
pub(super) fn normalise(
    step: UploadStep,
    request: &request::Parts,
    answer: &mut response::Parts,
    sent: &Count,
) {
    let status = match (step, answer.status) {
        (UploadStep::Chunk, StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT) => {
            StatusCode::ACCEPTED
        }
        (UploadStep::Finish, StatusCode::OK | StatusCode::NO_CONTENT) => StatusCode::CREATED,
        (UploadStep::Status, StatusCode::OK)
        | (UploadStep::Cancel, StatusCode::OK | StatusCode::ACCEPTED) => StatusCode::NO_CONTENT,
        (
            UploadStep::Chunk | UploadStep::Finish | UploadStep::Status | UploadStep::Cancel,
            status,
        ) => status,
    };
    if status == StatusCode::NO_CONTENT {
        for header in [CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
            answer.headers.remove(header);
        }
    }
    answer.status = status;
    if (step, status) == (UploadStep::Chunk, StatusCode::ACCEPTED)
        && let Some(range) = range(request, &answer.headers, sent)
    {
        answer.headers.insert(RANGE, range);
    }
}

/// `0-<end>` after a chunk: as the registry says, else where the chunk ends by its own `Content-Range`, else by its
/// length, as the one chunk of a stream.
fn range(request: &request::Parts, answer: &HeaderMap, sent: &Count) -> Option<HeaderValue> {
    let text = |headers: &HeaderMap, name| {
        let value = headers.get(name)?;
        value.to_str().ok().map(ToOwned::to_owned)
    };
    let said = text(answer, RANGE);
    if let Some(said) = said {
        let bare = said.strip_prefix("bytes=").unwrap_or(&said);
        return HeaderValue::from_str(bare).ok();
    }
    let chunk = text(&request.headers, CONTENT_RANGE);
    let end = chunk.and_then(|chunk| chunk.rsplit_once('-')?.1.parse::<u64>().ok());
    let end = end.unwrap_or_else(|| sent.bytes().saturating_sub(1));
    HeaderValue::try_from(format!("0-{end}")).ok()
}
