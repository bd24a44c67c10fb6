//! Forwarding: streams both ways, changes only what belongs to this hop.

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderValue, LINK, LOCATION, RANGE,
};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, request};

use super::Handlers;
use super::answer::CONTENT_DIGEST;
use super::error::HandlerError;
use crate::auth::{Caller, is_done};
use crate::body::{self, Body};
use crate::route::{Route, UploadStep};
use crate::upstream::Answer;
use crate::upstream::place::{Place, same_host};
use crate::upstream::{expect, headers};

/// Answers to forwarded manifests are read up to here: they are short.
const ANSWER_LIMIT: usize = 1 << 20;

impl Handlers {
    /// Sends the request on and relays the answer.
    pub(super) async fn forward(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
        body: Body,
    ) -> Result<Response<Body>, HandlerError> {
        let response = self.send(route, parts, caller, body).await?;
        Ok(self.relay(parts, response))
    }

    /// Sends the request on; the answer is the registry's own. A request on an upload session goes where the registry
    /// has said, which may be another host.
    pub(super) async fn send(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
        body: Body,
    ) -> Result<Response<Body>, HandlerError> {
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = headers_to_forward(parts, caller);
        if expects_continue(&parts.headers) {
            request = expect::pass_on(request);
        }
        let place = match parts.extensions.get::<Place>() {
            Some(place) => with_query(place, parts.uri.query())?,
            None => Place::Own(forwarded_path(route, &parts.uri)?),
        };
        let mut response = if may_copy(route) {
            self.upstream.complete(&place, request).await?
        } else {
            self.upstream.send_to(&place, request).await?
        };
        match place {
            Place::Elsewhere(_) => of_another_host(&mut response)?,
            Place::Own(_) => of_the_registry(route, &parts.method, &response)?,
        }
        Ok(response)
    }

    /// Sends a body that is in memory and reads the whole answer. `again` says whether a second try can do no harm
    /// where the connection ended without an answer or, by a race in old registries, the first had a wrong one.
    pub(super) async fn send_bytes(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
        bytes: &Bytes,
        again: bool,
    ) -> Result<Answer, HandlerError> {
        let sent = |again| async move {
            let mut request = Request::new(bytes.clone());
            *request.method_mut() = parts.method.clone();
            *request.headers_mut() = headers_to_forward(parts, caller);
            *request.uri_mut() = Uri::from(forwarded_path(route, &parts.uri)?);
            let response = self.upstream.send_bytes(request, again).await?;
            of_the_registry(route, &parts.method, &response)?;
            Ok::<_, HandlerError>(self.upstream.collect(response, ANSWER_LIMIT).await?)
        };
        let answer = sent(again).await?;
        if again && answer.parts.status == StatusCode::BAD_REQUEST {
            return sent(false).await;
        }
        Ok(answer)
    }

    /// Makes the registry's answer an answer of this server.
    pub(super) fn relay(
        &self,
        request: &request::Parts,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let headers = response.headers_mut();
        headers::remove_hop_by_hop(headers);
        self.localise(headers, request);
        response
    }

    /// What the registry behind may call itself in an answer, beside its own host: what it was told of this server.
    pub(super) fn names<'a>(
        &'a self,
        request: &'a request::Parts,
    ) -> impl Iterator<Item = &'a str> + Clone {
        let host = request.headers.get(HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let authority = request.uri.authority().map(Authority::as_str);
        let public = self.config.public_authority.as_deref();
        host.into_iter().chain(authority).chain(public)
    }

    /// As [`Self::relay`], of an answer in memory.
    pub(super) fn relay_answer(&self, request: &request::Parts, answer: Answer) -> Response<Body> {
        self.relay(
            request,
            Response::from_parts(answer.parts, body::full(answer.body)),
        )
    }

    /// `Location` and `Link` that point to the registry behind, or to this server under whatever scheme the registry
    /// believes, become relative; those that point elsewhere stay.
    fn localise(&self, headers: &mut HeaderMap, request: &request::Parts) {
        let is_ours = |authority: &str| {
            let mut names = self.names(request);
            same_host(authority, self.upstream.authority().as_str())
                || names.any(|name| same_host(authority, name))
        };
        if let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok())
            && let Some(value) =
                relative(location, is_ours).and_then(|path| HeaderValue::from_str(&path).ok())
        {
            headers.insert(LOCATION, value);
        }
        let links: Vec<HeaderValue> = headers
            .get_all(LINK)
            .iter()
            .map(|value| {
                value
                    .to_str()
                    .ok()
                    .and_then(|link| relative_link(link, is_ours))
                    .unwrap_or_else(|| value.clone())
            })
            .collect();
        headers.remove(LINK);
        for link in links {
            headers.append(LINK, link);
        }
    }
}

