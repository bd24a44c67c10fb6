//! Finding out here: with the stores opened, beside a running regseal or without one, and the registry asked directly.

use std::sync::Arc;

use http_body_util::BodyExt;

use super::{Answered, InspectError};
use crate::app::contact::Contact;
use crate::app::{assembly::Assembly, docker, open_beside};
use crate::clock::{Clock, SystemClock};
use crate::config::{Environment, Settings};

pub(super) async fn ask(
    settings: &Settings,
    environment: &Environment,
    reference: &str,
) -> Result<Answered, InspectError> {
    let account = docker::account_of(settings, environment)?;
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
