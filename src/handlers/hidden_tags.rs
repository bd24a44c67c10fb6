//! Referrers tags (distribution-spec "Referrers Tag Schema") are not shown in the tag list: what they list is what the
//! Referrers API answers.

use http::header::LINK;
use serde_json::Value;

use super::Handlers;
use super::error::HandlerError;
use super::passthrough::set_length;
use super::read_upstream::next_page;
use super::tags_list::Page;
use crate::auth::Caller;
use crate::oci::{CompanionTag, RepositoryName, Tag};
use crate::upstream::Answer;

/// Pages of the registry's list that are read to fill one.
const PAGES: usize = 16;

impl Handlers {
    /// Takes the referrers tags out of a tag list, and fills the page from those behind it: some clients take a shorter
    /// one for the last.
    pub(super) async fn hide_referrers_tags(
        &self,
        caller: &Caller,
        (name, asked): (&RepositoryName, &Page),
        path: &str,
        answer: &mut Answer,
    ) -> Result<(), HandlerError> {
        let Some((mut list, mut tags)) = with_hidden(&answer.body) else {
            return Ok(());
        };
        tags.retain(|tag| !is_hidden(tag));
        let own_path = |target: &str| {
            let own = self.upstream.own_path(target, caller.host())?;
            Some(own.to_string())
        };
        // A list that the registry does not page is cut as a whole.
        let is_paged = answer.parts.headers.contains_key(LINK);
        let mut path = path.to_owned();
        let mut last = answer.clone();
        let mut read = 0;
        for _ in 0..PAGES {
            if read > super::LIST_LIMIT || asked.limit.is_none_or(|limit| tags.len() >= limit) {
                break;
            }
            let Some(next) = next_page(&last, &path, own_path) else {
                break;
            };
            let page = self.read_upstream(caller, &next, "application/json", super::LIST_LIMIT);
            let Some(page) = page.await? else { break };
            read += page.body.len();
            let listed = tags_in(&page.body).map(|(_, tags)| tags);
            tags.extend(
                listed
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|tag| !is_hidden(tag)),
            );
            (last, path) = (page, next);
        }
        answer.parts.headers.remove(LINK);
        let cut = |limit: &usize| is_paged && (1..tags.len()).contains(limit);
        let rest = asked.limit.filter(cut);
        if let Some(limit) = rest {
            tags.truncate(limit);
            let link = tags.last().and_then(|last| asked.next(name, last));
            answer.parts.headers.extend(link.map(|link| (LINK, link)));
        } else {
            for link in last.parts.headers.get_all(LINK) {
                answer.parts.headers.append(LINK, link.clone());
            }
        }
        if let Some(list) = list.as_object_mut() {
            list.insert("tags".to_owned(), tags.into());
        }
        answer.body = list.to_string().into();
        set_length(&mut answer.parts.headers, answer.body.len());
        Ok(())
    }
}

/// A tag list, if one of its tags is to be hidden.
fn with_hidden(body: &[u8]) -> Option<(Value, Vec<String>)> {
    tags_in(body).filter(|(_, tags)| tags.iter().any(|tag| is_hidden(tag)))
}

fn tags_in(body: &[u8]) -> Option<(Value, Vec<String>)> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let tags = serde_json::from_value(list.get("tags")?.clone()).ok()?;
    Some((list, tags))
}

fn is_hidden(tag: &str) -> bool {
    let tag: Result<Tag, _> = tag.parse();
    matches!(
        tag.ok().as_ref().and_then(CompanionTag::parse),
        Some(CompanionTag::Referrers(_) | CompanionTag::CutReferrers(_))
    )
}
