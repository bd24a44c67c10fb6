//! Questions about what is: one image, one repository, the trust material, the policy before a file of cases.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value as Json, json};

use super::Parts;
use super::answer::{Refusal, json as json_answer, refused};
use crate::admission::Explanation;
use crate::oci::{ImageReference, RepositoryName};
use crate::policy::cases;

impl Parts {
    pub(super) async fn explain(&self, query: &str) -> Result<Json, Refusal> {
        let reference = one_of(query, "reference")?;
        let explained = self.explained(&reference, &self.read(&reference)?).await?;
        Ok(json!(explained))
    }

    /// As the API answers `explain`, for whoever has opened the stores.
    pub async fn look_up(&self, reference: &str) -> Response<Full<Bytes>> {
        let explained = async {
            let asked = self.read(reference)?;
            Box::pin(self.explained(reference, &asked)).await
        };
        match explained.await {
            Ok(explained) => json_answer(StatusCode::OK, &explained),
            Err(refusal) => refused(&refusal),
        }
    }

    /// The public name of this registry may look like a part of the repository.
    fn read(&self, reference: &str) -> Result<ImageReference, Refusal> {
        let public = self.handlers.public_authority();
        let rest = public.and_then(|host| reference.strip_prefix(host)?.strip_prefix('/'));
        Ok(rest.unwrap_or(reference).parse()?)
    }

    pub(super) async fn explained(
        &self,
        reference: &str,
        asked: &ImageReference,
    ) -> Result<Explanation, Refusal> {
        let account = self.account.clone();
        let explained = self
            .handlers
            .explain(&self.admission, account, asked, reference);
        Ok(Box::pin(explained).await?)
    }

    pub(super) async fn status(&self, query: &str) -> Result<Json, Refusal> {
        let named = one_of(query, "repository")?;
        let parsed = named.parse::<RepositoryName>();
        let repository = parsed.or(Err(Refusal::Query("valid repository")))?;
        let snapshot = self.admission.snapshot();
        let rules = snapshot.policy().rules_of(&repository);
        let rules: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let marks: Vec<Json> = self
            .store
            .marks(&repository)
            .await?
            .into_iter()
            .map(|(tag, mark)| {
                json!({
                    "tag": tag.as_str(),
                    "digest": mark.digest,
                    "rule": mark.rule,
                    "missing": mark.missing,
                    "at": mark.at.to_string(),
                })
            })
            .collect();
        Ok(json!({
            "repository": repository.as_str(),
            "rules": rules,
            "marks": marks,
            "policy_revision": snapshot.revision().policy,
            "trust_revision": snapshot.revision().trust,
        }))
    }

    /// By the policy in force; the text is what a file of cases has in it.
    pub(super) fn test_policy(&self, text: &[u8]) -> Result<Json, Refusal> {
        let snapshot = self.policy()?;
        let policy = snapshot.policy();
        let text = std::str::from_utf8(text);
        let text = text.map_err(|error| Refusal::BadBody(error.to_string()))?;
        let cases = cases::parse(Path::new("cases"), text, policy).map_err(Refusal::Cases)?;
        let now = self.admission.now();
        let ran: Vec<_> = cases
            .iter()
            .map(|case| (case.name.as_str(), case.run(policy, now)))
            .collect();
        Ok(cases::as_json(&ran))
    }

    pub(super) async fn check_trust(&self) -> Result<Json, Refusal> {
        let check = self.check_trust.as_ref().ok_or(Refusal::NoPolicy)?;
        let check = Arc::clone(check);
        Ok(tokio::task::spawn_blocking(move || check()).await?)
    }

    /// The policy in force, if there is one.
    pub(super) fn policy(&self) -> Result<Arc<crate::policy::Snapshot>, Refusal> {
        match self.check_trust {
            Some(_) => Ok(self.admission.snapshot()),
            None => Err(Refusal::NoPolicy),
        }
    }
}

/// The value of a parameter that has to be there once.
fn one_of(query: &str, name: &'static str) -> Result<String, Refusal> {
    let mut values = form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned());
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) | (Some(_), Some(_)) => Err(Refusal::Query(name)),
    }
}
