//! `ns` and `OCI-Namespace` (distribution-spec "Registry Proxying"): a client that takes regseal for a mirror says which
//! registry it means.
//!
//! regseal stands before one registry. The same repository of another one is something else, so whoever asks for that is
//! told that there is none here, and goes to its next mirror or to the registry itself. `ns` ends here: what regseal
//! asks the registry by itself has none, and the two must be about the same content.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri, request};

use super::Handlers;
use super::error::HandlerError;
use crate::route::query;
use crate::upstream::place::same_host;

pub(super) const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");

/// Docker Hub has another name in references than in URLs.
const DOCKER_HUB: (&str, [&str; 2]) = ("docker.io", ["registry-1.docker.io", "index.docker.io"]);

impl Handlers {
    /// Takes `ns` out of the query; the value for the answer, if there was one.
    ///
    /// # Errors
    /// It is another registry than the one behind.
    pub(super) fn take_namespace(
        &self,
        parts: &mut request::Parts,
    ) -> Result<Option<HeaderValue>, HandlerError> {
        let mut meant = None;
        for namespace in query::values(&parts.uri, "ns").filter(|ns| !ns.is_empty()) {
            if !self.is_behind(parts, &namespace) {
                return Err(HandlerError::Namespace {
                    namespace: namespace.into_owned(),
                });
            }
            meant = HeaderValue::from_str(&namespace).ok();
        }
        if query::names(&parts.uri).any(|name| name == "ns") {
            parts.uri = without_namespace(&parts.uri)?;
        }
        Ok(meant)
    }

    fn is_behind(&self, parts: &request::Parts, namespace: &str) -> bool {
        let registry = self.upstream.authority();
        let (hub, hosts) = DOCKER_HUB;
        same_host(namespace, registry.as_str())
            || self.names(parts).any(|name| same_host(namespace, name))
            || self
                .config
                .namespaces
                .iter()
                .any(|name| same_host(namespace, name))
            || (same_host(namespace, hub) && hosts.contains(&registry.host()))
    }
}

/// The other parameters stay as they are written.
fn without_namespace(uri: &Uri) -> Result<Uri, http::Error> {
    let query = uri.query().unwrap_or_default().split('&');
    let others: Vec<&str> = query
        .filter(|pair| {
            let pair = form_urlencoded::parse(pair.as_bytes()).next();
            pair.is_none_or(|(name, _)| name != "ns")
        })
        .collect();
    let path_and_query: PathAndQuery = if others.is_empty() {
        uri.path().parse()?
    } else {
        format!("{}?{}", uri.path(), others.join("&")).parse()?
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query);
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_namespace_leaves_the_query() {
        for (uri, expected) in [
            ("/v2/a/tags/list?ns=b", "/v2/a/tags/list"),
            ("/v2/a?n=1&ns=b&last=%2F", "/v2/a?n=1&last=%2F"),
            ("/v2/a?n%73=b&_state=a%3D%3D", "/v2/a?_state=a%3D%3D"),
            ("/v2/a?ns", "/v2/a"),
            ("http://host/v2/a?xns=1&ns=b", "http://host/v2/a?xns=1"),
        ] {
            let left = without_namespace(&uri.parse().unwrap()).unwrap();
            assert_eq!(left.to_string(), expected, "{uri}");
        }
    }
}
