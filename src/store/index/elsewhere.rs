//! The index that another process has for itself.
//!
//! Every operation fails: reads then go to the object store, and what a write would have changed is put in the journal,
//! from which the process that has the index learns it within a second.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::{Epoch, Generation, Incarnation, IndexError, Lookup, ReferrersIndex, Row};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::records::{Link, Referrer, TagVersion};

/// An index out of reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elsewhere;

fn out_of_reach<T>() -> Result<T, IndexError> {
    Err(IndexError::Unavailable {
        operation: "be used by this process",
        source: Arc::new(io::Error::from(io::ErrorKind::ResourceBusy)),
    })
}

#[async_trait]
impl ReferrersIndex for Elsewhere {
    async fn complete(&self) -> Result<bool, IndexError> {
        out_of_reach()
    }

    async fn epoch(&self) -> Result<Epoch, IndexError> {
        out_of_reach()
    }

    async fn clear(&self) -> Result<Epoch, IndexError> {
        out_of_reach()
    }

    async fn set_complete(&self, _: Epoch) -> Result<bool, IndexError> {
        out_of_reach()
    }

    async fn begin_repository(&self, _: &RepositoryName) -> Result<Incarnation, IndexError> {
        out_of_reach()
    }

    async fn complete_repository(
        &self,
        _: &RepositoryName,
        _: Incarnation,
    ) -> Result<bool, IndexError> {
        out_of_reach()
    }

    async fn put_referrer(&self, _: &Referrer) -> Result<(), IndexError> {
        out_of_reach()
    }

    async fn remove_referrer(
        &self,
        _: &RepositoryName,
        _: &Digest,
        _: &Digest,
    ) -> Result<(), IndexError> {
        out_of_reach()
    }

    async fn referrers(
        &self,
        _: &RepositoryName,
        _: &Digest,
    ) -> Result<Lookup<Vec<Referrer>>, IndexError> {
        out_of_reach()
    }

    async fn generation(&self, _: &RepositoryName, _: &Digest) -> Result<Generation, IndexError> {
        out_of_reach()
    }

    async fn replace_subject(
        &self,
        _: &RepositoryName,
        _: &Digest,
        _: Vec<Referrer>,
        _: Generation,
    ) -> Result<bool, IndexError> {
        out_of_reach()
    }

    async fn put_links(&self, _: &RepositoryName, _: &[(Digest, Link)]) -> Result<(), IndexError> {
        out_of_reach()
    }

    async fn remove_link(&self, _: &RepositoryName, _: &Digest) -> Result<(), IndexError> {
        out_of_reach()
    }

    async fn link(&self, _: &RepositoryName, _: &Digest) -> Result<Lookup<Link>, IndexError> {
        out_of_reach()
    }

    async fn put_tag_version(
        &self,
        _: &RepositoryName,
        _: &Tag,
        _: u64,
        _: &TagVersion,
    ) -> Result<(), IndexError> {
        out_of_reach()
    }

    async fn tag_versions(
        &self,
        _: &RepositoryName,
        _: &Tag,
    ) -> Result<Lookup<Vec<(u64, TagVersion)>>, IndexError> {
        out_of_reach()
    }

    async fn verdicts(&self, _: &RepositoryName, _: &Digest) -> Result<Option<Bytes>, IndexError> {
        out_of_reach()
    }

    async fn put_verdicts(
        &self,
        _: &RepositoryName,
        _: &Digest,
        _: Bytes,
    ) -> Result<(), IndexError> {
        out_of_reach()
    }

    fn rows(&self) -> BoxStream<'_, Result<Row, IndexError>> {
        stream::iter([out_of_reach()]).boxed()
    }
}
