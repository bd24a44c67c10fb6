//! end-12: the Referrers API (distribution-spec "Listing Referrers").

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LINK, WARNING};
use http::{Method, Response, Uri};

use super::error::HandlerError;
use super::{Handlers, Incoming};
use crate::auth::{AuthError, Caller, Permit, Pull};
use crate::body::{self, Body};
use crate::clock::UnixMillis;
use crate::oci::{Descriptor, Digest, RepositoryName, image_index, media_type};
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
        if let Some(next) = page.next {
            let query = asked.next_query(&next);
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

/// The query of a request.
struct Asked {
    artifact_types: Vec<String>,
    after: Option<Cursor>,
}

/// The place of a referrer in the order of a list: time, then digest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    time: UnixMillis,
    digest: Digest,
}

/// One answer: an encoded index, and where the next one begins.
struct Page {
    body: Vec<u8>,
    next: Option<Cursor>,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, HandlerError> {
        let after = match query::first(uri, "after") {
            Some(text) => Some(Cursor::parse(&text).ok_or(HandlerError::Cursor)?),
            None => None,
        };
        let artifact_types = query::values(uri, "artifactType")
            .filter(|value| !value.is_empty())
            .map(Into::into)
            .collect();
        Ok(Self {
            artifact_types,
            after,
        })
    }

    fn wants(&self, referrer: &Referrer) -> bool {
        let of_type = |wanted: &String| referrer.descriptor.artifact_type.as_ref() == Some(wanted);
        (self.artifact_types.is_empty() || self.artifact_types.iter().any(of_type))
            && self.after.as_ref().is_none_or(|after| {
                (referrer.time, &referrer.descriptor.digest) > (after.time, &after.digest)
            })
    }

    /// As many referrers as fit; one that alone is too large still has a page, or nothing behind it could be read.
    fn page(&self, referrers: &[Referrer]) -> Page {
        let mut descriptors: Vec<Descriptor> = Vec::new();
        let mut length = image_index::EMPTY_LENGTH;
        let mut next = None;
        let mut last: Option<&Referrer> = None;
        for referrer in referrers.iter().filter(|referrer| self.wants(referrer)) {
            length += encoded_length(&referrer.descriptor) + 1;
            if length > PAGE_LIMIT && last.is_some() {
                next = last.map(Cursor::of);
                break;
            }
            descriptors.push(referrer.descriptor.clone());
            last = Some(referrer);
        }
        Page {
            body: image_index::encode(&descriptors),
            next,
        }
    }

    fn next_query(&self, next: &Cursor) -> String {
        let cursor = format!("{}.{}", next.time.as_u64(), next.digest);
        let types = self
            .artifact_types
            .iter()
            .map(|value| ("artifactType", value.as_str()));
        query::encode(types.chain([("after", cursor.as_str())]))
    }
}

impl Cursor {
    fn of(referrer: &Referrer) -> Self {
        Self {
            time: referrer.time,
            digest: referrer.descriptor.digest.clone(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (time, digest) = text.split_once('.')?;
        Some(Self {
            time: UnixMillis::new(time.parse().ok()?),
            digest: digest.parse().ok()?,
        })
    }
}

fn encoded_length(descriptor: &Descriptor) -> usize {
    serde_json::to_vec(descriptor).map_or(0, |bytes| bytes.len())
}
