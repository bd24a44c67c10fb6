//! What the registry lists: its repositories, the tags of one, the native referrers of a manifest. Whatever is listed
//! again is seen once, so a list that goes round ends.

use std::collections::HashSet;

use serde::Deserialize;

use super::Import;
use crate::oci::{RepositoryName, Tag};
use crate::transfer::TransferError;
use crate::transfer::registry::{Failure, Scope};
use crate::transfer::report::Counts;
use crate::upstream::UpstreamError;

/// Names that are asked for at once.
const PAGE: usize = 1000;
/// The most tags of one repository; they are kept in memory, sorted.
const MOST_TAGS: usize = 1_000_000;
const JSON: &str = "application/json";

/// The repositories to look through, page by page.
pub(super) enum Repositories {
    Named(Option<Vec<RepositoryName>>),
    Listed {
        next: Option<String>,
        seen: HashSet<RepositoryName>,
    },
}

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TagsPage {
    tags: Option<Vec<String>>,
}

impl Repositories {
    pub(super) fn of(named: Option<Vec<RepositoryName>>) -> Self {
        match named {
            Some(mut names) => {
                names.sort();
                names.dedup();
                Self::Named(Some(names))
            }
            None => Self::Listed {
                next: Some(format!("/v2/_catalog?n={PAGE}")),
                seen: HashSet::new(),
            },
        }
    }

    /// The next repositories; `None` at the end.
    pub(super) async fn next(
        &mut self,
        import: &Import,
        counts: &mut Counts,
    ) -> Result<Option<Vec<RepositoryName>>, TransferError> {
        let (next, seen) = match self {
            Self::Named(names) => return Ok(names.take()),
            Self::Listed { next, seen } => (next, seen),
        };
        let Some(path) = next.take() else {
            return Ok(None);
        };
        let page = import.registry.page(&Scope::Catalog, &path, JSON).await;
        let (answer, following) = match page {
            Ok(Some(page)) => page,
            Ok(None) => return Err(TransferError::NoCatalog("it has no catalogue".to_owned())),
            Err(Failure::Upstream(error)) => return Err(error.into()),
            Err(failure) => return Err(TransferError::NoCatalog(failure.to_string())),
        };
        let listed: CatalogPage = serde_json::from_slice(&answer.body)
            .map_err(|error| TransferError::NoCatalog(error.to_string()))?;
        let mut names = Vec::new();
        for name in listed.repositories.unwrap_or_default() {
            match name.parse::<RepositoryName>() {
                Ok(name) if seen.insert(name.clone()) => names.push(name),
                Ok(_) => {}
                Err(error) => counts.skipped.add(name, error),
            }
        }
        *next = following.filter(|_| !names.is_empty());
        Ok(Some(names))
    }
}

impl Import {
    /// The tags of a repository, sorted; `None` if the registry has no such repository.
    pub(super) async fn tags(
        &self,
        name: &RepositoryName,
        counts: &mut Counts,
    ) -> Result<Option<Vec<Tag>>, Failure> {
        let scope = Scope::Pull(name.clone());
        let mut next = Some(format!("/v2/{name}/tags/list?n={PAGE}"));
        let mut tags = HashSet::new();
        let mut is_there = false;
        while let Some(path) = next.take() {
            let Some((answer, following)) = self.registry.page(&scope, &path, JSON).await? else {
                break;
            };
            is_there = true;
            let listed = serde_json::from_slice::<TagsPage>(&answer.body);
            let listed = listed.or(Err(Failure::NoList))?.tags.unwrap_or_default();
            let before = tags.len();
            for tag in listed {
                match tag.parse::<Tag>() {
                    Ok(tag) => drop(tags.insert(tag)),
                    Err(error) => counts.skipped.add(format!("{name}:{tag}"), error),
                }
            }
            if tags.len() > MOST_TAGS {
                return Err(UpstreamError::TooLarge(MOST_TAGS).into());
            }
            next = following.filter(|_| tags.len() > before);
        }
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        tags.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(is_there.then_some(tags))
    }
}
