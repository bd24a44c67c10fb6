//! end-7b: `PUT /v2/<name>/manifests/<digest>?tag=a&tag=b`. Tags that the registry behind does not set by itself are set
//! one by one. Only those it has taken are named in `OCI-Tag`: of the others the client knows that they need a push of
//! their own.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, WARNING};
use http::{HeaderMap, Response, StatusCode, Uri, request};

use super::aliases::without_query;
use super::error::HandlerError;
use super::gate::quoted_warning;
use super::manifest_push::Pushed;
use super::whole_upload::without;
use super::{Handlers, aliases};
use crate::body::Body;
use crate::oci::{CompanionTag, Reference, Tag};
use crate::route::{Route, query};

/// Tags that one push may set.
const MOST: usize = 64;
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

impl Handlers {
    /// The tags that a push asks for, and the request with those alone that may be forwarded: a push by tag sets no
    /// other, and what is captured under a tag is pushed by that tag.
    ///
    /// # Errors
    /// One is no tag, or there are too many.
    pub(super) fn take_tags(
        &self,
        parts: &mut request::Parts,
        reference: &Reference,
    ) -> Result<Vec<Tag>, HandlerError> {
        // Some servers take it for `&`, and would see tags here that nobody has judged.
        if parts.uri.query().is_some_and(|query| query.contains(';')) {
            return Err(HandlerError::QueryTag);
        }
        if query::first(&parts.uri, "tag").is_none() {
            return Ok(Vec::new());
        }
        let mut tags: Vec<Tag> = Vec::new();
        for tag in query::values(&parts.uri, "tag") {
            let tag = tag.parse().or(Err(HandlerError::QueryTag))?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            if tags.len() > MOST {
                return Err(HandlerError::TooManyTags { limit: MOST });
            }
        }
        if reference.tag().is_some() {
            tags.clear();
        }
        tags.retain(|tag| !self.is_captured_by_name(tag));
        parts.uri = with_tags(&parts.uri, &tags);
        Ok(tags)
    }

    fn is_captured_by_name(&self, tag: &Tag) -> bool {
        match CompanionTag::parse(tag) {
            Some(CompanionTag::Referrers(_) | CompanionTag::CutReferrers(_)) => {
                self.config.absorb_fallback_tags
            }
            Some(CompanionTag::Cosign(_)) => self.config.absorb_cosign_tags,
            None => false,
        }
    }

    /// Sets the tags that the registry behind has not set with the manifest, says in the answer which are set, and
    /// returns them.
    pub(super) async fn set_tags(
        &self,
        pushed: &Pushed<'_>,
        tags: &[Tag],
        response: &mut Response<Body>,
    ) -> Vec<Tag> {
        let by_itself = accepted(response.headers());
        response.headers_mut().remove(OCI_TAG);
        let mut set = Vec::new();
        for tag in tags {
            let is_set = by_itself.contains(tag) || self.set_tag(pushed, tag).await;
            let value = if is_set {
                (OCI_TAG, HeaderValue::from_str(tag.as_str()).ok())
            } else {
                let text = format!("tag {tag} was not set by the registry behind");
                (WARNING, quoted_warning(&text))
            };
            if let (name, Some(value)) = value {
                response.headers_mut().append(name, value);
            }
            if is_set {
                set.push(tag.clone());
            }
        }
        self.name_tags(pushed, &set, response.status()).await;
        set
    }

    async fn set_tag(&self, pushed: &Pushed<'_>, tag: &Tag) -> bool {
        let reference = Reference::Tag(tag.clone());
        let route = Route::ManifestPush(pushed.name.clone(), reference);
        let parts = without_query(pushed.parts);
        let bytes: &Bytes = &pushed.bytes;
        let answer = self.send_bytes(&route, &parts, pushed.caller, bytes, false);
        match answer.await {
            Ok(answer) => answer.parts.status.is_success(),
            Err(error) => {
                tracing::warn!(
                    oci.repository = %pushed.name,
                    oci.tag = %tag,
                    error = &error as &dyn std::error::Error,
                    "a tag of a push by digest was not set"
                );
                false
            }
        }
    }

    /// Notes by which name these tags name the manifest, if it is not the canonical one. Best effort: the canonical name
    /// is right as well.
    async fn name_tags(&self, pushed: &Pushed<'_>, tags: &[Tag], status: StatusCode) {
        if !aliases::is_second(&pushed.digest) {
            return;
        }
        let Ok(permit) = self
            .authorizer
            .pushed(pushed.caller, pushed.name, status)
            .await
        else {
            return;
        };
        let writer = self.custody.writer(&permit);
        for tag in tags {
            let noted = writer.note_tagged(&pushed.digest, tag);
            if let Err(error) = noted.await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the name behind a tag was not noted"
                );
            }
        }
    }
}

/// The tags that an answer says are set.
fn accepted(headers: &HeaderMap) -> Vec<Tag> {
    let values = headers.get_all(OCI_TAG).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|tag| tag.trim().parse().ok())
        .collect()
}

fn with_tags(uri: &Uri, tags: &[Tag]) -> Uri {
    let rest = without(uri, &["tag"]);
    let tags = query::encode(tags.iter().map(|tag| ("tag", tag.as_str())));
    let separator = match (rest.query(), tags.is_empty()) {
        (_, true) => "",
        (Some(_), false) => "&",
        (None, false) => "?",
    };
    format!("{rest}{separator}{tags}").parse().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_tags_are_asked_for() {
        let tags: Vec<Tag> = vec!["a".parse().unwrap(), "b".parse().unwrap()];
        for (uri, tags, expected) in [
            ("/m?tag=x&tag=y", tags.as_slice(), "/m?tag=a&tag=b"),
            ("/m?x=1&tag=y", &tags[..1], "/m?x=1&tag=a"),
            ("/m?tag=y", &[], "/m"),
            ("/m?x=1", &[], "/m?x=1"),
        ] {
            assert_eq!(with_tags(&uri.parse().unwrap(), tags), expected, "{uri}");
        }
    }

    #[test]
    fn accepted_tags_come_on_one_line_or_on_several() {
        let mut headers = HeaderMap::new();
        headers.append(OCI_TAG, "a, b".parse().unwrap());
        headers.append(OCI_TAG, "c".parse().unwrap());
        let tags: Vec<String> = accepted(&headers).iter().map(ToString::to_string).collect();
        assert_eq!(tags, ["a", "b", "c"]);
    }
}
