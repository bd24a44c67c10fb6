//! Proof that the registry behind allowed something.

use std::marker::PhantomData;

use crate::oci::RepositoryName;

/// Reading manifests and blobs of a repository.
#[derive(Debug)]
pub enum Pull {}

/// Writing manifests and blobs of a repository.
#[derive(Debug)]
pub enum Push {}

/// The registry behind allowed the action `A` in one repository to the caller of the present request.
///
/// Only [`super::Authorizer`] makes one.
#[derive(Debug)]
pub struct Permit<A> {
    repository: RepositoryName,
    action: PhantomData<fn() -> A>,
}

impl<A> Permit<A> {
    pub(super) fn new(repository: RepositoryName) -> Self {
        Self {
            repository,
            action: PhantomData,
        }
    }

    /// The repository it is for.
    #[must_use]
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }
}
