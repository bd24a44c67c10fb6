//! end-8: the tag list, in the order of bytes, and paged as the specification asks where the registry behind ignores `n`
//! and `last`. What a registry pages itself keeps its order, on which its next page depends.

use http::header::{CONTENT_LENGTH, HeaderValue, LINK};
use http::{Method, Response, StatusCode};
use serde_json::Value;

use super::error::HandlerError;
use super::passthrough::set_length;
use super::{Handlers, Incoming, LIST_LIMIT};
use crate::body::{self, Body};
use crate::oci::{RepositoryName, Tag};
use crate::route::{Route, query};
use crate::upstream::Answer;

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
        let is_hiding = self.config.absorb_fallback_tags;
        // Too long to be put in order, which nobody has asked for either.
        if !page.is_asked_for() && markers.is_empty() && is_longer(&response, LIST_LIMIT) {
            return Ok(self.relay(&incoming.parts, response));
        }
        let mut answer = self.upstream.collect(response, LIST_LIMIT).await?;
        if is_hiding {
            let path = incoming.parts.uri.path();
            self.hide_referrers_tags(&incoming.caller, (name, &page), path, &mut answer)
                .await?;
        }
        if !markers.is_empty()
            && let Some(bytes) = with_markers(&answer, &markers)
        {
            answer.body = bytes.into();
            set_length(&mut answer.parts.headers, answer.body.len());
        }
        let is_paged = answer.parts.headers.contains_key(LINK);
        if let Some((bytes, more)) = page.cut(&answer.body, is_paged) {
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

fn is_longer(response: &Response<Body>, limit: usize) -> bool {
    let length = response.headers().get(CONTENT_LENGTH);
    let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.is_some_and(|length| length > limit)
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
pub(super) struct Page {
    pub(super) limit: Option<usize>,
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
    /// not one that can be read. `is_paged`: the registry behind says where its next page is.
    fn cut(&self, list: &[u8], is_paged: bool) -> Option<(Vec<u8>, Option<String>)> {
        let mut list: Value = serde_json::from_slice(list).ok()?;
        let listed: Option<Vec<String>> = serde_json::from_value(list.get("tags")?.clone()).ok()?;
        let is_null = listed.is_none();
        let mut tags = listed.unwrap_or_default();
        let limit = self.limit.unwrap_or(usize::MAX);
        if !is_null && (is_paged && limit > 0 || self.is_page(&tags, limit) && tags.is_sorted()) {
            return None;
        }
        if !self.is_page(&tags, usize::MAX) {
            tags.retain(|tag| self.last.as_ref().is_none_or(|last| tag > last));
        }
        tags.sort_unstable();
        let more = tags.len() > limit && limit > 0;
        tags.truncate(limit);
        let last = tags.last().cloned().filter(|_| more);
        list.as_object_mut()?.insert("tags".to_owned(), tags.into());
        Some((serde_json::to_vec(&list).ok()?, last))
    }

    /// Whether these can be the tags of this page, in whichever of the orders that registries have.
    fn is_page(&self, tags: &[String], limit: usize) -> bool {
        let Some(last) = &self.last else {
            return tags.len() <= limit;
        };
        let folded = last.to_ascii_lowercase();
        tags.len() <= limit
            && (tags.iter().all(|tag| tag > last)
                || tags.iter().all(|tag| tag.to_ascii_lowercase() > folded))
    }

    pub(super) fn next(&self, name: &RepositoryName, last: &str) -> Option<HeaderValue> {
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
            (
                "n=4",
                Some((r#"{"name":"a","tags":["a","b","c","d"]}"#, None)),
            ),
            ("", Some((r#"{"name":"a","tags":["a","b","c","d"]}"#, None))),
        ] {
            let page = Page::of(&format!("/?{query}").parse().unwrap());
            let cut = page
                .cut(list, false)
                .map(|(bytes, more)| (String::from_utf8(bytes).unwrap(), more));
            let expected =
                expected.map(|(bytes, more)| (bytes.to_owned(), more.map(str::to_owned)));
            assert_eq!(cut, expected, "{query}");
        }
    }

    #[test]
    fn what_a_registry_pages_in_its_own_order_is_left_to_it() {
        for (list, query, is_paged, why) in [
            (r#"{"tags":["b","C"]}"#, "n=2&last=a", true, "more follows"),
            (r#"{"tags":["c"]}"#, "n=2&last=B", false, "by bytes"),
        ] {
            let page = Page::of(&format!("/?{query}").parse().unwrap());
            assert_eq!(page.cut(list.as_bytes(), is_paged), None, "{why}");
        }
        // The end of a list without regard to case: nothing of it is lost.
        let page = Page::of(&"/?n=5&last=b".parse().unwrap());
        let (bytes, more) = page.cut(br#"{"tags":["d","C"]}"#, false).unwrap();
        assert_eq!((&*bytes, more), (&br#"{"tags":["C","d"]}"#[..], None));
    }

    #[test]
    fn a_null_list_becomes_an_empty_one() {
        let page = Page::of(&"/?n=2".parse().unwrap());
        let (bytes, more) = page.cut(br#"{"name":"a","tags":null}"#, false).unwrap();
        assert_eq!(bytes, br#"{"name":"a","tags":[]}"#);
        assert_eq!(more, None);
    }
}
