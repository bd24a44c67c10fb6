//! What is listed as a referrer, by a tag or by the registry's own API: names only, until the manifest says so itself.

use super::crawl::{Crawl, Item, Way};
use crate::oci::companion_tag::referrers_tag;
use crate::oci::{Digest, Manifest, Tag};
use crate::transfer::TransferError;
use crate::upstream::Answer;

impl Crawl<'_> {
    /// An entry of a tag of the referrers tag schema is a referrer of what the tag is named after, or is skipped.
    pub(super) async fn entry(
        &self,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Vec<Item>, TransferError> {
        let reference = format!("{}:{tag} -> {digest}", self.name);
        let Some(answer) = self.read(digest.as_str(), &reference).await? else {
            self.skip(reference, "the registry has no such manifest");
            return Ok(Vec::new());
        };
        if !digest.matches(&answer.body) {
            self.skip(reference, "what the registry has there has another digest");
            return Ok(Vec::new());
        }
        self.listed(Way::FallbackTag, reference, digest, answer, |subject| {
            referrers_tag(subject) == tag.as_str()
        })
        .await
    }

    pub(super) async fn list(&self, subject: &Digest) -> Result<Vec<Item>, TransferError> {
        match self.import.registry.native(&self.name, subject).await {
            Ok(found) => Ok(found
                .into_iter()
                .map(|digest| Item::Native {
                    subject: subject.clone(),
                    digest,
                })
                .collect()),
            Err(failure) => {
                let reference = format!("{}@{subject} (referrers)", self.name);
                self.fail(reference, failure).await?;
                Ok(Vec::new())
            }
        }
    }

    pub(super) async fn native(
        &self,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Vec<Item>, TransferError> {
        let reference = format!("{}@{subject} -> {digest}", self.name);
        let answer = self.read(digest.as_str(), &reference).await?;
        let Some(answer) = answer.filter(|answer| digest.matches(&answer.body)) else {
            self.skip(reference, "the registry has no manifest of that digest");
            return Ok(Vec::new());
        };
        self.listed(Way::Native, reference, digest, answer, |own| own == subject)
            .await
    }

    /// What is listed as a referrer, if its own bytes say so.
    async fn listed(
        &self,
        way: Way,
        reference: String,
        digest: &Digest,
        answer: Answer,
        is_subject: impl Fn(&Digest) -> bool,
    ) -> Result<Vec<Item>, TransferError> {
        self.counts().manifests += 1;
        let manifest = match Manifest::parse(&answer.body, answer.content_type()) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.skip(reference, error);
                return Ok(Vec::new());
            }
        };
        let Some(subject) = manifest.subject.as_ref().map(|subject| &subject.digest) else {
            self.skip(reference, "it has no subject");
            return Ok(Vec::new());
        };
        if !is_subject(subject) {
            self.skip(reference, format!("its subject is {subject}"));
            return Ok(Vec::new());
        }
        if matches!(way, Way::FallbackTag) {
            self.was_there(digest).await?;
        }
        if self.is_first(digest) {
            let found = (digest.clone(), answer.body);
            self.referrer(way, subject, found, &manifest).await?;
        }
        Ok(self.list_of(digest).collect())
    }
}
