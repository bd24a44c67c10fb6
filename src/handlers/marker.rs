//! `unsigned-<tag>`: the mark of an image that passed unsigned, as a tag that can be listed and read. It is nowhere but
//! here; a real tag of such a name wins.

use http::header::{HeaderValue, WARNING};
use http::{Response, StatusCode};

use super::behind::Behind;
use super::error::HandlerError;
use super::gate::quoted_warning;
use super::{Handlers, Incoming};
use crate::admission::{self, Admission};
use crate::auth::Caller;
use crate::body::Body;
use crate::oci::{Reference, RepositoryName, Tag};
use crate::route::Route;

impl Handlers {
    /// Reads what a mark names, by the rule of the tag that is marked.
    pub(super) async fn pull_marker(
        &self,
        admission: &Admission,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response<Body>, HandlerError> {
        let Reference::Tag(marker) = reference else {
            return self.pull_upstream(route, incoming, name, reference).await;
        };
        let again = incoming.without_body();
        let response = self.pull_upstream(route, incoming, name, reference).await?;
        if response.status() != StatusCode::NOT_FOUND {
            return Ok(response);
        }
        let behind = Behind {
            handlers: self,
            caller: &again.caller,
            name,
        };
        let Some((tag, digest)) = admission.marked_by(name, marker, &behind).await? else {
            return Ok(response);
        };
        let marked = Reference::Digest(digest);
        let route = Route::ManifestPull(name.clone(), marked.clone());
        let named = match self.gate(name) {
            Some(gate) => {
                self.pull_judged(gate, &route, again, name, &marked, Some(&tag))
                    .await?
            }
            None => self.pull_upstream(&route, again, name, &marked).await?,
        };
        // Whoever may not read it is not told what it is.
        let is_shown = named.status().is_success() || named.status() == StatusCode::NOT_MODIFIED;
        Ok(if is_shown { named } else { response })
    }

    /// What is marked is served with a warning, also where no rule is about reads.
    pub(super) async fn warn_of_mark(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        named: &HeaderValue,
        response: &mut Response<Body>,
    ) {
        let Some(admission) = self.admission(name).filter(|found| found.marks(name)) else {
            return;
        };
        if let Ok(Some(mark)) = admission.mark_of(name, tag).await
            && named.as_bytes() == mark.digest.as_str().as_bytes()
            && let Some(warning) = quoted_warning(&format!(
                "not signed as rule '{}' requires, marked as {}",
                mark.rule,
                admission::marker_tag(tag)
            ))
        {
            response.headers_mut().append(WARNING, warning);
        }
    }

    /// What was deleted is marked no more. Best effort: a mark that stays is no way to read anything.
    pub(super) async fn forget_marks(&self, name: &RepositoryName, reference: &Reference) {
        let Some(admission) = self.admission(name) else {
            return;
        };
        if let Err(error) = admission.deleted(name, reference).await {
            tracing::warn!(
                oci.repository = %name,
                error = &error as &dyn std::error::Error,
                "the mark of what was deleted is still there"
            );
        }
    }

    /// The names of the marks of a repository, in order.
    pub(super) async fn marker_tags(
        &self,
        caller: &Caller,
        name: &RepositoryName,
    ) -> Result<Vec<Tag>, HandlerError> {
        let Some(admission) = self.admission(name).filter(|found| found.marks(name)) else {
            return Ok(Vec::new());
        };
        let behind = Behind {
            handlers: self,
            caller,
            name,
        };
        Ok(Box::pin(admission.marker_tags(name, &behind)).await?)
    }
}
