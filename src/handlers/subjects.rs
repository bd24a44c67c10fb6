//! What becomes of the referrers of a subject that is deleted, or pushed again.

use std::time::Duration;

use super::Handlers;
use super::error::HandlerError;
use crate::auth::{Permit, Push};
use crate::oci::Digest;
use crate::store::OnSubjectDelete;

/// The waits before the store is told again that a subject has come back.
const RETRIES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
];

impl Handlers {
    /// The registry behind has deleted `subject` for the caller.
    pub(super) async fn subject_deleted(
        &self,
        permit: &Permit<Push>,
        subject: &Digest,
    ) -> Result<(), HandlerError> {
        let on = self.config.on_subject_delete;
        if on == OnSubjectDelete::Keep {
            return Ok(());
        }
        let writer = self.custody.writer(permit);
        Ok(writer.subject_deleted(subject, on).await?)
    }

    /// The registry behind has taken `subject` from the caller: referrers that wait for it to come back stay. Told again
    /// later if the store fails, since the push itself needs no store.
    pub(super) async fn subject_pushed(&self, permit: Permit<Push>, subject: Digest) {
        if self.config.on_subject_delete == OnSubjectDelete::Keep {
            return;
        }
        if self.tell_pushed(&permit, &subject).await.is_err() {
            tokio::spawn(self.clone().tell_pushed_later(permit, subject));
        }
    }

    async fn tell_pushed(
        &self,
        permit: &Permit<Push>,
        subject: &Digest,
    ) -> Result<(), HandlerError> {
        Ok(self.custody.writer(permit).subject_pushed(subject).await?)
    }

    async fn tell_pushed_later(self, permit: Permit<Push>, subject: Digest) {
        for delay in RETRIES {
            tokio::time::sleep(delay).await;
            if self.tell_pushed(&permit, &subject).await.is_ok() {
                return;
            }
        }
        tracing::error!(
            oci.repository = %permit.repository(),
            oci.subject = %subject,
            "a subject was pushed again, and its referrers still wait for that"
        );
    }
}
