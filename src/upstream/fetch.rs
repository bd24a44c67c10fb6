//! What regseal asks for itself: answers in memory, redirects followed.

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri};

use super::client::Upstream;
use super::elsewhere::FollowError;
use super::error::UpstreamError;
use super::headers;
use super::place::Place;
use super::places::Share;
use crate::body::{self, Body, BodyError, ReadError, RoomError};

/// A whole answer in memory.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and headers.
    pub parts: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

impl Upstream {
    /// Asks for regseal itself: a `GET` or `HEAD`.
    ///
    /// # Errors
    /// No response head in time.
    pub async fn ask(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Body>, UpstreamError> {
        let request = build(method.clone(), path, headers, body::empty())?;
        self.send_on(request, self.terms(Share::Own)).await
    }

    /// As [`Self::ask`], following redirects. `Authorization` never goes to another host, nor in clear where it came
    /// encrypted.
    ///
    /// # Errors
    /// No response head in time, or a redirect that cannot be followed.
    pub async fn open(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Body>, UpstreamError> {
        let response = self.ask(method, path, headers).await?;
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            asked.append(name.clone(), value.clone());
        }
        let following = self.follow_own(response, method, asked);
        let (mut response, from) = following.await.map_err(|error| match error {
            FollowError::Place(error) => UpstreamError::Place(error),
            FollowError::Upstream(error) => error,
        })?;
        if let Some(Place::Elsewhere(_)) = from {
            let status = response.status();
            // Its refusals are about regseal, and its challenges for nobody.
            if !status.is_success() && status != StatusCode::RANGE_NOT_SATISFIABLE {
                return Err(UpstreamError::Elsewhere(status));
            }
            headers::keep_said(response.headers_mut());
        }
        Ok(response)
    }

    /// As [`Self::open`], and reads at most `limit` bytes of answer.
    ///
    /// # Errors
    /// No whole answer in time or within the limit.
    pub async fn fetch(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        limit: usize,
    ) -> Result<Answer, UpstreamError> {
        let response = self.open(method, path, headers).await?;
        self.collect(response, limit).await
    }

    /// Sends bytes that regseal holds in memory and reads the whole answer.
    ///
    /// # Errors
    /// No whole answer in time.
    pub async fn submit(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        bytes: Bytes,
    ) -> Result<Answer, UpstreamError> {
        let request = build(method.clone(), path, headers, body::full(bytes))?;
        let response = self.send_on(request, self.terms(Share::Own)).await?;
        self.collect(response, 1 << 20).await
    }

    /// As [`Self::submit`], to a service that the registry behind relies on. No redirect is followed.
    ///
    /// # Errors
    /// No whole answer in time, or one of more than `limit` bytes.
    pub async fn submit_elsewhere(
        &self,
        method: &Method,
        uri: Uri,
        headers: &[(HeaderName, HeaderValue)],
        bytes: Bytes,
        limit: usize,
    ) -> Result<Answer, UpstreamError> {
        let request = build(method.clone(), uri, headers, body::full(bytes))?;
        let response = self.exchange_read(request, self.terms(Share::Own)).await?;
        self.collect(response, limit).await
    }

    /// Reads a response whole.
    ///
    /// # Errors
    /// It breaks off, takes too long, is larger than `limit`, or there is no room for it.
    pub async fn collect(
        &self,
        response: Response<Body>,
        limit: usize,
    ) -> Result<Answer, UpstreamError> {
        let (parts, response_body) = response.into_parts();
        let room = &self.config.bounds.room;
        let body =
            match tokio::time::timeout(self.config.read, room.read(response_body, limit)).await {
                Ok(Ok(body)) => body,
                Ok(Err(RoomError::Body(ReadError::TooLarge))) => {
                    return Err(UpstreamError::TooLarge(limit));
                }
                Ok(Err(RoomError::Full)) => return Err(UpstreamError::NoRoom),
                Ok(Err(RoomError::Body(ReadError::Broken(error)))) => {
                    return Err(UpstreamError::Body(error));
                }
                Err(elapsed) => return Err(UpstreamError::Body(BodyError::new(elapsed))),
            };
        Ok(Answer { parts, body })
    }
}

fn build<U>(
    method: Method,
    uri: U,
    headers: &[(HeaderName, HeaderValue)],
    body: Body,
) -> Result<Request<Body>, UpstreamError>
where
    U: TryInto<Uri, Error: Into<http::Error>>,
{
    let mut request = Request::builder().method(method).uri(uri).body(body)?;
    for (name, value) in headers {
        request.headers_mut().append(name.clone(), value.clone());
    }
    Ok(request)
}
