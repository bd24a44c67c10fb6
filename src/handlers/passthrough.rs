//! Forwarding: streams both ways, changes only what belongs to this hop.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, LINK, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri, request};

use super::Handlers;
use super::error::HandlerError;
use crate::auth::Caller;
use crate::body::{self, Body};
use crate::route::Route;
use crate::upstream::client::Answer;
use crate::upstream::headers;

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

    /// Sends the request on; the answer is the registry's own.
    pub(super) async fn send(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
        body: Body,
    ) -> Result<Response<Body>, HandlerError> {
        let mut request = Request::builder()
            .method(parts.method.clone())
            .uri(forwarded_uri(route, &parts.uri)?)
            .body(body)?;
        let headers = request.headers_mut();
        headers.clone_from(&parts.headers);
        headers::prepare_request(headers);
        headers.extend(caller.forwarded().iter().cloned());
        Ok(self.upstream.send(request).await?)
    }

    /// Sends a body that is in memory and reads the whole answer. `again` says whether a second try can do no harm
    /// where the first ended without an answer or, by a race in old registries, with a wrong one.
    pub(super) async fn send_bytes(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
        bytes: &Bytes,
        again: bool,
    ) -> Result<Answer, HandlerError> {
        let once = || async {
            let response = self
                .send(route, parts, caller, body::full(bytes.clone()))
                .await?;
            Ok::<_, HandlerError>(self.upstream.collect(response, ANSWER_LIMIT).await?)
        };
        match once().await {
            Err(HandlerError::Upstream(_)) if again => once().await,
            Ok(answer) if again && answer.parts.status == StatusCode::BAD_REQUEST => once().await,
            first => first,
        }
    }

    /// Makes the registry's answer an answer of this server.
    pub(super) fn relay(
        &self,
        request: &request::Parts,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let own_authority = request
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        let headers = response.headers_mut();
        headers::remove_hop_by_hop(headers);
        self.localise(headers, own_authority);
        response
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
    fn localise(&self, headers: &mut HeaderMap, own_authority: Option<&str>) {
        let is_ours = |authority: &str| {
            authority == self.upstream.authority() || Some(authority) == own_authority
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

fn forwarded_uri(route: &Route, uri: &Uri) -> Result<Uri, http::Error> {
    let path = route
        .canonical_path()
        .unwrap_or_else(|| uri.path().to_owned());
    let path_and_query: PathAndQuery = match uri.query() {
        Some(query) => format!("{path}?{query}").parse()?,
        None => path.parse()?,
    };
    Ok(Uri::from(path_and_query))
}

/// Path and query of an absolute location, verbatim: upload state in queries is signed by its registry.
fn relative(location: &str, is_ours: impl Fn(&str) -> bool) -> Option<String> {
    let (_, rest) = location.split_once("://")?;
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
