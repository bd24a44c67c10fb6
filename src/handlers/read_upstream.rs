//! Reading from the registry behind for regseal itself, with the credential of a caller.
//!
//! An outage is not an absence: what is neither there nor said to be absent is an error.

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue, LINK};
use http::{Method, StatusCode};

use super::Handlers;
use super::error::HandlerError;
use crate::auth::Caller;
use crate::oci::{Digest, Manifest, RepositoryName, media_type};
use crate::upstream::Answer;
use crate::upstream::answer::{content_type, is_absence};

impl Handlers {
    /// Reads a manifest by digest; `None` if the registry has no such manifest, or one that is not what the digest
    /// says.
    pub(super) async fn manifest_upstream(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Bytes, Manifest)>, HandlerError> {
        let Some(answer) = self.fetch_manifest(caller, name, digest.as_str()).await? else {
            return Ok(None);
        };
        if !digest.matches(&answer.body) {
            return Ok(None);
        }
        let manifest = Manifest::parse(&answer.body, answer.content_type()).ok();
        Ok(manifest.map(|manifest| (answer.body, manifest)))
    }

    /// `GET` of a manifest by tag or digest, asking for every type.
    pub(super) async fn fetch_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        reference: &str,
    ) -> Result<Option<Answer>, HandlerError> {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.read_upstream(
            caller,
            &path,
            media_type::ACCEPT_MANIFESTS,
            self.config.max_manifest,
        )
        .await
    }

    /// `GET` of a page of the Referrers API; `None` if what answers is no such API. Some registries answer 200 to
    /// everything, others send to a page for people: neither is believed to list anything.
    pub(super) async fn referrers_page(
        &self,
        caller: &Caller,
        path: &str,
        limit: usize,
    ) -> Result<Option<Answer>, HandlerError> {
        let mut headers = caller.headers();
        headers.push((ACCEPT, HeaderValue::from_static(media_type::IMAGE_INDEX)));
        let response = self.upstream.ask(&Method::GET, path, &headers).await?;
        match response.status() {
            StatusCode::OK => {}
            status if is_absence(status) || status.is_redirection() => return Ok(None),
            status => return Err(HandlerError::undecided(status, response.headers())),
        }
        if content_type(response.headers()) != media_type::IMAGE_INDEX {
            return Ok(None);
        }
        Ok(Some(self.upstream.collect(response, limit).await?))
    }

    /// `GET` of `path`; `None` if the registry says that there is nothing.
    pub(super) async fn read_upstream(
        &self,
        caller: &Caller,
        path: &str,
        accept: &'static str,
        limit: usize,
    ) -> Result<Option<Answer>, HandlerError> {
        self.authorizer.may_ask(caller).await?;
        let mut headers = caller.headers();
        headers.push((ACCEPT, HeaderValue::from_static(accept)));
        let answer = self
            .upstream
            .fetch(&Method::GET, path, &headers, limit)
            .await?;
        let (status, headers) = (answer.parts.status, &answer.parts.headers);
        self.authorizer.answered(caller, status, headers).await;
        match answer.parts.status {
            StatusCode::OK => Ok(Some(answer)),
            status if is_absence(status) => Ok(None),
            status => Err(HandlerError::undecided(status, &answer.parts.headers)),
        }
    }
}

/// Path and query of the page behind the one at `path`, if the `Link` headers of its answer name one (RFC 8288). A
/// target on another host is none of ours to follow; `own_path` says which are.
pub(super) fn next_page(
    answer: &Answer,
    path: &str,
    own_path: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let links = answer.parts.headers.get_all(LINK).iter();
    let target = links
        .filter_map(|link| link.to_str().ok())
        .find_map(next_target)?;
    let whole = match target.get(..1)? {
        "?" => format!("{}{target}", path.split('?').next().unwrap_or(path)),
        _ => target.to_owned(),
    };
    own_path(&whole)
}

/// The first target with the relation `next` in the value of a `Link` header.
fn next_target(mut links: &str) -> Option<&str> {
    loop {
        let (target, rest) = links.split_once('<')?.1.split_once('>')?;
        // Up to the next link. A parameter that has such a bracket in quotes is not one of a registry.
        let (parameters, others) = rest.split_at_checked(rest.find('<').unwrap_or(rest.len()))?;
        if parameters.split([';', ',']).any(is_next) {
            return Some(target);
        }
        links = others;
    }
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    name.trim().eq_ignore_ascii_case("rel")
        && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_all_links() {
        for (links, expected) in [
            (r#"</v2/a?x>; rel="next""#, Some("/v2/a?x")),
            ("</v2/a?x>;rel=next", Some("/v2/a?x")),
            (r#"</v2/a?x>; title="t"; REL="prev NEXT""#, Some("/v2/a?x")),
            (r#"</first>; rel="first", </b>; rel="next""#, Some("/b")),
            (r#"</b>; rel="next", </last>; rel="last""#, Some("/b")),
            (r#"</v2/next>; rel="prev"; title="next""#, None),
            (r#"</a>; rel="nextish""#, None),
            ("/v2/a; rel=next", None),
            ("</a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_target(links), expected, "{links}");
        }
    }
}
