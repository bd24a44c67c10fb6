//! end-12: the Referrers API (distribution-spec "Listing Referrers").

use std::fmt;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK, WARNING};
use http::{Method, Response, Uri};

use super::error::HandlerError;
use super::{Handlers, Incoming};
use crate::auth::{AuthError, Caller, Permit, Pull};
use crate::body::{self, Body};
use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName, image_index, media_type};
use crate::route::query;
use crate::store::Referrer;

/// Clients read an answer as a manifest, and cap those near 4 MiB.
const PAGE_LIMIT: usize = 4 << 20;
/// An outage is not an absence (distribution-spec "Warnings").
const PARTIAL: &str =
    "299 - \"the registry behind did not answer: referrers that only it has are missing\"";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Handlers {
    pub(super) async fn referrers(
        &self,
        incoming: Incoming,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let asked = Asked::of(&incoming.parts.uri)?;
        let mut is_partial = false;
        let referrers = match self
            .permit_for_referrers(&incoming.caller, name, subject)
            .await?
        {
            Some(permit) => {
                let found = self
                    .merge_upstream(&incoming.caller, &permit, subject)
                    .await;
                is_partial = found.is_partial;
                self.custody.reader(&permit).referrers(subject).await?
            }
            // Absent or hidden: an empty list says nothing of either.
            None => Vec::new(),
        };
        let page = asked.page(&referrers);
        let mut response = Response::builder()
            .header(CONTENT_TYPE, media_type::IMAGE_INDEX)
            .header(CONTENT_LENGTH, page.body.len());
        if !asked.artifact_types.is_empty() {
            response = response.header(FILTERS_APPLIED, "artifactType");
        }
        if is_partial {
            response = response.header(WARNING, PARTIAL);
        }
        if let Some(query) = page.next {
            response = response.header(
                LINK,
                format!("</v2/{name}/referrers/{subject}?{query}>; rel=\"next\""),
            );
        }
        let head = incoming.parts.method == Method::HEAD;
        Ok(response.body(if head {
            body::empty()
        } else {
            body::full(page.body)
        })?)
    }

    /// A permit to read the referrers of `subject`; `None` if the registry behind does not show the repository.
    /// Whether the caller may push is asked only where there is something to show: that question opens an upload
    /// session.
    pub(super) async fn permit_for_referrers(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Permit<Pull>>, HandlerError> {
        let mut decided = self.authorizer.pull(caller, name, Some(subject)).await;
        if matches!(decided, Err(AuthError::Hidden))
            && self.custody.has_referrers(name, subject).await?
        {
            decided = self.authorizer.pull_or_push(caller, name, None).await;
        }
        match decided {
            Err(AuthError::Hidden) => Ok(None),
            decided => Ok(Some(decided?)),
        }
    }
}

/// The query of a request: what is asked for, and which part of the list.
struct Asked {
    artifact_types: Vec<String>,
    after: Option<Cursor>,
    /// Where the list ended when its first page was made: what was added since, perhaps what has been on an earlier page
    /// and was deleted and pushed again, is for whoever begins anew.
    until: Option<Cursor>,
}

/// The place of a referrer in the order of a list: time, then digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    time: UnixMillis,
    digest: Digest,
}

/// One answer: an encoded index, and the query for the next one.
struct Page {
    body: Vec<u8>,
    next: Option<String>,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, HandlerError> {
        let cursor = |name| match query::first(uri, name) {
            Some(text) => Cursor::parse(&text).ok_or(HandlerError::Cursor).map(Some),
            None => Ok(None),
        };
        let artifact_types = query::values(uri, "artifactType")
            .filter(|value| !value.is_empty())
            .map(Into::into)
            .collect();
        Ok(Self {
            artifact_types,
            after: cursor("after")?,
            until: cursor("until")?,
        })
    }

    fn wants(&self, referrer: &Referrer) -> bool {
        let of_type = |wanted: &String| referrer.descriptor.artifact_type.as_ref() == Some(wanted);
        let place = (referrer.time, &referrer.descriptor.digest);
        (self.artifact_types.is_empty() || self.artifact_types.iter().any(of_type))
            && self
                .after
                .as_ref()
                .is_none_or(|after| place > after.place())
            && self
                .until
                .as_ref()
                .is_none_or(|until| place <= until.place())
    }

