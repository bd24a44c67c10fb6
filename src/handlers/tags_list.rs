//! end-8: the tag list, paged as the specification asks where the registry behind ignores `n` and `last`.

use http::header::{HeaderValue, LINK};
use http::{Method, Response, StatusCode};
use serde_json::Value;

use super::error::HandlerError;
use super::passthrough::set_length;
use super::{Handlers, Incoming};
use crate::body::{self, Body};
use crate::oci::{RepositoryName, Tag};
use crate::route::{Route, query};
use crate::upstream::client::Answer;

/// A list that has to be paged here is read whole up to this many bytes.
const LIST_LIMIT: usize = 32 << 20;

impl Handlers {
    pub(super) async fn tags_list(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
    ) -> Result<Response<Body>, HandlerError> {
        let page = Page::of(&incoming.parts.uri);
        let response = self
            .send(route, &incoming.parts, &incoming.caller, incoming.body)
            .await?;
        if incoming.parts.method != Method::GET || response.status() != StatusCode::OK {
            return Ok(self.relay(&incoming.parts, response));
        }
        let mut markers = self.marker_tags(&incoming.caller, name).await?;
        markers.retain(|marker| {
            page.last
                .as_ref()
                .is_none_or(|last| marker.as_str() > last.as_str())
        });
        if !page.is_asked_for() && markers.is_empty() {
            return Ok(self.relay(&incoming.parts, response));
        }
        let mut answer = self.upstream.collect(response, LIST_LIMIT).await?;
        if !markers.is_empty()
            && let Some(bytes) = with_markers(&answer, &markers)
        {
            answer.body = bytes.into();
            set_length(&mut answer.parts.headers, answer.body.len());
        }
        if let Some((bytes, more)) = page.cut(&answer.body) {
            set_length(&mut answer.parts.headers, bytes.len());
            answer.parts.headers.remove(LINK);
            if let Some(link) = more.and_then(|last| page.next(name, &last)) {
                answer.parts.headers.insert(LINK, link);
            }
            let response = Response::from_parts(answer.parts, body::full(bytes));
            return Ok(self.relay(&incoming.parts, response));
        }
        Ok(self.relay_answer(&incoming.parts, answer))
    }
}

/// The list with the names of marks. Where the registry says that more follows, marks beyond its last tag wait for
/// that page.
fn with_markers(answer: &Answer, markers: &[Tag]) -> Option<Vec<u8>> {
    let mut list: Value = serde_json::from_slice(&answer.body).ok()?;
    let listed: Option<Vec<String>> = serde_json::from_value(list.get("tags")?.clone()).ok()?;
    let mut tags = listed.unwrap_or_default();
    let ends = answer
        .parts
        .headers
        .contains_key(LINK)
        .then(|| tags.iter().max().cloned())
        .flatten();
    let now = markers
        .iter()
        .map(ToString::to_string)
        .filter(|marker| ends.as_ref().is_none_or(|end| marker < end));
    tags.extend(now);
    tags.sort_unstable();
    tags.dedup();
    list.as_object_mut()?.insert("tags".to_owned(), tags.into());
    serde_json::to_vec(&list).ok()
}

/// `n` and `last` of a request.
struct Page {
    limit: Option<usize>,
    last: Option<String>,
}

impl Page {
    fn of(uri: &http::Uri) -> Self {
        Self {
            limit: query::first(uri, "n").and_then(|n| n.parse().ok()),
            last: query::first(uri, "last")
                .filter(|last| !last.is_empty())
                .map(Into::into),
        }
    }

    fn is_asked_for(&self) -> bool {
        self.limit.is_some() || self.last.is_some()
    }

    /// The list cut to this page, and its last tag if more follow; `None` if the list is such a page already, or is
    /// not one that can be read.
    fn cut(&self, list: &[u8]) -> Option<(Vec<u8>, Option<String>)> {
        let mut list: Value = serde_json::from_slice(list).ok()?;
        let listed: Option<Vec<String>> = serde_json::from_value(list.get("tags")?.clone()).ok()?;
        let is_null = listed.is_none();
        let mut tags = listed.unwrap_or_default();
        let limit = self.limit.unwrap_or(usize::MAX);
        let after_last = |tag: &String| self.last.as_ref().is_none_or(|last| tag > last);
        if tags.len() <= limit && tags.iter().all(after_last) && !is_null {
            return None;
        }
        tags.retain(after_last);
        tags.sort_unstable();
        let more = tags.len() > limit && limit > 0;
        tags.truncate(limit);
        let last = tags.last().cloned().filter(|_| more);
        list.as_object_mut()?.insert("tags".to_owned(), tags.into());
        Some((serde_json::to_vec(&list).ok()?, last))
    }

    fn next(&self, name: &RepositoryName, last: &str) -> Option<HeaderValue> {
        let limit = self.limit.map(|limit| limit.to_string())?;
        let query = query::encode([("last", last), ("n", limit.as_str())]);
        HeaderValue::from_str(&format!("</v2/{name}/tags/list?{query}>; rel=\"next\"")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_no_page_is_cut() {
        let list = br#"{"name":"a","tags":["c","a","b","d"]}"#;
        for (query, expected) in [
            ("n=2", Some((r#"{"name":"a","tags":["a","b"]}"#, Some("b")))),
            (
                "n=2&last=b",
                Some((r#"{"name":"a","tags":["c","d"]}"#, None)),
            ),
            ("last=b", Some((r#"{"name":"a","tags":["c","d"]}"#, None))),
            ("n=0", Some((r#"{"name":"a","tags":[]}"#, None))),
            ("n=4", None),
        ] {
            let page = Page::of(&format!("/?{query}").parse().unwrap());
            let cut = page
                .cut(list)
                .map(|(bytes, more)| (String::from_utf8(bytes).unwrap(), more));
            let expected =
                expected.map(|(bytes, more)| (bytes.to_owned(), more.map(str::to_owned)));
            assert_eq!(cut, expected, "{query}");
        }
    }

    #[test]
    fn a_null_list_becomes_an_empty_one() {
        let page = Page::of(&"/?n=2".parse().unwrap());
        let (bytes, more) = page.cut(br#"{"name":"a","tags":null}"#).unwrap();
        assert_eq!(bytes, br#"{"name":"a","tags":[]}"#);
        assert_eq!(more, None);
    }
}