/// The headers of a client's request as the registry behind gets them.
pub(super) fn headers_to_forward(parts: &request::Parts, caller: &Caller) -> HeaderMap {
    let mut headers = parts.headers.clone();
    headers::prepare_request(&mut headers);
    headers.extend(caller.forwarded().iter().cloned());
    headers
}

/// What another host says is about the upload, and nothing that a client would take for the registry's own word: no
/// challenge, no cookie.
fn of_another_host(response: &mut Response<Body>) -> Result<(), HandlerError> {
    let status = response.status();
    let is_about_us = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    );
    if status.is_informational() || is_about_us {
        return Err(HandlerError::Undecided { status });
    }
    let mut said = std::mem::take(response.headers_mut());
    for name in [
        CONTENT_DIGEST,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        LOCATION,
        RANGE,
    ] {
        if let Some(value) = said.remove(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(())
}

/// Refuses what can be no answer of the registry: another protocol, for which nobody has asked, and a page in place of
/// what was to be written or deleted, by which a client would believe that it was.
fn of_the_registry(
    route: &Route,
    method: &Method,
    response: &Response<Body>,
) -> Result<(), HandlerError> {
    let status = response.status();
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let may_be_page = is_read || matches!(route, Route::Passthrough);
    let is_page = status.is_success() && !is_done(status, response.headers());
    if status.is_informational() || (is_page && !may_be_page) {
        return Err(HandlerError::Undecided { status });
    }
    Ok(())
}

/// Whether some registries copy a whole blob before they answer: at the end of an upload, and where they mount.
fn may_copy(route: &Route) -> bool {
    match route {
        Route::UploadStart(_) => true,
        Route::Upload(_, step) | Route::SealedUpload(_, step, _) => *step == UploadStep::Finish,
        Route::Version
        | Route::Token
        | Route::Passthrough
        | Route::TagsList(_)
        | Route::BlobPull(..)
        | Route::BlobDelete(..)
        | Route::ManifestPull(..)
        | Route::ManifestPush(..)
        | Route::ManifestDelete(..)
        | Route::Referrers(..) => false,
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let expectation = headers.get(EXPECT).map(HeaderValue::as_bytes);
    expectation.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// The place with the client's query behind its own.
fn with_query(place: &Place, query: Option<&str>) -> Result<Place, http::Error> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(place.clone());
    };
    let joined = |text: String, has_query: bool| {
        let mark = if has_query { '&' } else { '?' };
        format!("{text}{mark}{query}")
    };
    Ok(match place {
        Place::Own(path) => Place::Own(joined(path.to_string(), path.query().is_some()).parse()?),
        Place::Elsewhere(uri) => {
            Place::Elsewhere(joined(uri.to_string(), uri.query().is_some()).parse()?)
        }
    })
}

fn forwarded_path(route: &Route, uri: &Uri) -> Result<PathAndQuery, http::Error> {
    let path = route
        .canonical_path()
        .unwrap_or_else(|| uri.path().to_owned());
    Ok(match uri.query() {
        Some(query) => format!("{path}?{query}").parse()?,
        None => path.parse()?,
    })
}

/// Path and query of an absolute location, verbatim: upload state in queries is signed by its registry.
fn relative(location: &str, is_ours: impl Fn(&str) -> bool) -> Option<String> {
    let of_the_same_scheme = location.strip_prefix("//");
    let rest = of_the_same_scheme.or_else(|| Some(location.split_once("://")?.1))?;
    let (authority, path) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    is_ours(authority).then_some(path)
}

fn relative_link(link: &str, is_ours: impl Fn(&str) -> bool) -> Option<HeaderValue> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    HeaderValue::from_str(&format!("<{}>{parameters}", relative(target, is_ours)?)).ok()
}

/// Sets the length that the bytes of a changed answer have.
pub(super) fn set_length(headers: &mut HeaderMap, length: usize) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_the_registry_become_relative_with_their_query_verbatim() {
        let is_ours = |authority: &str| authority == "registry:5000";
        for (location, expected) in [
            (
                "http://registry:5000/v2/a/blobs/uploads/u?_state=a%3D%3D&x=1",
                Some("/v2/a/blobs/uploads/u?_state=a%3D%3D&x=1"),
            ),
            ("https://registry:5000", Some("/")),
            ("http://registry:5000?x", Some("/?x")),
            ("//registry:5000/v2/a?b", Some("/v2/a?b")),
            ("//elsewhere/v2/a", None),
            ("http://elsewhere/v2/a", None),
            ("http://registry:5000@elsewhere/v2/a", None),
            ("/v2/a", None),
        ] {
            assert_eq!(
                relative(location, is_ours).as_deref(),
                expected,
                "{location}"
            );
        }
        let link = relative_link(
            "<http://registry:5000/v2/_catalog?last=a&n=1>; rel=\"next\"",
            is_ours,
        )
        .unwrap();
        assert_eq!(link, "</v2/_catalog?last=a&n=1>; rel=\"next\"");
    }
}