    /// As many referrers as fit; one that alone is too large still has a page, or nothing behind it could be read.
    fn page(&self, referrers: &[Referrer]) -> Page {
        let mut index = image_index::Encoder::new(PAGE_LIMIT);
        let mut last: Option<&Referrer> = None;
        let mut next = None;
        for referrer in referrers.iter().filter(|referrer| self.wants(referrer)) {
            if !index.push(&referrer.descriptor) {
                let until = self.until.clone();
                let until = until.or_else(|| referrers.last().map(Cursor::of));
                next = last.map(|last| self.next_query(&Cursor::of(last), until));
                break;
            }
            last = Some(referrer);
        }
        Page {
            body: index.finish(),
            next,
        }
    }

    fn next_query(&self, after: &Cursor, until: Option<Cursor>) -> String {
        let (after, until) = (after.to_string(), until.map(|until| until.to_string()));
        let types = self
            .artifact_types
            .iter()
            .map(|value| ("artifactType", value.as_str()));
        let until = until.as_deref().map(|until| ("until", until));
        query::encode(types.chain([("after", after.as_str())]).chain(until))
    }
}

impl Cursor {
    fn of(referrer: &Referrer) -> Self {
        Self {
            time: referrer.time,
            digest: referrer.descriptor.digest.clone(),
        }
    }

    fn place(&self) -> (UnixMillis, &Digest) {
        (self.time, &self.digest)
    }

    fn parse(text: &str) -> Option<Self> {
        let (time, digest) = text.split_once('.')?;
        Some(Self {
            time: UnixMillis::new(time.parse().ok()?),
            digest: digest.parse().ok()?,
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.time.as_u64(), self.digest)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::oci::Descriptor;
    use crate::store::Source;

    fn referrer(index: usize, time: u64, kind: &str, length: usize) -> Referrer {
        let annotations = BTreeMap::from([("a".to_owned(), "x".repeat(length))]);
        Referrer {
            repository: "a".parse().unwrap(),
            subject: Digest::sha256(b"subject"),
            descriptor: Descriptor {
                media_type: media_type::IMAGE_MANIFEST.to_owned(),
                digest: Digest::sha256(&index.to_le_bytes()),
                size: 1,
                artifact_type: Some(kind.to_owned()),
                annotations: Some(annotations),
            },
            source: Source::Captured,
            time: UnixMillis::new(time),
        }
    }

    /// Times that are often equal, types, and annotations of which two to four fill a page.
    fn referrers() -> impl Strategy<Value = Vec<Referrer>> {
        let one = (
            0_u64..4,
            prop::sample::select(vec!["k", "l"]),
            (0_usize..5).prop_map(|m| m << 19),
        );
        prop::collection::vec(one, 0..12).prop_map(|all| {
            let all = all.into_iter().enumerate();
            let made = all.map(|(index, (time, kind, length))| referrer(index, time, kind, length));
            let mut made: Vec<Referrer> = made.collect();
            made.sort_by(|a, b| Cursor::of(a).cmp(&Cursor::of(b)));
            made
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn pages_make_up_the_whole_list(all in referrers(), filtered in any::<bool>()) {
            let mut query = if filtered { "artifactType=k".to_owned() } else { String::new() };
            let mut found = Vec::new();
            for _ in 0..=all.len() {
                let asked = Asked::of(&format!("/?{query}").parse().unwrap()).unwrap();
                let page = asked.page(&all);
                let index: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
                let listed: Vec<Descriptor> = serde_json::from_value(index["manifests"].clone()).unwrap();
                prop_assert!(page.body.len() <= PAGE_LIMIT || listed.len() == 1);
                found.extend(listed);
                let Some(next) = page.next else {
                    let wanted = all.iter().map(|referrer| referrer.descriptor.clone());
                    let of_type = |descriptor: &Descriptor| {
                        !filtered || descriptor.artifact_type.as_deref() == Some("k")
                    };
                    prop_assert_eq!(found, wanted.filter(of_type).collect::<Vec<_>>());
                    return Ok(());
                };
                query = next;
            }
            prop_assert!(false, "there is always another page");
        }

        #[test]
        fn a_cursor_is_read_as_it_was_written(time in any::<u64>(), content in any::<[u8; 8]>()) {
            let cursor = Cursor { time: UnixMillis::new(time), digest: Digest::sha256(&content) };
            let asked = Asked { artifact_types: vec!["a&b".to_owned()], after: None, until: None };
            let next = asked.next_query(&cursor, Some(cursor.clone()));
            let uri: Uri = format!("/?{next}").parse().unwrap();
            let again = Asked::of(&uri).unwrap();
            prop_assert_eq!((again.after, again.until), (Some(cursor.clone()), Some(cursor)));
            prop_assert_eq!(again.artifact_types, asked.artifact_types);
        }
    }
}
