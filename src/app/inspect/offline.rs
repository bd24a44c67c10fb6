//! Finding out here: with the stores opened, beside a running regseal or without one, and the registry asked directly.

use std::sync::Arc;

use http_body_util::BodyExt;

use super::{Answered, InspectError, docker};
use crate::app::assembly::Assembly;
use crate::app::contact::Contact;
use crate::app::{StartError, open_beside, translate};
use crate::auth::Caller;
use crate::clock::{Clock, SystemClock};
use crate::config::{Environment, Settings};

pub(super) async fn ask(
    settings: &Settings,
    environment: &Environment,
    reference: &str,
) -> Result<Answered, InspectError> {
    let registry = settings.upstream.as_ref();
    let registry = registry.ok_or(StartError::Upstream)?;
    let host = registry.url.authority().map(|host| host.as_str());
    let account = match docker::account(environment, host.unwrap_or_default())? {
        Some((username, password)) => Caller::own(Some((&username, &password))),
        None => translate::account(settings),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_beside(settings, &clock).await?.signatures;
    let contact = Contact::new(Arc::clone(&clock));
    let meter = opentelemetry::global::meter("regseal");
    let assembly = Assembly::of(settings, &store, &clock, &contact, &meter, account).await?;
    let (answer, body) = assembly.parts.look_up(reference).await.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    Ok(Answered {
        status: answer.status,
        body,
    })
}
