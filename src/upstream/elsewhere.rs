//! Requests that leave the registry behind for the places it names: another upload host, the storage of blobs.

use http::header::LOCATION;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::client::Upstream;
use super::error::UpstreamError;
use super::exchange::Terms;
use super::headers;
use super::place::{Place, PlaceError, Reach};
use super::places::Share;
use crate::body::{self, Body};

/// Redirects that are followed for a client at most.
const MAX_REDIRECTS: usize = 3;

impl Upstream {
    /// The place that a location of an answer names. `from` is where the answer came from, if not from the registry
    /// itself; `names` are those by which the registry may call itself.
    ///
    /// # Errors
    /// It is no location.
    pub fn place<'a>(
        &self,
        location: &str,
        from: Option<&Place>,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Place, PlaceError> {
        Place::resolve(location, &self.uri_of(from), self.authority(), names)
    }

    /// The same place, if regseal may go there.
    ///
    /// # Errors
    /// See [`Place::checked`].
    pub fn checked(
        &self,
        place: Place,
        from: Option<&Place>,
        least: Reach,
    ) -> Result<Place, PlaceError> {
        place.checked(&self.uri_of(from), self.authority(), least)
    }

    /// Sends a client's request to a place that the registry behind has named, and streams both bodies. To another host
    /// goes nothing that says who asks.
    ///
    /// # Errors
    /// No place among the requests, no connection, or no response head in time.
    pub async fn send_to(
        &self,
        place: &Place,
        request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        self.send_there(place, request, self.terms(Share::Clients))
            .await
    }

    /// As [`Self::send_to`], for the last request of an upload: some registries copy the whole blob before they answer.
    ///
    /// # Errors
    /// As [`Self::send_to`].
    pub async fn complete(
        &self,
        place: &Place,
        request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        self.send_there(place, request, self.last_terms(Share::Clients))
            .await
    }

    async fn send_there(
        &self,
        place: &Place,
        mut request: Request<Body>,
        terms: Terms,
    ) -> Result<Response<Body>, UpstreamError> {
        match place {
            Place::Own(path) => {
                *request.uri_mut() = Uri::from(path.clone());
                self.send_on(request, terms).await
            }
            Place::Elsewhere(uri) => {
                *request.uri_mut() = uri.clone();
                headers::keep_content(request.headers_mut());
                self.exchange_read(request, terms).await
            }
        }
    }

    /// Follows an answer of the registry behind to a client's request, `from` a place there, that sends elsewhere, with
    /// the same method. `headers` are those of the request as the registry had it. Also says from where the last answer
    /// came.
    ///
    /// # Errors
    /// A place where regseal does not go, or no answer there.
    pub async fn follow(
        &self,
        response: Response<Body>,
        method: &Method,
        headers: &HeaderMap,
        from: Option<Place>,
        names: &[&str],
    ) -> Result<(Response<Body>, Option<Place>), FollowError> {
        let asked = (method, headers.clone());
        self.follow_on(response, asked, from, names, Share::Clients)
            .await
    }

    /// As [`Self::follow`], of an answer to regseal itself.
    ///
    /// # Errors
    /// As [`Self::follow`].
    pub(super) async fn follow_own(
        &self,
        response: Response<Body>,
        method: &Method,
        headers: HeaderMap,
    ) -> Result<(Response<Body>, Option<Place>), FollowError> {
        self.follow_on(response, (method, headers), None, &[], Share::Own)
            .await
    }

    async fn follow_on(
        &self,
        mut response: Response<Body>,
        (method, mut headers): (&Method, HeaderMap),
        mut from: Option<Place>,
        names: &[&str],
        share: Share,
    ) -> Result<(Response<Body>, Option<Place>), FollowError> {
        for _ in 0..MAX_REDIRECTS {
            let Some(location) = redirect(&response)? else {
                return Ok((response, from));
            };
            let place = self.place(location, from.as_ref(), names.iter().copied())?;
            let place = self.checked(place, from.as_ref(), Reach::Private)?;
            let mut request = Request::new(body::empty());
            *request.method_mut() = method.clone();
            // Who was sent away does not come back with a credential: another host has chosen the way.
            if let Place::Elsewhere(_) = place {
                headers::keep_content(&mut headers);
            }
            request.headers_mut().clone_from(&headers);
            // The place of the redirect is free before another is taken.
            drop(response);
            let terms = self.terms(share);
            response = self.send_there(&place, request, terms).await?;
            from = Some(place);
        }
        match redirect(&response)? {
            None => Ok((response, from)),
            Some(_) => Err(PlaceError::TooFar.into()),
        }
    }

    fn uri_of(&self, place: Option<&Place>) -> Uri {
        match place {
            None => self.url(),
            Some(Place::Elsewhere(uri)) => uri.clone(),
            Some(Place::Own(path)) => self.absolute(path.clone()).unwrap_or_else(|_| self.url()),
        }
    }
}

/// A redirect that was not followed to an answer.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// regseal does not go there.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Nobody answered there.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Where an answer sends, if it does.
fn redirect(response: &Response<Body>) -> Result<Option<&str>, PlaceError> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| redirects);
    location
        .map(|location| location.to_str().or(Err(PlaceError::Unreadable)))
        .transpose()
}
