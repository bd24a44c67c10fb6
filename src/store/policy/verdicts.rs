//! Verdicts on subjects, in the index alone: what is not found there is made anew, and whoever reads them checks that
//! they are its own and of the signatures that stand now.

use bytes::Bytes;

use crate::oci::{Digest, RepositoryName};

use crate::store::index::{IndexError, MAX_VERDICTS};
use crate::store::signatures::SignatureStore;

impl SignatureStore {
    /// The verdicts that were last put for a subject; `None` also if the index cannot be asked.
    pub async fn verdicts(&self, repository: &RepositoryName, subject: &Digest) -> Option<Bytes> {
        if !self.journal.index_is_trusted() {
            return None;
        }
        match self.index.verdicts(repository, subject).await {
            Ok(verdicts) => verdicts,
            Err(error) => {
                not_used(&error);
                None
            }
        }
    }

    /// Puts the verdicts on a subject, for this and other replicas to use while the index has them. What is longer than
    /// [`MAX_VERDICTS`] is not kept.
    pub async fn put_verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        verdicts: Bytes,
    ) {
        if verdicts.len() > MAX_VERDICTS || !self.journal.index_is_trusted() {
            return;
        }
        let put = self.index.put_verdicts(repository, subject, verdicts);
        if let Err(error) = put.await {
            not_used(&error);
        }
    }
}

fn not_used(error: &IndexError) {
    tracing::debug!(
        error = error as &dyn std::error::Error,
        "verdicts are made without the index"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Source;
    use crate::store::testing::{Fixture, Mode, Signature, repository, subject};

    #[tokio::test]
    async fn verdicts_are_shared_while_the_index_answers_and_never_journalled() {
        let fixture = Fixture::ready().await;
        let (store, name, subject) = (&fixture.store, &repository(), &subject());
        let replica = fixture.replica();
        replica.repair_journal().await.unwrap();
        let verdicts = Bytes::from_static(b"sealed");
        store.put_verdicts(name, subject, verdicts.clone()).await;
        assert_eq!(
            replica.verdicts(name, subject).await,
            Some(verdicts.clone())
        );
        let long = Bytes::from(vec![0; MAX_VERDICTS + 1]);
        store.put_verdicts(name, subject, long).await;
        assert_eq!(store.verdicts(name, subject).await, Some(verdicts.clone()));

        for mode in [Mode::Down, Mode::LosesReplies] {
            fixture.index.set(mode);
            store.put_verdicts(name, subject, verdicts.clone()).await;
            assert_eq!(store.verdicts(name, subject).await, None, "{mode:?}");
        }
        fixture.index.set(Mode::Up);
        assert_eq!(store.repair_journal().await.unwrap(), 0);
        assert_eq!(store.verdicts(name, subject).await, Some(verdicts.clone()));

        // A rebuild forgets them, and has no need of them.
        let signature = Signature::new("a");
        signature.add(store, Source::Captured).await.unwrap();
        assert_eq!(store.verify_index().await.unwrap(), []);
        store.rebuild_index(|_| ()).await.unwrap();
        assert_eq!(store.verdicts(name, subject).await, None);
        assert_eq!(store.verify_index().await.unwrap(), []);
    }

    #[tokio::test]
    async fn an_index_that_is_not_trusted_is_not_asked() {
        let fixture = Fixture::ready().await;
        let (name, subject) = (&repository(), &subject());
        let verdicts = Bytes::from_static(b"sealed");
        fixture.store.put_verdicts(name, subject, verdicts).await;
        // It has not read the journal yet.
        let replica = fixture.replica();
        assert_eq!(replica.verdicts(name, subject).await, None);
    }
}
