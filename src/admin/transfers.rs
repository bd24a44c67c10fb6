//! Transfers, which go on when whoever asked for them has left.

use serde_json::{Value as Json, json};

use super::Parts;
use super::answer::Refusal;
use crate::transfer::{Asked, Busy};

impl Parts {
    pub(super) async fn begin_import(&self, body: &[u8]) -> Result<Json, Refusal> {
        let options = asked(body)?.import().map_err(Refusal::BadBody)?;
        match self.jobs.begin_import(options) {
            Ok(()) => self.import_status().await,
            Err(Busy) => Err(Refusal::Running),
        }
    }

    pub(super) async fn import_status(&self) -> Result<Json, Refusal> {
        Ok(json!(self.jobs.import_status().await?))
    }

    pub(super) fn begin_export(&self, body: &[u8]) -> Result<Json, Refusal> {
        let options = asked(body)?.export().map_err(Refusal::BadBody)?;
        match self.jobs.begin_export(options) {
            Ok(()) => Ok(self.export_status()),
            Err(Busy) => Err(Refusal::Running),
        }
    }

    pub(super) fn export_status(&self) -> Json {
        json!(self.jobs.export_status())
    }
}

fn asked(body: &[u8]) -> Result<Asked, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Refusal::BadBody(error.to_string()))
}
